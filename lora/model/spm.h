/* spm.h - SentencePiece's BPE: characters merged by the scores of what they become, bytes where the
 * vocabulary has no token.
 *
 * A space is a character like any other here (the vocabulary's U+2581 was turned into one).
 *
 * Source: Kudo and Richardson 2018. Layer: lora/model. Threads: immutable; read by many.
 */
#ifndef SHOAL_LORA_MODEL_SPM_H
#define SHOAL_LORA_MODEL_SPM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/gguf.h"
#include "lora/model/merge.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The token of exactly these bytes; -1 when there is none. */
typedef int32_t shoal_spm_lookup(const void *ctx, shoal_str bytes);

typedef struct shoal_spm {
    const shoal_gguf_kv *scores; /* [vocabulary] borrowed, as are the bytes they lie in */
    int32_t byte_id[256];        /* the token of a byte that nothing else covers; -1: none */
    int32_t unknown;             /* where there is none; -1: such bytes are left out */
    shoal_spm_lookup *lookup;
    const void *ctx; /* of lookup; borrowed */
} shoal_spm;

/* byte_id and unknown are set to -1. FORMAT when a score is not a number. Allocates nothing: scores
 * are read where they lie in the file. */
SHOAL_MUST_USE shoal_status shoal_spm_init(shoal_spm *s, const shoal_gguf_kv *scores,
                                           shoal_error *err);

SHOAL_MUST_USE shoal_status shoal_spm_encode(const shoal_spm *s, shoal_merge_work *w,
                                             const char *text, size_t n, shoal_merge_emit *emit,
                                             void *ctx, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
