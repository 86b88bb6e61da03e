/* step.h - one micro-batch through the model: forward, head and loss, backward.
 *
 * forward.c and backward.c mirror each other: same names, order reversed. The algebra is in
 * lora/README.md.
 *
 * Layer: lora/train, private. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_STEP_H
#define SHOAL_LORA_TRAIN_STEP_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"
#include "lora/train/trainer.h"
#include "lora/train/workspace.h"

/* What every function of a step needs; all borrowed. */
typedef struct shoal_step {
    const shoal_model *m;
    const shoal_adapter *a;
    const shoal_exec *ex;
    const shoal_plan *plan;
    shoal_workspace *ws; /* its pack holds the micro-batch */
    size_t T;            /* rows in use: ws->pack.n_rows */
    shoal_stop_fn *stop;
    void *stop_ctx;
    shoal_lower_cache *cache; /* of the layers below the adapter; NULL: none */
    const shoal_pack *apart;  /* below the adapter: its rows, attended to sample by sample */
    bool learns; /* backward follows: tapes are kept, dropout and noise are as planned */
} shoal_step;

/* Input of adapted block `layer` (or, for n_layer, output of the last), [T, D], where it is
 * computed with; keep.h says what is kept of it. */
float *shoal_block_input(const shoal_step *s, size_t layer);

/* Where block `layer` leaves its tape (see keep.h for what becomes of it). Blocks whose tape is not
 * kept share tape 0 with the lowest block that keeps one, which backward reaches before it needs
 * the place again. */
shoal_tape *shoal_block_tape(const shoal_step *s, size_t layer);
bool shoal_block_keeps_tape(const shoal_step *s, size_t layer);

/* The attention of a layer over its tape, and the rotation of its queries and keys: for forward and
 * backward alike. */
shoal_attn shoal_tape_attn(const shoal_step *s, size_t layer, const shoal_tape *tp);
const float *shoal_layer_rotation(const shoal_step *s, size_t layer);

/* Fills a tape from the block's kept input, the same bits as forward left in it. The block's
 * output is left out, and with it the down projection unless a norm after it needs its input. */
void shoal_block_recompute(const shoal_step *s, size_t layer, shoal_tape *tp);

/* The two halves of a forward: rows of tokens ids [T] as they enter block 0, and blocks [from, to)
 * from there; false when stopped. */
void shoal_step_embed(const shoal_step *s, const int32_t *ids);
bool shoal_step_layers(const shoal_step *s, size_t from, size_t to);

/* Embedding and all blocks; false when stopped. */
bool shoal_step_forward(const shoal_step *s);

/* Output norm, head and cross-entropy over the supervised rows, a few at a time. Adds each target's
 * NLL to nll[its sample] and to *nll_sum; when weight is not 0, sets ws->dx to the gradient of
 * weight * NLL with respect to the last block's output. */
void shoal_step_head(const shoal_step *s, float weight, double *nll, double *nll_sum);

/* From ws->dx down to the lowest adapted block, adding to ws->grad; false when stopped. */
bool shoal_step_backward(const shoal_step *s);

#endif
