/* data.h - a user's JSONL file as tokens with a mask of what is learnt.
 *
 * One object a line, {"messages":[{"role":"user","content":"..."},...]}; the chat template turns it
 * into tokens, and the loss is on assistant content and its end-of-turn token unless asked
 * otherwise.
 * {"text":"..."} is also taken: raw text, every token after the first is learnt. A line that is not
 * of either form is an error that names file and line; nothing is skipped in silence. Blank lines
 * are allowed.
 *
 * A conversation that is too long becomes several samples: it is split where an answer ends, and
 * each part begins with the system prompt again. A text is split anywhere. An exchange that is too
 * long by itself is left out, counted and named by its line; nothing is ever cut short.
 *
 * Layer: client. Threads: a data set is read by many, written by one.
 */
#ifndef SHOAL_CLIENT_DATA_H
#define SHOAL_CLIENT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/chat_template.h"
#include "lora/model/model.h"
#include "lora/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_DATA_MAX_LINE = 1 << 20,  /* bytes of one line */
    SHOAL_DATA_MAX_LINES = 1 << 20, /* samples of one file */
    SHOAL_DATA_LINES_NAMED = 8      /* lines remembered by number, of those left out */
};
#define SHOAL_DATA_MAX_TOKENS ((size_t)1 << 28) /* tokens of one file */

/* What a data set knows of one line besides its shoal_sample; owns the sample's arrays. */
typedef struct shoal_example {
    int32_t *ids;
    uint8_t *mask;
    size_t n_prompt; /* tokens before the last assistant content (for generation); 0 if none */
    char *answer;    /* the last assistant content [n_answer], NUL-terminated, or NULL */
    size_t n_answer;
    size_t line; /* 1-based line in its file */
} shoal_example;

typedef struct shoal_dataset {
    shoal_sample *samples;   /* [n], what trainers take; views into the examples */
    shoal_example *examples; /* [n] */
    size_t n;
    size_t cap;
    size_t n_tokens;     /* of all samples */
    size_t n_supervised; /* targets of all samples */
    size_t longest;      /* tokens of the longest sample */
    size_t n_split;      /* lines that were too long and became several samples */
    size_t n_left_out;   /* exchanges that were too long by themselves */
    size_t left_out[SHOAL_DATA_LINES_NAMED]; /* lines of the first of them */
    const shoal_model *chat_of;              /* the model that `chat` was taken from, once */
    shoal_chat_template chat;
} shoal_dataset;

typedef struct shoal_data_options {
    size_t max_tokens; /* longest sample; longer lines are split (0: no limit) */
    bool train_on_all; /* learn every token, not only the assistant's */
} shoal_data_options;

/* Reads a whole file ("-" is stdin). A file of which nothing is short enough is an error. A
 * zero-initialised *out is filled; on failure it is empty. */
SHOAL_MUST_USE shoal_status shoal_dataset_load(shoal_dataset *out, const char *path,
                                               const shoal_model *m,
                                               const shoal_data_options *options, shoal_error *err);
void shoal_dataset_clear(shoal_dataset *d);

/* Warns the user of what was split and left out; silent when all of it fitted. */
void shoal_dataset_warn_long(const shoal_dataset *d, size_t max_tokens);

/* Adds one line of text (without its line end); `name` and `line` are for the error text. */
SHOAL_MUST_USE shoal_status shoal_dataset_add(shoal_dataset *d, const char *text, size_t n,
                                              const shoal_model *m,
                                              const shoal_data_options *options, const char *name,
                                              size_t line, shoal_error *err);

/* Called per line, without line end. A status other than OK stops the reading and is returned. */
typedef shoal_status shoal_line_fn(void *ctx, const char *text, size_t n, size_t line,
                                   shoal_error *err);

/* Feeds each line of a file ("-" is stdin) to fn; blank lines are passed over. A line longer than
 * SHOAL_DATA_MAX_LINE is an error. */
SHOAL_MUST_USE shoal_status shoal_lines_each(const char *path, shoal_line_fn *fn, void *ctx,
                                             shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
