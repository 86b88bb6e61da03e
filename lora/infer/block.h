/* block.h - one transformer block over new rows and a KV cache, for inference.
 *
 * Training has its own forward, which also leaves what the backward needs (lora/train/forward.c);
 * both are the same sequence of kernel calls.
 *
 * Layer: lora/infer (private to it). Threads: one owner.
 */
#ifndef SHOAL_LORA_INFER_BLOCK_H
#define SHOAL_LORA_INFER_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lora/infer/kv.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays for at most T rows; carved from the session's arena. */
typedef struct shoal_block_work {
    float *x;              /* [T, D] the residual stream: input and output */
    float *norm;           /* [T, D] */
    float *y;              /* [T, D] what a projection adds to x */
    float *q;              /* [T, H, E] */
    float *k, *v;          /* [T, K, E] before they go to the cache */
    float *o;              /* [T, H, E] */
    float *g, *u;          /* [T, F] */
    float *h;              /* [T, R] of an adapter */
    float *cs;             /* [T, E/2, 2] rotations of these rows */
    float *cs_local;       /* the same for local layers; cs itself when they do not differ */
    uint32_t *first_local; /* [T] first key a row of a local layer sees; NULL: no layer is local */
    void *packed;          /* shoal_act_bytes(T, the widest input) */
} shoal_block_work;

/* What stays the same over the layers of one evaluation. */
typedef struct shoal_block_run {
    const shoal_exec *ex;
    const shoal_model *m;
    const shoal_adapter *adapter; /* NULL: the base model alone */
    const shoal_block_work *work;
    const shoal_kv *kv; /* holds the tokens before the new rows */
    size_t T;           /* new rows */
} shoal_block_run;

/* x = block(x); the rows' keys and values are put into the cache. */
void shoal_block_forward(const shoal_block_run *r, size_t layer);

#ifdef __cplusplus
}
#endif
#endif
