/* block.c - attention and mlp of one layer. */
#include "lora/infer/block.h"

#include "lora/model/arch.h"

/* y_i = x W_i^T + b_i + scale_i (x A_i^T) B_i^T for the n projections from `first` on, which share
 * x. */
static void project(const shoal_block_run *r, size_t layer, shoal_proj first, size_t n,
                    const float *x, float *const *y)
{
    const shoal_mat *w[SHOAL_GROUP_MAX];
    for (size_t i = 0; i < n; i++) {
        w[i] = &r->m->layers[layer].proj[first + i];
    }
    shoal_act act;
    shoal_act_prepare(r->ex, &act, SHOAL_ACT_8BIT, x, r->T, w[0]->cols, r->work->packed);
    shoal_matmul(r->ex, &act, w, y, n);
    for (size_t i = 0; i < n && r->m->cfg.qkv_bias && first == SHOAL_PROJ_Q; i++) {
        shoal_add_bias(r->ex, r->m->layers[layer].bias[i], r->T, w[i]->rows, y[i]);
    }
    for (size_t i = 0; i < n && r->adapter != NULL; i++) {
        const shoal_lora_pair *pair =
            shoal_adapter_pair(r->adapter, layer, (shoal_proj)(first + i));
        if (pair->a == NULL) continue;
        shoal_lowrank_fwd(r->ex, pair->a, pair->b, pair->rank, w[i]->cols, w[i]->rows, pair->scale,
                          x, r->T, r->work->h, y[i]);
    }
}

/* From a projection's output x [T, heads, E] to queries or keys: head by head normalised if the
 * layer does so, then rotated. */
static void norm_and_rotate(const shoal_block_run *r, const shoal_layer *l, const float *norm,
                            size_t heads, float *x)
{
    const shoal_config *c = &r->m->cfg;
    const float *cs = l->local ? r->work->cs_local : r->work->cs;
    if (norm != NULL) {
        shoal_rmsnorm_fwd(r->ex, x, norm, c->norm_eps, r->T * heads, c->head_dim, x, NULL);
    }
    shoal_rope(r->ex, c->rope_style, x, cs, r->T, heads, c->head_dim, false);
}

/* x += y, or its norm where the layer has one. */
static void add_to_stream(const shoal_block_run *r, const float *post_norm)
{
    const shoal_config *c = &r->m->cfg;
    const shoal_block_work *w = r->work;
    if (post_norm != NULL) {
        shoal_rmsnorm_fwd(r->ex, w->y, post_norm, c->norm_eps, r->T, c->n_embd, w->y, NULL);
    }
    shoal_add(r->ex, w->y, r->T * c->n_embd, w->x);
}

static void attention(const shoal_block_run *r, size_t layer)
{
    const shoal_config *c = &r->m->cfg;
    const shoal_layer *l = &r->m->layers[layer];
    const shoal_block_work *w = r->work;
    shoal_rmsnorm_fwd(r->ex, w->x, l->attn_norm, c->norm_eps, r->T, c->n_embd, w->norm, NULL);
    project(r, layer, SHOAL_PROJ_Q, 3, w->norm, (float *const[]){w->q, w->k, w->v});
    norm_and_rotate(r, l, l->q_norm, c->n_head, w->q);
    norm_and_rotate(r, l, l->k_norm, c->n_head_kv, w->k);
    shoal_kv_put(r->kv, layer, w->k, w->v, r->T);
    shoal_attn attn = {
        .T = r->T,
        .H = c->n_head,
        .K = c->n_head_kv,
        .E = c->head_dim,
        .scale = c->attn_scale,
        .softcap = c->attn_softcap,
        .q = w->q,
        .n_past = r->kv->n,
        .first = l->local ? w->first_local : NULL,
    };
    shoal_kv_view(r->kv, layer, &attn);
    shoal_attn_fwd(r->ex, &attn, w->o, NULL);
    project(r, layer, SHOAL_PROJ_O, 1, w->o, &w->y);
    add_to_stream(r, l->post_attn_norm);
}

static void mlp(const shoal_block_run *r, size_t layer)
{
    const shoal_config *c = &r->m->cfg;
    const shoal_layer *l = &r->m->layers[layer];
    const shoal_block_work *w = r->work;
    shoal_rmsnorm_fwd(r->ex, w->x, l->ffn_norm, c->norm_eps, r->T, c->n_embd, w->norm, NULL);
    project(r, layer, SHOAL_PROJ_GATE, 2, w->norm, (float *const[]){w->g, w->u});
    shoal_glu_fwd(r->ex, c, w->g, w->u, r->T * c->n_ff, w->g);
    project(r, layer, SHOAL_PROJ_DOWN, 1, w->g, &w->y);
    add_to_stream(r, l->post_ffn_norm);
}

void shoal_block_forward(const shoal_block_run *r, size_t layer)
{
    attention(r, layer);
    mlp(r, layer);
}
