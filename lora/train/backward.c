/* backward.c - gradients of a block, the mirror of forward.c. */
#include <string.h>

#include "lora/model/arch.h"
#include "lora/model/residency.h"
#include "lora/train/keep.h"
#include "lora/train/regularize.h"
#include "lora/train/step.h"
#include "lora/train/trained.h"

static bool is_adapted(const shoal_step *s, size_t layer, shoal_proj p)
{
    return shoal_adapter_pair(s->a, layer, p)->a != NULL;
}

/* What of a block's backward is wanted: everything when a gradient must leave it at the bottom; in
 * the lowest adapted block only what leads to an adapted projection. */
typedef struct wanted {
    bool dx_in; /* gradient of the block's input */
    bool d_qkv; /* of q, k, v: backward through attention */
    bool d_mid; /* of the stream between attention and mlp */
    bool d_gu;  /* of gate and up */
} wanted;

static wanted what_is_wanted(const shoal_step *s, size_t layer)
{
    wanted w;
    w.dx_in = layer > s->plan->first_layer;
    w.d_qkv = w.dx_in || is_adapted(s, layer, SHOAL_PROJ_Q) || is_adapted(s, layer, SHOAL_PROJ_K) ||
              is_adapted(s, layer, SHOAL_PROJ_V);
    w.d_mid = w.d_qkv || is_adapted(s, layer, SHOAL_PROJ_O);
    w.d_gu =
        w.d_mid || is_adapted(s, layer, SHOAL_PROJ_GATE) || is_adapted(s, layer, SHOAL_PROJ_UP);
    return w;
}

/* dA, dB of an adapted projection; the part of dx that is left to add where dx is NULL. */
static shoal_lowrank_term d_adapter(const shoal_step *s, size_t layer, shoal_proj p,
                                    const shoal_dropout *drop, const float *x, const float *dy,
                                    float *dx, const shoal_tape *tp)
{
    const shoal_mat *w = &s->m->layers[layer].proj[p];
    const shoal_lora_pair *pair = shoal_adapter_pair(s->a, layer, p);
    bool frozen = s->plan->freeze_a;
    float *dA = frozen ? NULL : s->ws->grad + (pair->a - s->a->params);
    float *dB = s->ws->grad + shoal_trained_b(s->a, frozen, layer, p);
    shoal_lowrank_bwd_dropout(s->ex, drop, pair->a, pair->b, pair->rank, w->cols, w->rows,
                              pair->scale, x, tp->h[p], dy, s->T, s->ws->dh, dA, dB, dx);
    return (shoal_lowrank_term){
        .left = s->ws->dh, .right = pair->a, .rank = pair->rank, .scale = 1.0f};
}

/* Mirror of project() for one projection: dA, dB when adapted; dx (+)= dy W + the adapter's part
 * unless dx is NULL. x is only read when adapted. */
static void d_project(const shoal_step *s, size_t layer, shoal_proj p, const float *x,
                      const float *dy, float *dx, bool accumulate, const shoal_tape *tp)
{
    const shoal_mat *w = &s->m->layers[layer].proj[p];
    bool adapted = is_adapted(s, layer, p);
    shoal_dropout place;
    const shoal_dropout *drop = shoal_step_dropout(s, layer, p, &place);
    shoal_lowrank_term term = {0};
    if (adapted && drop == NULL) {
        term = d_adapter(s, layer, p, NULL, x, dy, NULL, tp);
    }
    if (dx != NULL) {
        shoal_act act;
        shoal_act_prepare(s->ex, &act, SHOAL_ACT_16BIT, dy, s->T, w->rows, s->ws->packed);
        shoal_matmul_dx_lowrank(s->ex, w, &act, &term, dx, accumulate);
    }
    if (adapted && drop != NULL) { /* what comes back through the mask is added apart */
        (void)d_adapter(s, layer, p, drop, x, dy, dx, tp);
    }
}

/* Gradient of what a branch's last projection gave: that of the stream, back through the norm
 * between them where there is one. */
static const float *d_branch(const shoal_step *s, const float *post_norm, const float *raw,
                             const float *rstd)
{
    shoal_workspace *ws = s->ws;
    if (post_norm == NULL) {
        return ws->dx;
    }
    shoal_rmsnorm_bwd(s->ex, raw, post_norm, rstd, ws->dx, s->T, s->m->cfg.n_embd, ws->dpost,
                      false);
    return ws->dpost;
}

/* Mirror of norm_and_rotate(), d in place. */
static void d_norm_and_rotate(const shoal_step *s, size_t layer, const float *norm, size_t heads,
                              const float *raw, const float *rstd, float *d)
{
    const shoal_config *c = &s->m->cfg;
    shoal_rope(s->ex, c->rope_style, d, shoal_layer_rotation(s, layer), s->T, heads, c->head_dim,
               true);
    if (norm != NULL) {
        shoal_rmsnorm_bwd(s->ex, raw, norm, rstd, d, s->T * heads, c->head_dim, d, false);
    }
}

