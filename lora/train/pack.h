/* pack.h - samples arranged into rows of tokens: which go together, and what they share.
 *
 * Samples of a call are arranged a window at a time, without allocating. Their order among each
 * other is free, as gradients are sums. Two things make rows of tokens fewer and fuller:
 *
 *   - Samples that begin with the same tokens (a system prompt, a template's preamble) share the
 *     rows of that beginning: it is laid once, each of them sees it and itself. A beginning carries
 *     no targets, so it ends before the row that predicts a sample's first one.
 *     (With noise on embeddings nothing is shared: its size follows from a sample's length.)
 *   - Rows are filled first-fit, largest group first and its longest sample first (Johnson 1973). A
 *     group that fits into one row of tokens stays together, so its beginning is laid once.
 *
 * Everything follows from the samples and their order alone.
 *
 * A row's key, for dropout and noise, is a chain over the sample's tokens up to and including it:
 * samples agree on the keys of what they have in common, whether they share rows or not, and no key
 * depends on where or with what else a sample is laid.
 *
 * Layer: lora/train, private. Threads: pure functions on the caller's memory.
 */
#ifndef SHOAL_LORA_TRAIN_PACK_H
#define SHOAL_LORA_TRAIN_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lora/train/trainer.h"
#include "lora/train/workspace.h"

enum {
    SHOAL_PACK_WINDOW = 256, /* samples arranged together */
    SHOAL_PACK_SHARE_MIN = 4 /* shorter common beginnings are computed again */
};

/* The arrangement of one window. Samples are numbered from its first; groups are the samples that
 * share a beginning, which may be one alone. */
typedef struct shoal_packing {
    bool apart;                  /* the caller's choice: nothing is shared */
    const shoal_sample *samples; /* the caller's array */
    size_t from, n;              /* the window: [from, from + n) of it */
    size_t n_groups;
    size_t n_packs;
    uint32_t rows[SHOAL_PACK_WINDOW];   /* rows of a sample alone */
    uint16_t group[SHOAL_PACK_WINDOW];  /* of a sample */
    uint16_t pack[SHOAL_PACK_WINDOW];   /* where a sample lies */
    uint32_t shared[SHOAL_PACK_WINDOW]; /* tokens a group shares */
    size_t together[SHOAL_PACK_WINDOW]; /* rows of a whole group */
} shoal_packing;

/* Rows a sample takes: up to, not including, its last target (which no row needs as input). */
size_t shoal_sample_rows(const shoal_sample *s);

/* Arranges samples [from, n) or the first window of them into packs of at most max_rows, none of
 * them longer. Returns how many were arranged. */
size_t shoal_packing_make(shoal_packing *p, const shoal_sample *samples, size_t from, size_t n,
                          size_t max_rows);

/* Lays pack `which` out. Targets carry their sample's index in the array. */
void shoal_packing_fill(const shoal_packing *p, size_t which, shoal_pack *pack);

#endif
