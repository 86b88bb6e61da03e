/* cmd.h - the commands of shoal-aggregator, and what they share.
 *
 * Layer: aggregator. Threads: main thread only.
 */
#ifndef SHOAL_AGGREGATOR_CMD_H
#define SHOAL_AGGREGATOR_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "aggregator/deployment.h"
#include "kernels/base/command.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The commands; those with subcommands dispatch further. */
shoal_command_fn cmd_adapter;
shoal_command_fn cmd_audit;
shoal_command_fn cmd_ca;
shoal_command_fn cmd_device;
shoal_command_fn cmd_init;
shoal_command_fn cmd_invite;
shoal_command_fn cmd_round;
shoal_command_fn cmd_run;
shoal_command_fn cmd_task;
shoal_command_fn cmd_task_create;

/* Options that every command on a deployment takes. */
typedef struct cmd_common {
    const char *dir; /* NULL: $SHOAL_AGGREGATOR_DIR, then "." */
    bool json;
} cmd_common;

enum { CMD_COMMON_N = 2 };
void cmd_common_table(cmd_common *c, shoal_option table[CMD_COMMON_N]);
const char *cmd_dir(const cmd_common *c);

/* Parses a line with only the common options and `own` ones. */
bool cmd_begin(const shoal_usage *usage, cmd_common *c, const shoal_option *own, size_t n_own,
               int argc, char **argv, shoal_arguments *args, int *code);

/* The named task, or the only one when name is NULL. */
SHOAL_MUST_USE shoal_status cmd_find_task(shoal_deployment *d, const char *name, shoal_db_task *out,
                                          shoal_error *err);

/* "10m", "90s", "1h", "600": seconds within [1, max]; ARG otherwise. */
SHOAL_MUST_USE shoal_status cmd_parse_duration(const char *text, int64_t max_s, int64_t *out,
                                               shoal_error *err);

/* "2026-11-23 19:02:11" UTC; "-" for 0. */
enum { CMD_TIME_TEXT = 24 };
void cmd_time_text(int64_t t_s, char out[CMD_TIME_TEXT]);

const char *cmd_task_state(shoal_task_state st);
const char *cmd_round_state(shoal_round_state st);

#ifdef __cplusplus
}
#endif
#endif
