/* workspace.c - sizes and places of a trainer's arrays. */
#include "lora/train/workspace.h"

#include <string.h>

/* Either sums (arena NULL) or takes. `bytes` counts what was asked for since it was last zeroed. */
typedef struct layout {
    shoal_arena *arena;
    size_t bytes;
    bool failed;
} layout;

/* A piece of a * b elements of `size` bytes. */
static void *piece(layout *l, size_t a, size_t b, size_t size)
{
    size_t n = 0;
    if (!shoal_mul_size(a, b, &n) || !shoal_arena_add(&l->bytes, n, size)) {
        l->failed = true;
        return NULL;
    }
    if (l->arena == NULL) {
        return NULL;
    }
    void *p = shoal_arena_take(l->arena, n, size);
    l->failed = l->failed || p == NULL;
    return p;
}

static float *floats(layout *l, size_t a, size_t b)
{
    return piece(l, a, b, sizeof(float));
}

/* Bytes counted since the last call. */
static size_t section(layout *l)
{
    size_t bytes = l->bytes;
    l->bytes = 0;
    return bytes;
}

/* What only families with more norms leave. */
static void lay_tape_norms(layout *l, shoal_tape *tp, size_t T, const shoal_config *c)
{
    tp->q_raw = tp->k_raw = tp->rstd_q = tp->rstd_k = NULL;
    tp->attn_out = tp->ffn_out = tp->rstd_post_attn = tp->rstd_post_ffn = NULL;
    if (c->qk_norm) {
        tp->q_raw = floats(l, T, c->n_head * c->head_dim);
        tp->k_raw = floats(l, T, c->n_head_kv * c->head_dim);
        tp->rstd_q = floats(l, T, c->n_head);
        tp->rstd_k = floats(l, T, c->n_head_kv);
    }
    if (c->post_norms) {
        tp->attn_out = floats(l, T, c->n_embd);
        tp->ffn_out = floats(l, T, c->n_embd);
        tp->rstd_post_attn = floats(l, T, 1);
        tp->rstd_post_ffn = floats(l, T, 1);
    }
}

static void lay_tape(layout *l, shoal_tape *tp, size_t T, const shoal_config *c,
                     const shoal_lora_spec *spec)
{
    tp->q = floats(l, T, c->n_head * c->head_dim);
    tp->k = floats(l, T, c->n_head_kv * c->head_dim);
    tp->v = floats(l, T, c->n_head_kv * c->head_dim);
    tp->o = floats(l, T, c->n_head * c->head_dim);
    tp->lse = floats(l, T, c->n_head);
    tp->mid = floats(l, T, c->n_embd);
    tp->g = floats(l, T, c->n_ff);
    tp->u = floats(l, T, c->n_ff);
    tp->rstd_attn = floats(l, T, 1);
    tp->rstd_ffn = floats(l, T, 1);
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rank = shoal_lora_rank(spec, (shoal_proj)p);
        tp->h[p] = rank > 0 ? floats(l, T, rank) : NULL;
    }
    lay_tape_norms(l, tp, T, c);
}

