/* merge.h - merging neighbouring symbols of a text, best pair first: what byte-pair encoding and
 * SentencePiece's have in common.
 *
 * Pairs are merged lowest rank first, leftmost first among equals, with a heap: n log n in the
 * symbols of the text, however long it is.
 *
 * Source: Sennrich et al. 2016, algorithm 1. Layer: lora/model. Threads: a workspace has one owner.
 */
#ifndef SHOAL_LORA_MODEL_MERGE_H
#define SHOAL_LORA_MODEL_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A piece of the text: a list over an array. */
typedef struct shoal_merge_symbol {
    const char *p;      /* its bytes, borrowed */
    uint32_t n;         /* 0: merged away */
    int32_t id;         /* its token; -1: none */
    int32_t prev, next; /* -1 at the ends */
} shoal_merge_symbol;

/* Room to merge in, reused from text to text. Zero-initialise. After a run the result is the list
 * that starts at symbols[0] (when n is not 0). */
typedef struct shoal_merge_work {
    shoal_merge_symbol *symbols;   /* [cap], n in use */
    struct shoal_merge_pair *heap; /* [2 * cap] */
    size_t n, cap, n_heap;
} shoal_merge_work;

void shoal_merge_clear(shoal_merge_work *w);

/* Empties the list and makes room for n symbols. TOO_LARGE or NOMEM. */
SHOAL_MUST_USE shoal_status shoal_merge_begin(shoal_merge_work *w, size_t n, shoal_error *err);

/* Appends a symbol; there must be room. */
void shoal_merge_push(shoal_merge_work *w, const char *p, size_t n, int32_t id);

/* Whether two neighbours merge; their rank and the token they become. */
typedef struct shoal_merge_found {
    uint32_t rank;
    int32_t id;
} shoal_merge_found;
typedef bool shoal_merge_find(const void *ctx, const shoal_merge_symbol *left,
                              const shoal_merge_symbol *right, shoal_merge_found *out);

/* Merges until nothing merges any more. */
void shoal_merge_run(shoal_merge_work *w, shoal_merge_find *find, const void *ctx);

/* Called for each token of a result, in order. */
typedef shoal_status shoal_merge_emit(void *ctx, int32_t id, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
