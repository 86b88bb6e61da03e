/* command.h - what every subcommand of both programs shares: its entry, its exit codes, its
 * beginning.
 *
 * A command is one function `int NAME(int argc, char **argv)`, listed in the program's main.c.
 * argv[0] is the command's own name. Data goes to stdout, talk to stderr.
 *
 * Layer: kernels/base, target shoal_cli (only the programs link it: libraries never print).
 * Threads: main thread only.
 */
#ifndef SHOAL_KERNELS_BASE_COMMAND_H
#define SHOAL_KERNELS_BASE_COMMAND_H

#include <stdbool.h>

#include "kernels/base/options.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_EXIT_DONE = 0,
    SHOAL_EXIT_FAILED = 1,
    SHOAL_EXIT_USAGE = 2,
    SHOAL_EXIT_NOT_NOW = 3, /* policy says later */
    SHOAL_EXIT_VERIFY = 4   /* a signature, tag, hash or trained adapter did not verify */
};

/* Exit code that belongs to a status. */
int shoal_exit_code(shoal_status st);

/* Prints "error: ..." and, where there is one, "hint: ..." on stderr and returns the exit code.
 * SHOAL_OK prints nothing and returns SHOAL_EXIT_DONE, so a command may end with
 * `return shoal_command_end(st, &err);`. */
int shoal_command_end(shoal_status st, const shoal_error *err);

/* Parses the command line. True: go on. False: help was printed or the line was wrong (told on
 * stderr with the synopsis); return *exit_code. Positional arguments are moved to args (NULL: the
 * command takes none); fewer or more than usage allows is a usage error. */
bool shoal_command_begin(const shoal_usage *usage, const shoal_option_group *groups,
                         size_t n_groups, int argc, char **argv, shoal_arguments *args,
                         int *exit_code);

/* One command of a table, and one level of dispatch (used by main, `adapter`, `model`). */
typedef int shoal_command_fn(int argc, char **argv);
typedef struct shoal_command {
    const char *name;
    shoal_command_fn *run;
    const char *summary; /* one line */
} shoal_command;

/* Runs the command that argv[1] names with the arguments from there on; lists the table for --help
 * or no name (exit 2 then); suggests the nearest name for an unknown one. `program` is what a user
 * types before the name, e.g. "shoal adapter". */
int shoal_command_dispatch(const char *program, const char *about, const shoal_command *table,
                           size_t n, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