static void lay_pack(layout *l, shoal_pack *pack, const shoal_plan *plan, const shoal_config *c)
{
    size_t T = plan->max_tokens;
    bool keyed = plan->dropout > 0 || plan->neftune > 0.0;
    pack->key = keyed ? piece(l, T, 1, sizeof *pack->key) : NULL;
    pack->length = plan->neftune > 0.0 ? piece(l, T, 1, sizeof *pack->length) : NULL;
    pack->ids = piece(l, T, 1, sizeof *pack->ids);
    pack->pos = piece(l, T, 1, sizeof *pack->pos);
    pack->first = piece(l, T, 1, sizeof *pack->first);
    pack->first_local = c->window == 0 ? NULL : piece(l, T, 1, sizeof *pack->first_local);
    pack->hole = piece(l, T, 1, sizeof *pack->hole);
    pack->hole_end = piece(l, T, 1, sizeof *pack->hole_end);
    pack->sup_row = piece(l, T, 1, sizeof *pack->sup_row);
    pack->sup_target = piece(l, T, 1, sizeof *pack->sup_target);
    pack->sup_sample = piece(l, T, 1, sizeof *pack->sup_sample);
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Floats a row that the mlp's large arrays take, or attention's: backward is in one or the other.
 */
static size_t block_width(const shoal_config *c)
{
    return max_size(2 * c->n_ff, 2 * c->head_dim * (c->n_head + c->n_head_kv));
}

size_t shoal_head_slice(const shoal_config *c)
{
    enum { STEP = 256, MOST = 4 * STEP }; /* matmul_dx sums STEP rows at a time */
    size_t copies = c->logit_softcap > 0.0f ? 2 : 1;
    size_t room = block_width(c) > c->n_embd ? (block_width(c) - c->n_embd) / copies : 0;
    size_t slice = max_size(STEP, min_size(room / STEP * STEP, MOST));
    return min_size(slice, c->n_vocab);
}

/* Arrays that are never alive together share one piece: mlp, attention, head. */
static void lay_shared(layout *l, shoal_workspace *ws, size_t T, const shoal_config *c)
{
    size_t q_width = c->n_head * c->head_dim;
    size_t kv_width = c->n_head_kv * c->head_dim;
    size_t slice = shoal_head_slice(c);
    bool caps = c->logit_softcap > 0.0f;
    size_t head = c->n_embd + (caps ? 2 : 1) * slice;
    float *p = floats(l, T, max_size(block_width(c), head));
    if (p == NULL) {
        return;
    }
    ws->s = p;
    ws->ds = p + T * c->n_ff;
    ws->d_o = p;
    ws->dq = p + T * q_width;
    ws->dk = ws->dq + T * q_width;
    ws->dv = ws->dk + T * kv_width;
    ws->head_x = p;
    ws->logits = p + T * c->n_embd;
    ws->capped = caps ? ws->logits + T * slice : NULL;
}

/* Inputs and gradients prepared for products: one at a time in a block; in the head its input and,
 * behind it, a slice of gradients. */
static void lay_packed(layout *l, shoal_workspace *ws, size_t T, const shoal_config *c)
{
    size_t widest = max_size(c->n_ff, max_size(c->n_embd, c->n_head * c->head_dim));
    size_t input = shoal_act_bytes(SHOAL_ACT_16BIT, T, c->n_embd);
    size_t gradient = shoal_act_bytes(SHOAL_ACT_16BIT, T, shoal_head_slice(c));
    size_t block = shoal_act_bytes(SHOAL_ACT_16BIT, T, widest);
    ws->packed = piece(l, max_size(block, input + gradient), 1, 1);
    ws->head_packed = ws->packed == NULL ? NULL : (char *)ws->packed + input;
}

static void lay_work(layout *l, shoal_workspace *ws, const shoal_plan *plan, const shoal_model *m,
                     const shoal_lora_spec *spec)
{
    const shoal_config *c = &m->cfg;
    size_t T = plan->max_tokens;
    lay_pack(l, &ws->pack, plan, c);
    /* For all blocks, kept or not: another tape must cost plan->tape_bytes and no more. */
    ws->tapes = piece(l, c->n_layer - plan->first_layer, 1, sizeof *ws->tapes);
    ws->norm = floats(l, T, c->n_embd);
    ws->dnorm = floats(l, T, c->n_embd);
    ws->dx = floats(l, T, c->n_embd);
    ws->cs = floats(l, T, c->head_dim);
    ws->cs_local = m->inv_freq_local == m->inv_freq ? ws->cs : floats(l, T, c->head_dim);
    ws->dpost = c->post_norms ? floats(l, T, c->n_embd) : NULL;
    ws->delta = floats(l, T, c->n_head);
    ws->dh = floats(l, T, spec->rank);
    lay_packed(l, ws, T, c);
    lay_shared(l, ws, T, c);
    ws->head_softmax = piece(l, T, 1, sizeof *ws->head_softmax);
    ws->head_rstd = floats(l, T, 1);
}

/* The walk. With an arena, tapes are laid one by one; without, one is sized and multiplied. */
static bool lay_out(layout *l, shoal_workspace *ws, shoal_plan *plan, const shoal_model *m,
                    const shoal_adapter *a)
{
    const shoal_config *c = &m->cfg;
    size_t T = plan->max_tokens;

    lay_work(l, ws, plan, m, &a->spec);
    plan->work_bytes = section(l);
    ws->inputs = floats(l, T, (c->n_layer - plan->first_layer + 1) * c->n_embd);
    plan->input_bytes = section(l);
    ws->grad = floats(l, plan->n_trained, 1);
    if (!shoal_optim_size(&ws->optim, plan->optimizer, plan->n_trained)) {
        return false;
    }
    ws->optim.floats = floats(l, ws->optim.n_floats, 1);
    ws->optim.codes = piece(l, ws->optim.n_codes, 1, 1);
    plan->optim_bytes = section(l);

    shoal_tape unplaced;
    for (size_t i = 0; i < (l->arena == NULL ? 1 : plan->tapes); i++) {
        lay_tape(l, l->arena == NULL ? &unplaced : &ws->tapes[i], T, c, &a->spec);
        plan->tape_bytes = section(l);
    }
    return !l->failed;
}

bool shoal_workspace_size(shoal_plan *plan, const shoal_model *m, const shoal_adapter *a)
{
    layout l = {NULL, 0, false};
    shoal_workspace unplaced;
    memset(&unplaced, 0, sizeof unplaced);
    size_t tapes = 0;
    size_t total = 0;
    bool fits = lay_out(&l, &unplaced, plan, m, a) &&
                shoal_mul_size(plan->tape_bytes, plan->tapes, &tapes) &&
                shoal_add_size(total, plan->work_bytes, &total) &&
                shoal_add_size(total, plan->input_bytes, &total) &&
                shoal_add_size(total, plan->optim_bytes, &total) &&
                shoal_add_size(total, tapes, &total);
    plan->arena_bytes = total;
    return fits;
}

shoal_status shoal_workspace_open(shoal_workspace *ws, const shoal_plan *plan, const shoal_model *m,
                                  const shoal_adapter *a, shoal_error *err)
{
    memset(ws, 0, sizeof *ws);
    SHOAL_TRY(shoal_arena_open(&ws->arena, plan->arena_bytes, err));
    layout l = {&ws->arena, 0, false};
    shoal_plan recount = *plan;
    if (!lay_out(&l, ws, &recount, m, a) || ws->arena.used != plan->arena_bytes) {
        shoal_workspace_close(ws);
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the memory plan does not match its layout");
    }
    memset(ws->grad, 0, plan->n_trained * sizeof *ws->grad);
    shoal_optim_reset(&ws->optim);
    return SHOAL_OK;
}

void shoal_workspace_close(shoal_workspace *ws)
{
    shoal_arena_close(&ws->arena);
}
