/* trainer.h - forward, loss, backward and optimiser for an adapter over a frozen base.
 *
 * The base is read where it lies, quantised; only A and B have gradients. Several samples share one
 * row of tokens (packing): attention sees only the own sample and positions start anew, so the
 * result is that of each sample alone. What samples have in common at their beginning is computed
 * once. The derivation of every backward is in lora/README.md.
 *
 * The gradient is a sum: accumulate over any number of calls, then step. All memory is one arena,
 * sized by the plan and taken at open; nothing is allocated afterwards.
 *
 * Layer: lora/train. Threads: one owner; works on the pool of its exec.
 */
#ifndef SHOAL_LORA_TRAIN_TRAINER_H
#define SHOAL_LORA_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "lora/train/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One training text, borrowed. mask[i] = 1 makes token i a target, predicted from tokens before it;
 * mask[0] is ignored, as nothing precedes it. Tokens after the last target cost nothing. */
typedef struct shoal_sample {
    const int32_t *ids;  /* [n] */
    const uint8_t *mask; /* [n] */
    size_t n;
} shoal_sample;

/* Asked between blocks, a few times a second at least; true abandons the work in hand. */
typedef bool shoal_stop_fn(void *ctx);

typedef struct shoal_trainer_options {
    shoal_plan_options plan;
    float beta1, beta2, eps; /* AdamW (beta1: also SGD's momentum); all 0: 0.9, 0.999, 1e-8 */
    float weight_decay;
    float clip;    /* bound on the global gradient norm; 0: none */
    uint64_t seed; /* of dropout and noise on embeddings, where the plan has them */
    shoal_stop_fn *stop;
    void *stop_ctx;
} shoal_trainer_options;

typedef struct shoal_trainer shoal_trainer;
typedef struct shoal_lower_cache shoal_lower_cache; /* lower_cache.h */

/* Model, adapter and exec are borrowed and must outlive the trainer; the adapter's parameters are
 * what step() changes, and its base_fingerprint becomes the model's. On failure *out is NULL. */
SHOAL_MUST_USE shoal_status shoal_trainer_open(shoal_trainer **out, const shoal_model *m,
                                               shoal_adapter *a, const shoal_exec *ex,
                                               const shoal_trainer_options *opts, shoal_error *err);
void shoal_trainer_close(shoal_trainer *tr);

/* From now on rows of the layers below the adapter are kept in and read from `cache`, made for this
 * trainer's model, exec, first layer and max_tokens; borrowed, NULL: no longer. Results are the
 * same. */
void shoal_trainer_use_cache(shoal_trainer *tr, shoal_lower_cache *cache);

/* Targets of a sample: what its loss is a mean over. */
size_t shoal_sample_targets(const shoal_sample *s);

/* SHOAL_OK when every sample can be trained on: token numbers in the vocabulary, at least one
 * target, not longer than the plan's max_tokens. The error names the sample by its index. */
SHOAL_MUST_USE shoal_status shoal_trainer_check(const shoal_trainer *tr,
                                                const shoal_sample *samples, size_t n,
                                                shoal_error *err);

/* What accumulate and loss report. nll may be NULL or an array of one sum per sample. */
typedef struct shoal_loss {
    double nll_sum;      /* of all targets, in nats */
    size_t n_supervised; /* targets */
    size_t n_tokens;     /* of the samples, up to the last target of each */
    size_t n_rows;       /* rows computed for them: fewer where beginnings are shared */
    double *nll;         /* [n] in the order of the samples, caller-owned; set before the call */
} shoal_loss;

/* Adds to the gradient d(weight * sum of the targets' NLL) / d(A, B); weight is usually 1 /
 * (targets of the whole batch). Checks all samples first, so on ERR_ARG, ERR_FORMAT and
 * ERR_TOO_LARGE the gradient is as it was; on CANCELLED and on a loss that is not finite
 * (ERR_OVERFLOW) it is zero. Dropout and noise on embeddings, where the plan has them, are drawn
 * anew after each optimiser step; until then the same text meets the same ones. */
SHOAL_MUST_USE shoal_status shoal_trainer_accumulate(shoal_trainer *tr, const shoal_sample *samples,
                                                     size_t n, float weight, shoal_loss *loss,
                                                     shoal_error *err);

/* The loss without dropout and noise, forward only; the gradient is left alone. */
SHOAL_MUST_USE shoal_status shoal_trainer_loss(shoal_trainer *tr, const shoal_sample *samples,
                                               size_t n, shoal_loss *loss, shoal_error *err);

/* The gradient, [plan.n_trained]: all parameters in manifest order, or with freeze_a all B (the
 * order is trained.h's); valid until close. */
const float *shoal_trainer_grad(const shoal_trainer *tr);

/* Clips, takes one optimiser step on the adapter and zeroes the gradient. grad_norm (before
 * clipping) may be NULL. ERR_OVERFLOW, with nothing changed but the gradient zeroed, when the norm
 * is not finite. */
SHOAL_MUST_USE shoal_status shoal_trainer_step(shoal_trainer *tr, float lr, double *grad_norm,
                                               shoal_error *err);

/* Zeroes gradient, optimiser state and step count: as just opened, with the adapter as it is now.
 */
void shoal_trainer_reset(shoal_trainer *tr);

/* A number that differs when steps are taken differently: optimiser, dropout and their settings.
 * What a checkpoint must agree on besides data and schedule. */
uint64_t shoal_trainer_method_id(const shoal_trainer *tr);

/* The optimiser's state, for checkpoints. */
shoal_optim *shoal_trainer_optim(shoal_trainer *tr);

const shoal_plan *shoal_trainer_plan(const shoal_trainer *tr);
const shoal_model *shoal_trainer_model(const shoal_trainer *tr);
shoal_adapter *shoal_trainer_adapter(shoal_trainer *tr);

#ifdef __cplusplus
}
#endif
#endif
