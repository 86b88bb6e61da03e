/* plan.h - what training will cost in memory, before any of it is allocated.
 *
 * The plan is exact: the trainer allocates one arena of plan.arena_bytes and nothing else, then or
 * later. With what the caller says the program holds besides (other_bytes) peak_bytes is the
 * resident memory of the whole process.
 *
 * Activations are the large part. A block needs its tape (inputs of its products, attention
 * statistics) for its backward; the plan keeps the tapes of as many blocks as the budget allows,
 * counted from the top, and has the rest recomputed from their inputs. (Chen et al. 2016, "Training
 * deep nets with sublinear memory cost", with a budget instead of a square root.)
 *
 * What is kept is binary16 unless opts.exact (keep.h). To stay within max_ram the plan gives up, in
 * this order, and none of it changes a bit of the result:
 *   1. the layers' weights all in memory: they are read through a window (model/residency.h), the
 *      rest stays in memory as far as there is room. Only where the model was opened in small
 * pages.
 *   2. tapes, from the bottom block up to the last but one: that block's forward is done twice.
 * The length of a micro-batch, rank and depth are the user's: when none of that is enough the plan
 * refuses, and its hint names the smallest bound that works and the longest micro-batch that fits.
 *
 * Layer: lora/train. Threads: pure functions.
 */
#ifndef SHOAL_LORA_TRAIN_PLAN_H
#define SHOAL_LORA_TRAIN_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "lora/train/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_TRAIN_MAX_TOKENS = 1 << 20,   /* most rows of a micro-batch */
    SHOAL_TRAIN_RAM_DEFAULT = 256 << 20 /* what AUTO aims at when no limit is given */
};

typedef enum shoal_recompute {
    SHOAL_RECOMPUTE_AUTO = 0, /* keep as many tapes as fit max_ram, or else the default aim */
    SHOAL_RECOMPUTE_OFF = 1,  /* keep all tapes: fastest, largest */
    SHOAL_RECOMPUTE_ON = 2    /* keep one tape: smallest; about a third more time a step */
} shoal_recompute;

typedef struct shoal_plan_options {
    size_t max_tokens; /* rows of a micro-batch; no sample may be longer */
    size_t max_ram;    /* bound on plan.peak_bytes; 0: none, and weights are never streamed */
    size_t
        other_bytes; /* resident besides adapter, weights and trainer: program, tokenizer, data */
    shoal_recompute recompute;
    shoal_optimizer optimizer;
    bool exact;     /* as the exec that trains: what is kept stays f32, else it is binary16 */
    bool freeze_a;  /* A has no gradient (LoRA-FA) */
    double dropout; /* share of an adapter's inputs left out in training, [0, 1) */
    double neftune; /* alpha of NEFTune, >= 0; 0: none. Beginnings are then not shared */
} shoal_plan_options;

typedef struct shoal_plan {
    size_t max_tokens;  /* T */
    size_t first_layer; /* lowest adapted layer: no gradient flows below it */
    bool exact;         /* nothing is put away in fewer bits */
    size_t tapes;       /* blocks whose tape is kept, 1..n_layer - first_layer; more where a
                           micro-batch has fewer rows */
    size_t tape_bytes;  /* a tape besides the first */
    size_t input_bytes; /* inputs of all blocks from first_layer up, [n, T, D] */
    size_t work_bytes;  /* shared scratch of forward, head and backward, and the first tape */
    shoal_optimizer optimizer;
    bool freeze_a;
    uint32_t dropout; /* as a level (kernels/noise.h); 0: none */
    double neftune;
    size_t n_trained;     /* length of the gradient */
    size_t optim_bytes;   /* gradient and the optimiser's state */
    size_t arena_bytes;   /* what the trainer allocates: work, inputs, optim, tapes - 1 tapes */
    size_t adapter_bytes; /* parameters */
    size_t base_bytes;    /* weights in the read-only mapping; the system may drop their pages */
    size_t window_bytes;  /* of the layers' weights in memory at once; 0: all */
    size_t weight_bytes;  /* of weights in memory at once: base_bytes, or less with a window */
    size_t other_bytes;   /* as the options say */
    size_t peak_bytes;    /* arena + adapter + weights + other: resident memory to expect */
} shoal_plan;

/* Fills *out; SHOAL_ERR_NOMEM with a hint (smaller max_tokens, rank or fewer layers) when not even
 * one tape fits max_ram. Allocates nothing. */
SHOAL_MUST_USE shoal_status shoal_plan_make(shoal_plan *out, const shoal_model *m,
                                            const shoal_adapter *a, const shoal_plan_options *opts,
                                            shoal_error *err);

/* Bounds the weights of m as planned, once nothing else uses them: with a window, at most
 * window_bytes of its layers are in memory until shoal_residency_close or the model is closed.
 * Without one nothing happens. */
SHOAL_MUST_USE shoal_status shoal_plan_bound_weights(const shoal_plan *plan, shoal_model *m,
                                                     shoal_error *err);

/* Appends a table for a person: one line a part, in MB. */
void shoal_plan_print(const shoal_plan *plan, shoal_buf *out);

#ifdef __cplusplus
}
#endif
#endif
