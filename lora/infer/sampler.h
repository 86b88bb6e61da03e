/* sampler.h - from logits to one token.
 *
 * Temperature 0 is greedy: the best logit, the lowest id among equals. Otherwise logits are divided
 * by the temperature, then cut by top-k, top-p and min-p in that order, each on what the one before
 * left, and one token is drawn. A draw uses exactly one number of the generator whatever the
 * settings, so positions and random numbers correspond, with speculation and without.
 *
 * Source: top-p Holtzman et al. 2020, section 3.1; min-p Nguyen et al. 2024.
 * Layer: lora/infer. Threads: one owner.
 */
#ifndef SHOAL_LORA_INFER_SAMPLER_H
#define SHOAL_LORA_INFER_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_sampling {
    float temperature; /* 0: greedy */
    size_t top_k;      /* 0: off */
    float top_p;       /* 0 or >= 1: off */
    float min_p;       /* least probability relative to the best; 0: off */
    uint64_t seed;
} shoal_sampling;

typedef struct shoal_sampler shoal_sampler;

/* For logits of n_vocab values. ARG when a setting is not a number in its range. */
SHOAL_MUST_USE shoal_status shoal_sampler_open(shoal_sampler **out, const shoal_sampling *how,
                                               size_t n_vocab, shoal_error *err);
void shoal_sampler_close(shoal_sampler *s);

/* The next token for logits [n_vocab]. Never allocates. */
int32_t shoal_sampler_next(shoal_sampler *s, const float *logits);

/* The best id, lowest among equals; 0 when no logit is a number. */
int32_t shoal_argmax(const float *logits, size_t n);

#ifdef __cplusplus
}
#endif
#endif
