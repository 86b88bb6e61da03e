/* command.h - the subcommands of `shoal`, each `int shoal_cmd_NAME(int argc, char **argv)` in
 * cmd_NAME.c and a line of the table in main.c. How a command begins and ends: kernels/base.
 *
 * Layer: client. Threads: main thread only.
 */
#ifndef SHOAL_CLIENT_COMMAND_H
#define SHOAL_CLIENT_COMMAND_H

#include "kernels/base/command.h"

#ifdef __cplusplus
extern "C" {
#endif

shoal_command_fn shoal_cmd_adapter;
shoal_command_fn shoal_cmd_agent;
shoal_command_fn shoal_cmd_bench;
shoal_command_fn shoal_cmd_cache;
shoal_command_fn shoal_cmd_chat;
shoal_command_fn shoal_cmd_demo;
shoal_command_fn shoal_cmd_doctor;
shoal_command_fn shoal_cmd_eval;
shoal_command_fn shoal_cmd_generate;
shoal_command_fn shoal_cmd_grad;
shoal_command_fn shoal_cmd_join;
shoal_command_fn shoal_cmd_leave;
shoal_command_fn shoal_cmd_merge; /* of shoal adapter */
shoal_command_fn shoal_cmd_model;
shoal_command_fn shoal_cmd_perplexity;
shoal_command_fn shoal_cmd_policy;
shoal_command_fn shoal_cmd_quantize;
shoal_command_fn shoal_cmd_score;
shoal_command_fn shoal_cmd_serve;
shoal_command_fn shoal_cmd_status;
shoal_command_fn shoal_cmd_tokenize;
shoal_command_fn shoal_cmd_train;

#ifdef __cplusplus
}
#endif
#endif
