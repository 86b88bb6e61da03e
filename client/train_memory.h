/* train_memory.h - the memory of `shoal train`: what the program holds, and the plan as output.
 *
 * Layer: client. Threads: one.
 */
#ifndef SHOAL_CLIENT_TRAIN_MEMORY_H
#define SHOAL_CLIENT_TRAIN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "client/engine.h"
#include "lora/train/plan.h"

/* Resident bytes besides weights, adapter and trainer: the program and its libraries, the
 * tokenizer, data already loaded, and what they still grow by. Weights touched so far are taken out
 * of memory; adapter_resident is what of the adapter is in it. */
size_t shoal_train_other_bytes(const shoal_engine *e, size_t adapter_resident);

/* The plan on stdout: a table, or one JSON object. */
SHOAL_MUST_USE shoal_status shoal_train_print_plan(const shoal_plan *plan, const shoal_model *m,
                                                   bool json, shoal_error *err);

#endif
