/* options.h - command-line options as tables: what a flag is called, what it takes, what it means.
 *
 * A command declares a struct of values with their defaults and a table that points into it;
 * parsing and --help both come from the table. Accepted: --name VALUE, --name=VALUE, -x VALUE,
 * -xVALUE, `--` to end options, `-` as a positional. Every command has -h/--help. Nothing is
 * printed here except by shoal_options_help.
 *
 * Layer: kernels/base, target shoal_cli (only the programs link it: libraries never print).
 * Threads: pure functions.
 */
#ifndef SHOAL_KERNELS_BASE_OPTIONS_H
#define SHOAL_KERNELS_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_ARGUMENTS_MAX = 32 };

/* A list of strings: positional arguments, or a flag that may be given several times. */
typedef struct shoal_arguments {
    const char *items[SHOAL_ARGUMENTS_MAX]; /* borrowed from argv */
    size_t n;
} shoal_arguments;

typedef enum shoal_option_kind {
    SHOAL_OPTION_FLAG,   /* bool *: no value, sets true */
    SHOAL_OPTION_STRING, /* const char **: borrowed from argv */
    SHOAL_OPTION_LIST,   /* shoal_arguments *: may be repeated */
    SHOAL_OPTION_COUNT,  /* uint64_t *: decimal, within [min, max] */
    SHOAL_OPTION_SIZE,   /* uint64_t *: bytes, with suffix K, M, G (powers of 1024) or none */
    SHOAL_OPTION_NUMBER  /* double *: finite, within [min, max] */
} shoal_option_kind;

typedef struct shoal_option {
    const char *name; /* without the dashes; NULL when there is only a letter */
    char letter;      /* 0 when there is none */
    shoal_option_kind kind;
    void *value;         /* of the type the kind names; holds the default beforehand */
    const char *metavar; /* "N", "FILE"; NULL for flags */
    const char *help;    /* one line, default included in words */
    double min, max;     /* COUNT and NUMBER; both 0 means no bounds but the type's */
    bool *given;         /* set when the option appears; may be NULL */
} shoal_option;

/* One line of a table each; `letter` may be 0. */
#define SHOAL_FLAG(name, letter, value, help)                          \
    {                                                                  \
        name, letter, SHOAL_OPTION_FLAG, value, NULL, help, 0, 0, NULL \
    }
#define SHOAL_STRING(name, letter, value, metavar, help)                    \
    {                                                                       \
        name, letter, SHOAL_OPTION_STRING, value, metavar, help, 0, 0, NULL \
    }
#define SHOAL_LIST(name, letter, value, metavar, help)                    \
    {                                                                     \
        name, letter, SHOAL_OPTION_LIST, value, metavar, help, 0, 0, NULL \
    }
#define SHOAL_COUNT(name, letter, value, metavar, help, min, max)              \
    {                                                                          \
        name, letter, SHOAL_OPTION_COUNT, value, metavar, help, min, max, NULL \
    }
#define SHOAL_NUMBER(name, letter, value, metavar, help, min, max)              \
    {                                                                           \
        name, letter, SHOAL_OPTION_NUMBER, value, metavar, help, min, max, NULL \
    }
#define SHOAL_SIZE(name, letter, value, metavar, help, given)              \
    {                                                                      \
        name, letter, SHOAL_OPTION_SIZE, value, metavar, help, 0, 0, given \
    }

/* Options that belong together under one heading of --help. */
typedef struct shoal_option_group {
    const char *title;
    const shoal_option *items;
    size_t n;
} shoal_option_group;

/* What --help says besides the tables. */
typedef struct shoal_usage {
    const char *synopsis;      /* "shoal train -m MODEL -d DATA.jsonl -o ADAPTER.gguf [options]" */
    const char *about;         /* a few lines: what it does, what it prints */
    const char *example;       /* one or more lines a user can type */
    size_t min_args, max_args; /* positional arguments */
} shoal_usage;

#define SHOAL_OPTION_COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

/* Parses argv[1..argc). On a wrong line returns SHOAL_ERR_ARG with a message and, for an unknown
 * option, the nearest known one as hint. *help is set when -h or --help was given (the rest of the
 * line is not checked then). args may be NULL when no positional argument is allowed. */
SHOAL_MUST_USE shoal_status shoal_options_parse(const shoal_option_group *groups, size_t n_groups,
                                                int argc, char **argv, shoal_arguments *args,
                                                bool *help, shoal_error *err);

/* Writes the help text. */
void shoal_options_help(FILE *out, const shoal_usage *usage, const shoal_option_group *groups,
                        size_t n_groups);

/* "256M" -> 268435456. False on anything else than digits with an optional K, M or G (any case,
 * optionally followed by "B" or "iB"), and on overflow. */
bool shoal_parse_size(const char *text, uint64_t *bytes);

/* A finite decimal number; false on trailing characters. The decimal point is '.' in every locale
 * (the programs never call setlocale). */
bool shoal_parse_number(const char *text, double *out);

/* The word of `words` nearest to `text` by edit distance, or NULL when none is near. */
const char *shoal_nearest_word(const char *text, const char *const *words, size_t n);

#ifdef __cplusplus
}
#endif
#endif
