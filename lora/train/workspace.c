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

size_t shoal_tape_arrays(const shoal_config *c, shoal_tape *tp,
                         shoal_tape_array out[SHOAL_TAPE_ARRAYS])
{
    const size_t q_width = c->n_head * c->head_dim;
    const size_t kv_width = c->n_head_kv * c->head_dim;
    const shoal_tape_array all[] = {{&tp->q, q_width}, {&tp->k, kv_width},    {&tp->v, kv_width},
                                    {&tp->o, q_width}, {&tp->mid, c->n_embd}, {&tp->g, c->n_ff},
                                    {&tp->u, c->n_ff}};
    const shoal_tape_array of_qk_norm[] = {{&tp->q_raw, q_width}, {&tp->k_raw, kv_width}};
    const shoal_tape_array of_post_norms[] = {{&tp->attn_out, c->n_embd},
                                              {&tp->ffn_out, c->n_embd}};
    size_t n = sizeof all / sizeof *all;
    memcpy(out, all, sizeof all);
    if (c->qk_norm) {
        memcpy(out + n, of_qk_norm, sizeof of_qk_norm);
        n += sizeof of_qk_norm / sizeof *of_qk_norm;
    }
    if (c->post_norms) {
        memcpy(out + n, of_post_norms, sizeof of_post_norms);
        n += sizeof of_post_norms / sizeof *of_post_norms;
    }
    return n;
}

static void lay_tape_small(layout *l, shoal_tape *tp, size_t T, const shoal_config *c,
                           const shoal_lora_spec *spec)
{
    tp->lse = floats(l, T, c->n_head);
    tp->rstd_attn = floats(l, T, 1);
    tp->rstd_ffn = floats(l, T, 1);
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rank = shoal_lora_rank(spec, (shoal_proj)p);
        tp->h[p] = rank > 0 ? floats(l, T, rank) : NULL;
    }
    tp->rstd_q = c->qk_norm ? floats(l, T, c->n_head) : NULL;
    tp->rstd_k = c->qk_norm ? floats(l, T, c->n_head_kv) : NULL;
    tp->rstd_post_attn = c->post_norms ? floats(l, T, 1) : NULL;
    tp->rstd_post_ffn = c->post_norms ? floats(l, T, 1) : NULL;
}

static void lay_tape_large(layout *l, shoal_tape *tp, size_t T, const shoal_config *c)
{
    shoal_tape_array arrays[SHOAL_TAPE_ARRAYS];
    tp->q_raw = tp->k_raw = tp->attn_out = tp->ffn_out = NULL;
    size_t n = shoal_tape_arrays(c, tp, arrays);
    for (size_t i = 0; i < n; i++) {
        *arrays[i].at = floats(l, T, arrays[i].width);
    }
}

static shoal_halves halves(layout *l, size_t T, size_t width)
{
    return (shoal_halves){.codes = piece(l, T, width, sizeof(uint16_t)), .scale = floats(l, T, 1)};
}

static void lay_kept(layout *l, shoal_kept *kept, size_t T, const shoal_config *c)
{
    shoal_tape tape;
    shoal_tape_array arrays[SHOAL_TAPE_ARRAYS];
    size_t n = shoal_tape_arrays(c, &tape, arrays);
    for (size_t i = 0; i < n; i++) {
        kept->part[i] = halves(l, T, arrays[i].width);
    }
}

/* Tape i, not the first: the room of its own for it; or for its small arrays, and for what is put
 * away of the tape before, since the last never is. */
static void lay_tape(layout *l, shoal_workspace *ws, size_t i, bool exact, size_t T,
                     const shoal_config *c, const shoal_lora_spec *spec)
{
    if (exact) {
        lay_tape_large(l, &ws->tapes[i], T, c);
    } else {
        ws->tapes[i] = ws->tapes[0];
        lay_kept(l, &ws->kept[i - 1], T, c);
    }
    lay_tape_small(l, &ws->tapes[i], T, c, spec);
}

