/* block.c - attention and mlp of one layer. */
#include "lora/infer/block.h"

#include <math.h>
#include <string.h>

/* y_i = x W_i^T + scale_i (x A_i^T) B_i^T for the n projections from `first` on, which share x. */
static void project(const shoal_block_run *r, size_t layer, shoal_proj first, size_t n,
                    const float *x, float *const *y)
{
    const shoal_mat *w[SHOAL_GROUP_MAX];
    for (size_t i = 0; i < n; i++) {
        w[i] = &r->m->layers[layer].proj[first + i];
    }
    shoal_act act;
    shoal_act_prepare(r->ex, &act, x, r->T, w[0]->cols, r->work->packed);
    shoal_matmul(r->ex, &act, w, y, n);
    for (size_t i = 0; i < n && r->adapter != NULL; i++) {
        const shoal_lora_pair *pair =
            shoal_adapter_pair(r->adapter, layer, (shoal_proj)(first + i));
        if (pair->a == NULL) continue;
        shoal_lowrank_fwd(r->ex, pair->a, pair->b, pair->rank, w[i]->cols, w[i]->rows, pair->scale,
                          x, r->T, r->work->h, y[i]);
    }
}

/* Appends the new rows to the cache, in its type. */
static void store_rows(const shoal_block_run *r, const float *rows, shoal_type type, void *cache)
{
    size_t width = r->m->cfg.n_head_kv * r->m->cfg.head_dim;
    size_t value_bytes = type == SHOAL_TYPE_F16 ? sizeof(uint16_t) : sizeof(float);
    char *dst = (char *)cache + r->n_past * width * value_bytes;
    if (type == SHOAL_TYPE_F16) {
        shoal_quantize(type, rows, dst, r->T * width);
    } else {
        memcpy(dst, rows, r->T * width * value_bytes);
    }
}

static void attention(const shoal_block_run *r, size_t layer, const shoal_kv *kv)
{
    const shoal_config *c = &r->m->cfg;
    const shoal_block_work *w = r->work;
    shoal_rmsnorm_fwd(r->ex, w->x, r->m->layers[layer].attn_norm, c->norm_eps, r->T, c->n_embd,
                      w->norm, NULL);
    project(r, layer, SHOAL_PROJ_Q, 3, w->norm, (float *const[]){w->q, w->k, w->v});
    shoal_rope(r->ex, c->rope_style, w->q, w->cs, r->T, c->n_head, c->head_dim, false);
    shoal_rope(r->ex, c->rope_style, w->k, w->cs, r->T, c->n_head_kv, c->head_dim, false);
    store_rows(r, w->k, kv->type, kv->k);
    store_rows(r, w->v, kv->type, kv->v);
    const shoal_attn attn = {
        .T = r->T,
        .H = c->n_head,
        .K = c->n_head_kv,
        .E = c->head_dim,
        .scale = 1.0f / sqrtf((float)c->head_dim),
        .q = w->q,
        .k = kv->k,
        .v = kv->v,
        .kv_type = kv->type,
        .n_past = r->n_past,
    };
    shoal_attn_fwd(r->ex, &attn, w->o, NULL);
    project(r, layer, SHOAL_PROJ_O, 1, w->o, &w->y);
    shoal_add(r->ex, w->y, r->T * c->n_embd, w->x);
}

static void mlp(const shoal_block_run *r, size_t layer)
{
    const shoal_config *c = &r->m->cfg;
    const shoal_block_work *w = r->work;
    shoal_rmsnorm_fwd(r->ex, w->x, r->m->layers[layer].ffn_norm, c->norm_eps, r->T, c->n_embd,
                      w->norm, NULL);
    project(r, layer, SHOAL_PROJ_GATE, 2, w->norm, (float *const[]){w->g, w->u});
    shoal_swiglu_fwd(r->ex, w->g, w->u, r->T * c->n_ff, w->g);
    project(r, layer, SHOAL_PROJ_DOWN, 1, w->g, &w->y);
    shoal_add(r->ex, w->y, r->T * c->n_embd, w->x);
}

void shoal_block_forward(const shoal_block_run *r, size_t layer, const shoal_kv *kv)
{
    attention(r, layer, kv);
    mlp(r, layer);
}
