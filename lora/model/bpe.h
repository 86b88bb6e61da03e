/* bpe.h - byte-pair encoding of one piece with a vocabulary's merge table.
 *
 * Source: Sennrich et al. 2016, algorithm 1. Layer: lora/model. Threads: a table is immutable once
 * filled and read by many.
 */
#ifndef SHOAL_LORA_MODEL_BPE_H
#define SHOAL_LORA_MODEL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/merge.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_bpe_merge {
    int32_t left, right; /* token ids */
    int32_t merged;
} shoal_bpe_merge;

/* The merges, and open addressing over their pairs (slots.h). */
typedef struct shoal_bpe {
    int32_t byte_id[256];    /* token of a single byte; -1 when the vocabulary has none */
    shoal_bpe_merge *merges; /* [max], n used; a merge's place is its rank */
    size_t n, max;
    uint32_t *slots; /* [n_slots], n_slots a power of two */
    size_t n_slots;
} shoal_bpe;

/* An empty table with room for n_merges, at most 2^20; byte_id all -1. */
SHOAL_MUST_USE shoal_status shoal_bpe_init(shoal_bpe *b, size_t n_merges, shoal_error *err);
void shoal_bpe_clear(shoal_bpe *b);

/* Adds the merge of the next rank; a pair already there keeps its first. At most n_merges of init.
 * FORMAT when the table degenerates (a vocabulary made to collide). */
SHOAL_MUST_USE shoal_status shoal_bpe_add(shoal_bpe *b, shoal_bpe_merge merge, shoal_error *err);

/* Encodes the n bytes of one piece. Bytes without a token of their own are left out. */
SHOAL_MUST_USE shoal_status shoal_bpe_encode(const shoal_bpe *b, shoal_merge_work *w,
                                             const char *piece, size_t n, shoal_merge_emit *emit,
                                             void *ctx, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
