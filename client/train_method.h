/* train_method.h - the options of `shoal train` that choose an adapter's shape and how it is
 * trained.
 *
 * Layer: client. Threads: pure functions.
 */
#ifndef SHOAL_CLIENT_TRAIN_METHOD_H
#define SHOAL_CLIENT_TRAIN_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/options.h"
#include "kernels/base/status.h"
#include "lora/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_method {
    const char *rank, *targets, *optimizer;
    double alpha, dropout, neftune;
    uint64_t last_layers; /* 0: all */
    bool rslora, freeze_a;
} shoal_method;

/* Rank 8, alpha 16, all projections of all layers, AdamW. */
shoal_method shoal_method_default(void);

enum { SHOAL_METHOD_N_OPTIONS = 9 };
void shoal_method_table(shoal_method *o, shoal_option table[SHOAL_METHOD_N_OPTIONS]);

/* The adapter asked for, over a model of n_layer layers. */
SHOAL_MUST_USE shoal_status shoal_method_spec(const shoal_method *o, size_t n_layer,
                                              shoal_lora_spec *spec, shoal_error *err);

/* What of a trainer's options is chosen here. */
SHOAL_MUST_USE shoal_status shoal_method_apply(const shoal_method *o, shoal_plan_options *plan,
                                               shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
