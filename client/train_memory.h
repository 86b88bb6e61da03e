/* train_memory.h - the memory of `shoal train`: what the program holds, and the plan as output.
 *
 * Layer: client. Threads: one.
 */
#ifndef SHOAL_CLIENT_TRAIN_MEMORY_H
#define SHOAL_CLIENT_TRAIN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/engine.h"
#include "lora/train/plan.h"

/* Without --max-ram: what an app may use on a phone without being noticed. */
#define SHOAL_TRAIN_RAM_USUAL ((uint64_t)235 * 1000 * 1000)

/* Resident bytes without weights: those touched so far are taken out of memory. 0: not known. */
size_t shoal_train_resident(const shoal_engine *e);

/* Resident bytes besides weights, adapter and trainer: the program and its libraries, the
 * tokenizer, data already loaded, and what they still grow by. Weights touched so far are taken out
 * of memory; adapter_resident is what of the adapter is in it. */
size_t shoal_train_other_bytes(const shoal_engine *e, size_t adapter_resident);

/* Makes the plan for adapter a of e's model. The caller has set in *po max_tokens, other_bytes, the
 * method and max_ram (0: the fewest tapes); recompute follows from it. A bound that the user did
 * not give is one to aim at: where it is too little for a model, the plan takes as little as
 * possible and *po says so. */
SHOAL_MUST_USE shoal_status shoal_train_plan(const shoal_engine *e, const shoal_adapter *a,
                                             bool bound_given, shoal_plan_options *po,
                                             shoal_plan *plan, shoal_error *err);

/* The plan on stdout: a table, or one JSON object. */
SHOAL_MUST_USE shoal_status shoal_train_print_plan(const shoal_plan *plan, const shoal_model *m,
                                                   bool json, shoal_error *err);

#endif