/* Inputs of all adapted blocks, as they are kept. */
static void lay_inputs(layout *l, shoal_workspace *ws, bool exact, size_t T, size_t n,
                       const shoal_config *c)
{
    if (exact) {
        ws->inputs = floats(l, T, (n + 1) * c->n_embd);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        shoal_halves input = halves(l, T, c->n_embd);
        if (ws->inputs_kept != NULL) ws->inputs_kept[i] = input;
    }
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

/* Where tapes and inputs of all blocks are noted, kept or not; the first tape, and what is computed
 * with. */
static void lay_first_tape(layout *l, shoal_workspace *ws, const shoal_plan *plan,
                           const shoal_config *c, const shoal_lora_spec *spec)
{
    shoal_tape unplaced;
    size_t T = plan->max_tokens;
    size_t n = c->n_layer - plan->first_layer;
    ws->tapes = piece(l, n, 1, sizeof *ws->tapes);
    shoal_tape *first = ws->tapes != NULL ? &ws->tapes[0] : &unplaced;
    lay_tape_large(l, first, T, c);
    lay_tape_small(l, first, T, c, spec);
    if (plan->exact) return;
    ws->kept = piece(l, n, 1, sizeof *ws->kept);
    ws->inputs_kept = piece(l, n, 1, sizeof *ws->inputs_kept);
    ws->inputs = floats(l, T, c->n_embd);
}

static void lay_work(layout *l, shoal_workspace *ws, const shoal_plan *plan, const shoal_model *m,
                     const shoal_lora_spec *spec)
{
    const shoal_config *c = &m->cfg;
    size_t T = plan->max_tokens;
    lay_pack(l, &ws->pack, plan, c);
    lay_first_tape(l, ws, plan, c, spec);
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

/* Bytes of a tape besides the first, of T rows. */
static size_t further_tape(bool exact, size_t T, const shoal_config *c, const shoal_lora_spec *spec,
                           bool *failed)
{
    layout l = {NULL, 0, false};
    shoal_tape tapes[2];
    shoal_kept kept;
    shoal_workspace ws = {.tapes = tapes, .kept = &kept};
    memset(tapes, 0, sizeof tapes);
    lay_tape(&l, &ws, 1, exact, T, c, spec);
    *failed = *failed || l.failed;
    return section(&l);
}

/* The walk. Inputs and tapes are one piece, cut anew for each micro-batch. */
static bool lay_out(layout *l, shoal_workspace *ws, shoal_plan *plan, const shoal_model *m,
                    const shoal_adapter *a)
{
    const shoal_config *c = &m->cfg;
    layout inputs = {NULL, 0, false};
    shoal_workspace unplaced = {.inputs_kept = NULL};
    size_t tapes = 0;

    lay_work(l, ws, plan, m, &a->spec);
    plan->work_bytes = section(l);
    ws->grad = floats(l, plan->n_trained, 1);
    if (!shoal_optim_size(&ws->optim, plan->optimizer, plan->n_trained)) {
        return false;
    }
    ws->optim.floats = floats(l, ws->optim.n_floats, 1);
    ws->optim.codes = piece(l, ws->optim.n_codes, 1, 1);
    plan->optim_bytes = section(l);

    lay_inputs(&inputs, &unplaced, plan->exact, plan->max_tokens, c->n_layer - plan->first_layer,
               c);
    plan->input_bytes = section(&inputs);
    plan->tape_bytes = further_tape(plan->exact, plan->max_tokens, c, &a->spec, &l->failed);
    if (!shoal_mul_size(plan->tape_bytes, plan->tapes - 1, &tapes) ||
        !shoal_add_size(plan->input_bytes, tapes, &ws->keep_bytes)) {
        return false;
    }
    ws->keep = piece(l, ws->keep_bytes, 1, 1);
    return !l->failed && !inputs.failed;
}

void shoal_workspace_set_rows(shoal_workspace *ws, const shoal_plan *plan, const shoal_config *c,
                              const shoal_lora_spec *spec, size_t T)
{
    shoal_arena room = {.base = ws->keep, .size = ws->keep_bytes, .used = 0};
    layout l = {&room, 0, false};
    size_t n = c->n_layer - plan->first_layer;
    bool failed = false; /* it cannot: what is larger was counted */
    size_t tape = further_tape(plan->exact, T, c, spec, &failed);
    lay_inputs(&l, ws, plan->exact, T, n, c);
    size_t more = tape == 0 ? 0 : (room.size - room.used) / tape;
    ws->n_tapes = more + 1 < n ? more + 1 : n;
    ws->rows = T;
    for (size_t i = 1; i < ws->n_tapes; i++) {
        lay_tape(&l, ws, i, plan->exact, T, c, spec);
    }
}

bool shoal_workspace_size(shoal_plan *plan, const shoal_model *m, const shoal_adapter *a)
{
    layout l = {NULL, 0, false};
    shoal_workspace unplaced;
    memset(&unplaced, 0, sizeof unplaced);
    size_t total = 0;
    bool fits = lay_out(&l, &unplaced, plan, m, a) &&
                shoal_add_size(total, plan->work_bytes, &total) &&
                shoal_add_size(total, plan->optim_bytes, &total) &&
                shoal_add_size(total, unplaced.keep_bytes, &total);
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
