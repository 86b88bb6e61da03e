/* lower.h - the input of the lowest adapted layer: computed in a canonical way, or read.
 *
 * Attention's sums run in tiles that begin at fixed rows, so a sample's bits depend on the row it
 * begins at in a micro-batch. Below the adapter every sample is therefore attended to by itself, as
 * if it began at row 0: its rows then have the same bits whatever they are packed with, which is
 * what lets them be kept. (All other kernels treat rows alike wherever they are.)
 *
 * Layer: lora/train, private. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_LOWER_H
#define SHOAL_LORA_TRAIN_LOWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/train/row_index.h"
#include "lora/train/row_store.h"
#include "lora/train/step.h"

/* Set up by lower_cache.c, used by lower.c. */
struct shoal_lower_cache {
    const shoal_model *m;
    const shoal_exec *ex;
    size_t first_layer, max_tokens;
    shoal_row_index index;
    shoal_row_store store;
    uint32_t *arrays; /* one block: what follows */
    uint32_t *number; /* [T] in the index; SHOAL_ROW_NONE */
    uint32_t *at;     /* [T] place among the rows to compute; SHOAL_ROW_NONE: read instead */
    shoal_pack rows;  /* the rows to compute; nothing about targets */
    uint64_t rows_read, rows_computed;
};

/* The pack's rows as they enter block first_layer, in its place (shoal_block_input); false when
 * stopped. Uses s->cache, if there is one. */
bool shoal_lower_forward(const shoal_step *s);

/* Attention of layer `layer` for s->apart, sample by sample: tp->q, k, v to tp->o. */
void shoal_lower_attention(const shoal_step *s, size_t layer, const shoal_tape *tp);

#endif