/* ws->dx holds the gradient of the block's output, which is also that of the stream's part in it;
 * the mlp's part is added. Gradients of g and u overwrite g and u. */
static void mlp_backward(const shoal_step *s, size_t layer, const wanted *want, shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_layer *w = &s->m->layers[layer];
    shoal_workspace *ws = s->ws;

    if (is_adapted(s, layer, SHOAL_PROJ_DOWN)) {
        shoal_glu_fwd(s->ex, c, tp->g, tp->u, s->T * c->n_ff, ws->s);
    }
    const float *dy = d_branch(s, w->post_ffn_norm, tp->ffn_out, tp->rstd_post_ffn);
    d_project(s, layer, SHOAL_PROJ_DOWN, ws->s, dy, want->d_gu ? ws->ds : NULL, false, tp);
    if (!want->d_gu) {
        return;
    }
    shoal_glu_bwd(s->ex, c, tp->g, tp->u, ws->ds, s->T * c->n_ff, tp->g, tp->u);
    if (is_adapted(s, layer, SHOAL_PROJ_GATE) || is_adapted(s, layer, SHOAL_PROJ_UP)) {
        shoal_rmsnorm_fwd(s->ex, tp->mid, w->ffn_norm, c->norm_eps, s->T, c->n_embd, ws->norm,
                          NULL);
    }
    float *dnorm = want->d_mid ? ws->dnorm : NULL;
    d_project(s, layer, SHOAL_PROJ_GATE, ws->norm, tp->g, dnorm, false, tp);
    d_project(s, layer, SHOAL_PROJ_UP, ws->norm, tp->u, dnorm, true, tp);
    if (want->d_mid) {
        shoal_rmsnorm_bwd(s->ex, tp->mid, w->ffn_norm, tp->rstd_ffn, ws->dnorm, s->T, c->n_embd,
                          ws->dx, true);
    }
}

/* The same for attention, from the gradient of the middle of the block to that of its input. */
static void attention_backward(const shoal_step *s, size_t layer, const wanted *want,
                               const float *x_in, shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_layer *w = &s->m->layers[layer];
    shoal_workspace *ws = s->ws;

    const float *dy = d_branch(s, w->post_attn_norm, tp->attn_out, tp->rstd_post_attn);
    d_project(s, layer, SHOAL_PROJ_O, tp->o, dy, want->d_qkv ? ws->d_o : NULL, false, tp);
    if (!want->d_qkv) {
        return;
    }
    shoal_attn attn = shoal_tape_attn(s, layer, tp);
    shoal_attn_bwd(s->ex, &attn, tp->o, tp->lse, ws->d_o, ws->delta, ws->dq, ws->dk, ws->dv);
    d_norm_and_rotate(s, layer, w->q_norm, c->n_head, tp->q_raw, tp->rstd_q, ws->dq);
    d_norm_and_rotate(s, layer, w->k_norm, c->n_head_kv, tp->k_raw, tp->rstd_k, ws->dk);

    shoal_rmsnorm_fwd(s->ex, x_in, w->attn_norm, c->norm_eps, s->T, c->n_embd, ws->norm, NULL);
    float *dnorm = want->dx_in ? ws->dnorm : NULL;
    d_project(s, layer, SHOAL_PROJ_Q, ws->norm, ws->dq, dnorm, false, tp);
    d_project(s, layer, SHOAL_PROJ_K, ws->norm, ws->dk, dnorm, true, tp);
    d_project(s, layer, SHOAL_PROJ_V, ws->norm, ws->dv, dnorm, true, tp);
    if (want->dx_in) {
        shoal_rmsnorm_bwd(s->ex, x_in, w->attn_norm, tp->rstd_attn, ws->dnorm, s->T, c->n_embd,
                          ws->dx, true);
    }
}

static void block_backward(const shoal_step *s, size_t layer)
{
    const float *x_in = shoal_take_input(s, layer);
    shoal_tape *tp = shoal_take_tape(s, layer);
    wanted want = what_is_wanted(s, layer);

    mlp_backward(s, layer, &want, tp);
    if (want.d_mid) {
        attention_backward(s, layer, &want, x_in, tp);
    }
}

bool shoal_step_backward(const shoal_step *s)
{
    for (size_t layer = s->m->cfg.n_layer; layer > s->plan->first_layer; layer--) {
        if (s->stop != NULL && s->stop(s->stop_ctx)) {
            return false;
        }
        shoal_residency_need(s->m, layer - 1);
        block_backward(s, layer - 1);
        shoal_residency_done(s->m, layer - 1);
    }
    return true;
}
