/* forward.c - a block of the model with adapters, leaving what backward needs. */
#include <math.h>
#include <string.h>

#include "lora/train/step.h"

float *shoal_block_input(const shoal_step *s, size_t layer)
{
    size_t stride = s->plan->max_tokens * s->m->cfg.n_embd;
    size_t i = layer > s->plan->first_layer ? layer - s->plan->first_layer : 0;
    return s->ws->inputs + i * stride;
}

bool shoal_block_keeps_tape(const shoal_step *s, size_t layer)
{
    return layer + s->plan->tapes >= s->m->cfg.n_layer;
}

shoal_tape *shoal_block_tape(const shoal_step *s, size_t layer)
{
    size_t i = shoal_block_keeps_tape(s, layer) ? layer + s->plan->tapes - s->m->cfg.n_layer : 0;
    return &s->ws->tapes[i];
}

/* y_i = x W_i^T + scale_i (x A_i^T) B_i^T for the n projections from `first` on, which share x. */
static void project(const shoal_step *s, size_t layer, shoal_proj first, size_t n, const float *x,
                    float *const *y, shoal_tape *tp)
{
    const shoal_mat *w[SHOAL_GROUP_MAX];
    shoal_act act;
    for (size_t i = 0; i < n; i++) {
        w[i] = &s->m->layers[layer].proj[first + i];
    }
    shoal_act_prepare(s->ex, &act, x, s->T, w[0]->cols, s->ws->packed);
    shoal_matmul(s->ex, &act, w, y, n);
    for (size_t i = 0; i < n; i++) {
        const shoal_lora_pair *pair = shoal_adapter_pair(s->a, layer, (shoal_proj)(first + i));
        if (pair->a != NULL) {
            shoal_lowrank_fwd(s->ex, pair->a, pair->b, pair->rank, w[i]->cols, w[i]->rows,
                              pair->scale, x, s->T, tp->h[first + i], y[i]);
        }
    }
}

static void attention_forward(const shoal_step *s, size_t layer, const float *x_in, shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    float *norm = s->ws->norm;
    float *qkv[3] = {tp->q, tp->k, tp->v};

    shoal_rmsnorm_fwd(s->ex, x_in, s->m->layers[layer].attn_norm, c->norm_eps, s->T, c->n_embd,
                      norm, tp->rstd_attn);
    project(s, layer, SHOAL_PROJ_Q, 3, norm, qkv, tp);
    shoal_rope(s->ex, c->rope_style, tp->q, s->ws->cs, s->T, c->n_head, c->head_dim, false);
    shoal_rope(s->ex, c->rope_style, tp->k, s->ws->cs, s->T, c->n_head_kv, c->head_dim, false);
    shoal_attn attn = shoal_tape_attn(s, tp);
    shoal_attn_fwd(s->ex, &attn, tp->o, tp->lse);

    float *y = s->ws->dnorm;
    project(s, layer, SHOAL_PROJ_O, 1, tp->o, &y, tp);
    memcpy(tp->mid, x_in, s->T * c->n_embd * sizeof *x_in);
    shoal_add(s->ex, y, s->T * c->n_embd, tp->mid);
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
    shoal_swiglu_fwd(s->ex, tp->g, tp->u, s->T * c->n_ff, s->ws->s);
}

static void block_forward(const shoal_step *s, size_t layer, const float *x_in, float *x_out,
                          shoal_tape *tp)
{
    size_t n = s->T * s->m->cfg.n_embd;
    float *y = s->ws->dnorm;

    attention_forward(s, layer, x_in, tp);
    gate_up_forward(s, layer, tp);
    project(s, layer, SHOAL_PROJ_DOWN, 1, s->ws->s, &y, tp);
    memcpy(x_out, tp->mid, n * sizeof *x_out);
    shoal_add(s->ex, y, n, x_out);
}

void shoal_block_recompute(const shoal_step *s, size_t layer, shoal_tape *tp)
{
    attention_forward(s, layer, shoal_block_input(s, layer), tp);
    gate_up_forward(s, layer, tp);
    const shoal_lora_pair *down = shoal_adapter_pair(s->a, layer, SHOAL_PROJ_DOWN);
    if (down->a != NULL) { /* h alone: a pair with no outputs */
        shoal_lowrank_fwd(s->ex, down->a, down->b, down->rank, s->m->cfg.n_ff, 0, down->scale,
                          s->ws->s, s->T, tp->h[SHOAL_PROJ_DOWN], s->ws->dnorm);
    }
}

shoal_attn shoal_tape_attn(const shoal_step *s, const shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    shoal_attn attn = {
        .T = s->T,
        .H = c->n_head,
        .K = c->n_head_kv,
        .E = c->head_dim,
        .scale = 1.0f / sqrtf((float)c->head_dim),
        .q = tp->q,
        .k = tp->k,
        .v = tp->v,
        .kv_type = SHOAL_TYPE_F32,
        .n_past = 0,
        .first = s->ws->pack.first,
    };
    return attn;
}

bool shoal_step_forward(const shoal_step *s)
{
    const shoal_config *c = &s->m->cfg;
    float *x = shoal_block_input(s, 0);

    for (size_t t = 0; t < s->T; t++) {
        shoal_mat_row(&s->m->embd, (size_t)s->ws->pack.ids[t], x + t * c->n_embd);
    }
    shoal_rope_table(s->ws->pack.pos, s->m->inv_freq, s->T, c->head_dim, s->ws->cs);
    for (size_t layer = 0; layer < c->n_layer; layer++) {
        if (s->stop != NULL && s->stop(s->stop_ctx)) {
            return false;
        }
        block_forward(s, layer, shoal_block_input(s, layer), shoal_block_input(s, layer + 1),
                      shoal_block_tape(s, layer));
    }
    return true;
}
