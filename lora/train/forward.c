/* forward.c - a block of the model with adapters, leaving what backward needs. */
#include <string.h>

#include "lora/model/arch.h"
#include "lora/model/residency.h"
#include "lora/train/keep.h"
#include "lora/train/lower.h"
#include "lora/train/regularize.h"
#include "lora/train/step.h"

float *shoal_block_input(const shoal_step *s, size_t layer)
{
    size_t stride = s->ws->rows * s->m->cfg.n_embd;
    size_t i = layer > s->plan->first_layer && s->plan->exact ? layer - s->plan->first_layer : 0;
    return s->ws->inputs + i * stride;
}

bool shoal_block_keeps_tape(const shoal_step *s, size_t layer)
{
    return layer + s->ws->n_tapes >= s->m->cfg.n_layer;
}

shoal_tape *shoal_block_tape(const shoal_step *s, size_t layer)
{
    size_t i = shoal_block_keeps_tape(s, layer) ? layer + s->ws->n_tapes - s->m->cfg.n_layer : 0;
    return &s->ws->tapes[i];
}

/* h = x A^T of an adapted projection, and what is left to add to its outputs. */
static shoal_lowrank_term adapter_term(const shoal_step *s, size_t layer, shoal_proj p,
                                       const float *x, float *h)
{
    const shoal_lora_pair *pair = shoal_adapter_pair(s->a, layer, p);
    shoal_dropout place;
    if (pair->a == NULL) {
        return (shoal_lowrank_term){0};
    }
    shoal_lowrank_fwd_dropout(s->ex, shoal_step_dropout(s, layer, p, &place), pair->a, pair->b,
                              pair->rank, s->m->layers[layer].proj[p].cols, 0, pair->scale, x, s->T,
                              h, NULL);
    return (shoal_lowrank_term){h, pair->b, pair->rank, pair->scale};
}

/* y_i = x W_i^T + b_i + scale_i (x A_i^T) B_i^T for the n projections from `first` on, which share
 * x. */
static void project(const shoal_step *s, size_t layer, shoal_proj first, size_t n, const float *x,
                    float *const *y, shoal_tape *tp)
{
    const shoal_mat *w[SHOAL_GROUP_MAX];
    shoal_lowrank_term terms[SHOAL_GROUP_MAX];
    shoal_act act;
    for (size_t i = 0; i < n; i++) {
        w[i] = &s->m->layers[layer].proj[first + i];
        terms[i] = adapter_term(s, layer, (shoal_proj)(first + i), x, tp->h[first + i]);
    }
    shoal_act_prepare(s->ex, &act, SHOAL_ACT_16BIT, x, s->T, w[0]->cols, s->ws->packed);
    shoal_matmul_lowrank(s->ex, &act, w, terms, y, n);
    for (size_t i = 0; i < n && s->m->cfg.qkv_bias && first == SHOAL_PROJ_Q; i++) {
        shoal_add_bias(s->ex, s->m->layers[layer].bias[i], s->T, w[i]->rows, y[i]);
    }
}

/* From a projection's output x [T, heads, E] to queries or keys, in place: head by head normalised
 * if the layer does so (its input is kept in `raw`), then rotated. */
static void norm_and_rotate(const shoal_step *s, size_t layer, const float *norm, size_t heads,
                            float *x, float *raw, float *rstd)
{
    const shoal_config *c = &s->m->cfg;
    if (norm != NULL) {
        memcpy(raw, x, s->T * heads * c->head_dim * sizeof *x);
        shoal_rmsnorm_fwd(s->ex, raw, norm, c->norm_eps, s->T * heads, c->head_dim, x, rstd);
    }
    shoal_rope(s->ex, c->rope_style, x, shoal_layer_rotation(s, layer), s->T, heads, c->head_dim,
               false);
}

/* out = in + y, or the norm of y where the layer has one (y is then kept in `raw`). */
static void add_to_stream(const shoal_step *s, const float *post_norm, float *y, const float *in,
                          float *out, float *raw, float *rstd)
{
    const shoal_config *c = &s->m->cfg;
    size_t n = s->T * c->n_embd;
    memcpy(out, in, n * sizeof *out);
    if (post_norm != NULL) {
        memcpy(raw, y, n * sizeof *y);
        shoal_rmsnorm_fwd(s->ex, raw, post_norm, c->norm_eps, s->T, c->n_embd, y, rstd);
    }
    shoal_add(s->ex, y, n, out);
}

static void attention_forward(const shoal_step *s, size_t layer, const float *x_in, shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_layer *l = &s->m->layers[layer];
    float *norm = s->ws->norm;
    float *qkv[3] = {tp->q, tp->k, tp->v};

    shoal_rmsnorm_fwd(s->ex, x_in, l->attn_norm, c->norm_eps, s->T, c->n_embd, norm, tp->rstd_attn);
    project(s, layer, SHOAL_PROJ_Q, 3, norm, qkv, tp);
    norm_and_rotate(s, layer, l->q_norm, c->n_head, tp->q, tp->q_raw, tp->rstd_q);
    norm_and_rotate(s, layer, l->k_norm, c->n_head_kv, tp->k, tp->k_raw, tp->rstd_k);
    if (s->apart != NULL) {
        shoal_lower_attention(s, layer, tp);
    } else {
        shoal_attn attn = shoal_tape_attn(s, layer, tp);
        shoal_attn_fwd(s->ex, &attn, tp->o, tp->lse);
    }

    float *y = s->ws->dnorm;
    project(s, layer, SHOAL_PROJ_O, 1, tp->o, &y, tp);
    add_to_stream(s, l->post_attn_norm, y, x_in, tp->mid, tp->attn_out, tp->rstd_post_attn);
}

/* Up to the input of the down projection, ws->s. */
static void gate_up_forward(const shoal_step *s, size_t layer, shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    float *norm = s->ws->norm;
    float *gu[2] = {tp->g, tp->u};

    shoal_rmsnorm_fwd(s->ex, tp->mid, s->m->layers[layer].ffn_norm, c->norm_eps, s->T, c->n_embd,
                      norm, tp->rstd_ffn);
    project(s, layer, SHOAL_PROJ_GATE, 2, norm, gu, tp);
    shoal_glu_fwd(s->ex, c, tp->g, tp->u, s->T * c->n_ff, s->ws->s);
}

/* x_out is the next block's input. */
static void block_forward(const shoal_step *s, size_t layer, const float *x_in, float *x_out,
                          shoal_tape *tp)
{
    float *y = s->ws->dnorm;

    attention_forward(s, layer, x_in, tp);
    gate_up_forward(s, layer, tp);
    project(s, layer, SHOAL_PROJ_DOWN, 1, s->ws->s, &y, tp);
    add_to_stream(s, s->m->layers[layer].post_ffn_norm, y, tp->mid, x_out, tp->ffn_out,
                  tp->rstd_post_ffn);
}

/* The input was taken out before. */
void shoal_block_recompute(const shoal_step *s, size_t layer, shoal_tape *tp)
{
    attention_forward(s, layer, shoal_block_input(s, layer), tp);
    gate_up_forward(s, layer, tp);
    const float *post_norm = s->m->layers[layer].post_ffn_norm;
    if (post_norm != NULL) { /* backward reads what this norm read; its own output is not wanted */
        float *y = tp->ffn_out;
        project(s, layer, SHOAL_PROJ_DOWN, 1, s->ws->s, &y, tp);
        shoal_rmsnorm_fwd(s->ex, y, post_norm, s->m->cfg.norm_eps, s->T, s->m->cfg.n_embd,
                          s->ws->dnorm, tp->rstd_post_ffn);
    } else { /* h alone */
        (void)adapter_term(s, layer, SHOAL_PROJ_DOWN, s->ws->s, tp->h[SHOAL_PROJ_DOWN]);
    }
}

const float *shoal_layer_rotation(const shoal_step *s, size_t layer)
{
    return s->m->layers[layer].local ? s->ws->cs_local : s->ws->cs;
}

shoal_attn shoal_tape_attn(const shoal_step *s, size_t layer, const shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_pack *pack = &s->ws->pack;
    shoal_attn attn = {
        .T = s->T,
        .H = c->n_head,
        .K = c->n_head_kv,
        .E = c->head_dim,
        .scale = c->attn_scale,
        .softcap = c->attn_softcap,
        .q = tp->q,
        .k = tp->k,
        .v = tp->v,
        .kv_type = SHOAL_TYPE_F32,
        .n_past = 0,
        .first = s->m->layers[layer].local ? pack->first_local : pack->first,
        .hole = pack->has_holes ? pack->hole : NULL,
        .hole_end = pack->hole_end,
    };
    return attn;
}

/* The row where row t's window begins: in the own sample, be it in a shared beginning. */
static uint32_t window_row(const shoal_config *c, const shoal_pack *pack, size_t t)
{
    uint32_t at = (uint32_t)shoal_window_first(c, pack->pos[t]);
    uint32_t shared = pack->hole[t] - pack->first[t];
    return at < shared ? pack->first[t] + at : pack->hole_end[t] + at - shared;
}

/* Rotations of the rows, and where their windows begin. */
static void place_rows(const shoal_step *s)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    shoal_rope_table(ws->pack.pos, s->m->inv_freq, s->T, c->head_dim, ws->cs);
    if (ws->cs_local != ws->cs) {
        shoal_rope_table(ws->pack.pos, s->m->inv_freq_local, s->T, c->head_dim, ws->cs_local);
    }
    for (size_t t = 0; t < s->T && ws->pack.first_local != NULL; t++) {
        ws->pack.first_local[t] = window_row(c, &ws->pack, t);
    }
}

void shoal_step_embed(const shoal_step *s, const int32_t *ids)
{
    size_t D = s->m->cfg.n_embd;
    float *x = shoal_block_input(s, 0);
    for (size_t t = 0; t < s->T; t++) {
        shoal_model_embed(s->m, ids[t], x + t * D);
        shoal_step_embed_noise(s, t, x + t * D);
    }
}

bool shoal_step_layers(const shoal_step *s, size_t from, size_t to)
{
    for (size_t layer = from; layer < to; layer++) {
        if (s->stop != NULL && s->stop(s->stop_ctx)) {
            return false;
        }
        shoal_residency_need(s->m, layer);
        block_forward(s, layer, shoal_block_input(s, layer), shoal_block_input(s, layer + 1),
                      shoal_block_tape(s, layer));
        shoal_residency_done(s->m, layer);
        if (layer < s->plan->first_layer) continue;
        shoal_keep_tape(s, layer);
        if (layer + 1 < s->m->cfg.n_layer) shoal_keep_input(s, layer + 1);
    }
    return true;
}

bool shoal_step_forward(const shoal_step *s)
{
    if (!shoal_lower_forward(s)) {
        return false;
    }
    place_rows(s);
    shoal_keep_input(s, s->plan->first_layer);
    return shoal_step_layers(s, s->plan->first_layer, s->m->cfg.n_layer);
}
