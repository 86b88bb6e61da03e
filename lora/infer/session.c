/* session.c - memory plan, evaluation in chunks, the head, scoring. */
#include "lora/infer/session.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "lora/infer/block.h"
#include "lora/model/arch.h"
#include "lora/model/residency.h"

enum {
    DEFAULT_CTX = 4096,
    DEFAULT_CHUNK = 256,
    DEFAULT_LOGIT_ROWS = 8,
    MAX_CHUNK = 4096,
    MAX_LOGIT_ROWS = 4096
};

struct shoal_session {
    const shoal_model *m;
    const shoal_exec *ex;
    shoal_session_opts opts; /* defaults filled in */
    shoal_arena arena;
    shoal_block_work work;
    shoal_kv kv;       /* of the tokens read */
    int32_t *tokens;   /* [n_ctx] what was read */
    uint32_t *pos;     /* [chunk] */
    float *logits;     /* [logit_rows, V] */
    float *head_norm;  /* [logit_rows, D] */
    void *head_packed; /* of head_norm */
    int32_t *targets;  /* [logit_rows], for scoring, like the next two */
    int32_t *best;
    double *nll;
    const atomic_bool *cancel;
    shoal_on_chunk *on_chunk;
    void *on_chunk_ctx;
};

/* ---- memory plan ------------------------------------------------------------------------------
 */

/* Runs over all pieces of a session twice: to add them up, and to carve them. */
typedef struct layout {
    shoal_arena *arena; /* NULL while adding up */
    size_t total;
    bool fits;
} layout;

/* Room for a * b elements. */
static void *piece(layout *l, size_t a, size_t b, size_t size)
{
    size_t n = 0;
    l->fits = l->fits && shoal_mul_size(a, b, &n) && shoal_arena_add(&l->total, n, size);
    if (!l->fits || l->arena == NULL) return NULL;
    void *p = shoal_arena_take(l->arena, n, size);
    l->fits = p != NULL;
    return p;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void lay_out_work(layout *l, const shoal_model *m, const shoal_session_opts *o,
                         shoal_block_work *w)
{
    const shoal_config *c = &m->cfg;
    size_t q_width = c->n_head * c->head_dim;
    size_t kv_width = c->n_head_kv * c->head_dim;
    size_t widest = max_size(max_size(c->n_embd, q_width), c->n_ff);
    size_t T = o->chunk;
    size_t rank = o->adapter == NULL ? 0 : o->adapter->spec.rank;
    w->x = piece(l, T, c->n_embd, sizeof(float));
    w->norm = piece(l, T, c->n_embd, sizeof(float));
    w->y = piece(l, T, c->n_embd, sizeof(float));
    w->q = piece(l, T, q_width, sizeof(float));
    w->k = piece(l, T, kv_width, sizeof(float));
    w->v = piece(l, T, kv_width, sizeof(float));
    w->o = piece(l, T, q_width, sizeof(float));
    w->g = piece(l, T, c->n_ff, sizeof(float));
    w->u = piece(l, T, c->n_ff, sizeof(float));
    w->h = piece(l, T, rank, sizeof(float));
    w->cs = piece(l, T, c->head_dim, sizeof(float));
    w->cs_local = w->cs;
    if (m->inv_freq_local != m->inv_freq) {
        w->cs_local = piece(l, T, c->head_dim, sizeof(float));
    }
    w->first_local = c->window == 0 ? NULL : piece(l, T, 1, sizeof *w->first_local);
    w->packed = piece(l, shoal_act_bytes(SHOAL_ACT_8BIT, T, widest), 1, 1);
}

/* kv_bytes as shoal_kv_plan said. */
static void lay_out(layout *l, const shoal_model *m, const shoal_session_opts *o, size_t kv_bytes,
                    shoal_session *s)
{
    const shoal_config *c = &m->cfg;
    lay_out_work(l, m, o, &s->work);
    s->tokens = piece(l, o->n_ctx, 1, sizeof *s->tokens);
    s->pos = piece(l, o->chunk, 1, sizeof *s->pos);
    s->logits = piece(l, o->logit_rows, c->n_vocab, sizeof(float));
    s->head_norm = piece(l, o->logit_rows, c->n_embd, sizeof(float));
    s->head_packed = piece(l, shoal_act_bytes(SHOAL_ACT_8BIT, o->logit_rows, c->n_embd), 1, 1);
    s->targets = piece(l, o->logit_rows, 1, sizeof *s->targets);
    s->best = piece(l, o->logit_rows, 1, sizeof *s->best);
    s->nll = piece(l, o->logit_rows, 1, sizeof *s->nll);
    void *cache = piece(l, kv_bytes, 1, 1);
    if (cache != NULL) shoal_kv_place(&s->kv, m, cache);
}

static size_t or_default(size_t v, size_t fallback)
{
    return v == 0 ? fallback : v;
}

/* Fills in defaults and checks what the caller asked for. */
static shoal_status resolve(const shoal_model *m, const shoal_exec *ex,
                            const shoal_session_opts *opts, shoal_session_opts *out,
                            shoal_error *err)
{
    size_t model_ctx = m->cfg.n_ctx;
    shoal_session_opts o = opts == NULL ? (shoal_session_opts){0} : *opts;
    o.n_ctx = or_default(o.n_ctx, model_ctx < DEFAULT_CTX ? model_ctx : DEFAULT_CTX);
    o.chunk = or_default(o.chunk, DEFAULT_CHUNK);
    o.logit_rows = or_default(o.logit_rows, DEFAULT_LOGIT_ROWS);
    o.chunk = o.chunk < o.n_ctx ? o.chunk : o.n_ctx;
    if (ex->exact) o.kv = SHOAL_KV_F32;
    if (o.n_ctx > model_ctx) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "a context of %zu tokens", o.n_ctx);
        shoal_hint(err, "this model was trained for at most %zu", model_ctx);
        return SHOAL_ERR_ARG;
    }
    if (o.chunk > MAX_CHUNK || o.logit_rows > MAX_LOGIT_ROWS) {
        return shoal_fail(err, SHOAL_ERR_ARG, "more than %d rows at once", (int)MAX_CHUNK);
    }
    if (o.adapter != NULL) {
        const shoal_config *a = &o.adapter->cfg;
        const shoal_config *b = &m->cfg;
        bool same = a->n_layer == b->n_layer && a->n_embd == b->n_embd && a->n_head == b->n_head &&
                    a->n_head_kv == b->n_head_kv && a->head_dim == b->head_dim &&
                    a->n_ff == b->n_ff;
        if (!same) return shoal_fail(err, SHOAL_ERR_ARG, "the adapter belongs to another model");
    }
    *out = o;
    return SHOAL_OK;
}

/* Fills s->kv, too; s is otherwise untouched. */
static shoal_status plan(const shoal_model *m, const shoal_session_opts *o, shoal_session *s,
                         size_t *bytes, size_t *kv_bytes, shoal_error *err)
{
    SHOAL_TRY(shoal_kv_plan(&s->kv, m, o->kv, o->n_ctx, o->chunk, kv_bytes, err));
    shoal_session unused = {0};
    layout l = {NULL, 0, true};
    lay_out(&l, m, o, *kv_bytes, &unused);
    if (!l.fits) return shoal_fail(err, SHOAL_ERR_OVERFLOW, "the session's size does not fit");
    *bytes = l.total;
    return SHOAL_OK;
}

shoal_status shoal_session_plan(const shoal_model *m, const shoal_exec *ex,
                                const shoal_session_opts *opts, size_t *bytes, shoal_error *err)
{
    shoal_session_opts o = {0};
    shoal_session unused = {0};
    size_t kv_bytes = 0;
    SHOAL_TRY(resolve(m, ex, opts, &o, err));
    return plan(m, &o, &unused, bytes, &kv_bytes, err);
}

static shoal_status carve(shoal_session *s, shoal_error *err)
{
    size_t bytes = 0, kv_bytes = 0;
    SHOAL_TRY(plan(s->m, &s->opts, s, &bytes, &kv_bytes, err));
    shoal_status st = shoal_arena_open(&s->arena, bytes, err);
    if (st != SHOAL_OK) {
        shoal_hint(err, "a smaller context needs less memory");
        return st;
    }
    layout l = {&s->arena, 0, true};
    lay_out(&l, s->m, &s->opts, kv_bytes, s);
    if (!l.fits) return shoal_fail(err, SHOAL_ERR_INTERNAL, "the session's plan was too small");
    return SHOAL_OK;
}

shoal_status shoal_session_open(shoal_session **out, const shoal_model *m, const shoal_exec *ex,
                                const shoal_session_opts *opts, shoal_error *err)
{
    *out = NULL;
    shoal_session *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    s->m = m;
    s->ex = ex;
    shoal_status st = resolve(m, ex, opts, &s->opts, err);
    if (st == SHOAL_OK) {
        st = carve(s, err);
    }
    if (st != SHOAL_OK) {
        shoal_session_close(s);
        return st;
    }
    *out = s;
    return SHOAL_OK;
}

void shoal_session_close(shoal_session *s)
{
    if (s == NULL) return;
    shoal_arena_close(&s->arena);
    shoal_free(s);
}

/* ---- evaluation -------------------------------------------------------------------------------
 */

/* Positions of the next T rows: their rotations, and where their windows begin. */
static void place_rows(shoal_session *s, size_t T)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_block_work *w = &s->work;
    for (size_t t = 0; t < T; t++) {
        s->pos[t] = (uint32_t)(s->kv.n + t);
        if (w->first_local != NULL) w->first_local[t] = shoal_window_first(c, s->pos[t]);
    }
    shoal_rope_table(s->pos, s->m->inv_freq, T, c->head_dim, w->cs);
    if (w->cs_local != w->cs) {
        shoal_rope_table(s->pos, s->m->inv_freq_local, T, c->head_dim, w->cs_local);
    }
}

/* Reads T <= chunk tokens; afterwards work.x holds the last block's output [T, D]. */
static void run_chunk(shoal_session *s, const int32_t *ids, size_t T)
{
    const shoal_config *c = &s->m->cfg;
    place_rows(s, T);
    for (size_t t = 0; t < T; t++) {
        shoal_model_embed(s->m, ids[t], s->work.x + t * c->n_embd);
    }
    const shoal_block_run run = {s->ex, s->m, s->opts.adapter, &s->work, &s->kv, T};
    for (size_t layer = 0; layer < c->n_layer; layer++) {
        shoal_residency_need(s->m, layer);
        shoal_block_forward(&run, layer);
        shoal_residency_done(s->m, layer);
    }
    memcpy(s->tokens + s->kv.n, ids, T * sizeof *ids);
    shoal_kv_advance(&s->kv, T);
}

/* logits [n, V] = head_norm [n, D] times the head, slice by slice where memory is bounded. A slice
 * then serves one row after the other (a product's rows lie end to end, a slice's do not), which
 * changes no bit of them. */
static void multiply_head(shoal_session *s, size_t n, float *logits)
{
    size_t slices = shoal_residency_head_slices(s->m);
    size_t D = s->m->cfg.n_embd;
    size_t step = slices == 1 ? n : 1;
    for (size_t i = 0; i < slices; i++) {
        size_t first = 0;
        const shoal_mat slice = shoal_residency_head_slice(s->m, i, &first);
        const shoal_mat *w = &slice;
        shoal_residency_need(s->m, s->m->cfg.n_layer + i);
        for (size_t t = 0; t < n; t += step) {
            shoal_act act;
            float *y = logits + t * s->m->cfg.n_vocab + first;
            shoal_act_prepare(s->ex, &act, SHOAL_ACT_8BIT, s->head_norm + t * D, step, D,
                              s->head_packed);
            shoal_matmul(s->ex, &act, &w, &y, 1);
        }
        shoal_residency_done(s->m, s->m->cfg.n_layer + i);
    }
}

/* Logits of rows [from, from + n) of the chunk just run, into logits rows from `to` on. */
static void run_head(shoal_session *s, size_t from, size_t n, size_t to)
{
    const shoal_config *c = &s->m->cfg;
    float *logits = s->logits + to * c->n_vocab;
    shoal_rmsnorm_fwd(s->ex, s->work.x + from * c->n_embd, s->m->out_norm, c->norm_eps, n,
                      c->n_embd, s->head_norm, NULL);
    multiply_head(s, n, logits);
    if (c->logit_softcap > 0.0f) {
        shoal_softcap_fwd(s->ex, logits, n * c->n_vocab, c->logit_softcap, logits);
    }
}

static shoal_status check_ids(const shoal_session *s, const int32_t *ids, size_t n,
                              shoal_error *err)
{
    size_t left = s->opts.n_ctx - s->kv.n;
    if (n > left) {
        (void)shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%zu more tokens do not fit the context of %zu",
                         n, s->opts.n_ctx);
        shoal_hint(err, "shorten the text or open a larger context (this model: up to %zu)",
                   s->m->cfg.n_ctx);
        return SHOAL_ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= s->m->cfg.n_vocab) {
            return shoal_fail(err, SHOAL_ERR_ARG, "%d is not a token of this model", (int)ids[i]);
        }
    }
    return SHOAL_OK;
}

static shoal_status check_cancel(const shoal_session *s, shoal_error *err)
{
    if (s->cancel == NULL || !atomic_load_explicit(s->cancel, memory_order_relaxed)) {
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_CANCELLED, "cancelled");
}

shoal_status shoal_session_eval(shoal_session *s, const int32_t *ids, size_t n, shoal_logits which,
                                shoal_error *err)
{
    SHOAL_TRY(check_ids(s, ids, n, err));
    if (which == SHOAL_LOGITS_ALL && n > s->opts.logit_rows) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "logits for %zu rows; this session has %zu", n,
                          s->opts.logit_rows);
    }
    for (size_t at = 0; at < n;) {
        SHOAL_TRY(check_cancel(s, err));
        size_t T = n - at < s->opts.chunk ? n - at : s->opts.chunk;
        run_chunk(s, ids + at, T);
        if (which == SHOAL_LOGITS_ALL) {
            run_head(s, 0, T, at);
        } else if (which == SHOAL_LOGITS_LAST && at + T == n) {
            run_head(s, T - 1, 1, 0);
        }
        at += T;
        if (s->on_chunk != NULL && at < n) s->on_chunk(s->on_chunk_ctx, at, n);
    }
    return SHOAL_OK;
}

float *shoal_session_logits(shoal_session *s, size_t row)
{
    return s->logits + row * s->m->cfg.n_vocab;
}

void shoal_session_set_cancel(shoal_session *s, const atomic_bool *cancel)
{
    s->cancel = cancel;
}

void shoal_session_set_on_chunk(shoal_session *s, shoal_on_chunk *fn, void *ctx)
{
    s->on_chunk = fn;
    s->on_chunk_ctx = ctx;
}

size_t shoal_session_truncate(shoal_session *s, size_t n_past)
{
    return shoal_kv_truncate(&s->kv, n_past);
}

shoal_status shoal_session_sync(shoal_session *s, const int32_t *ids, size_t n, shoal_error *err)
{
    if (n == 0) return shoal_fail(err, SHOAL_ERR_ARG, "no tokens to read");
    size_t same = 0;
    while (same < s->kv.n && same < n - 1 && s->tokens[same] == ids[same]) {
        same++; /* the last one is always read again: its logits are wanted */
    }
    same = shoal_session_truncate(s, same);
    return shoal_session_eval(s, ids + same, n - same, SHOAL_LOGITS_LAST, err);
}

/* ---- state ------------------------------------------------------------------------------------
 */

size_t shoal_session_state_bytes(const shoal_session *s, size_t from, size_t n)
{
    return shoal_kv_state_bytes(&s->kv, from, n);
}

shoal_status shoal_session_export(const shoal_session *s, size_t from, size_t n, unsigned char *out,
                                  shoal_error *err)
{
    if (shoal_kv_export(&s->kv, from, n, out)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_STATE, "tokens %zu to %zu are not held any more", from,
                      from + n);
}

shoal_status shoal_session_import(shoal_session *s, const int32_t *ids, size_t n,
                                  const unsigned char *in, size_t bytes, shoal_error *err)
{
    SHOAL_TRY(check_ids(s, ids, n, err));
    if (bytes != shoal_kv_state_bytes(&s->kv, s->kv.n, n)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a saved state of another size");
    }
    memcpy(s->tokens + s->kv.n, ids, n * sizeof *ids);
    if (shoal_kv_import(&s->kv, s->kv.n, n, in)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_INTERNAL, "the saved state does not fit");
}

/* ---- scoring ----------------------------------------------------------------------------------
 */

/* Scores rows [from, from + rows) of the chunk just run, which are positions `at` on of ids [n]. */
static void score_rows(shoal_session *s, const int32_t *ids, size_t n, size_t at, size_t from,
                       size_t rows, double *nll, int32_t *argmax)
{
    run_head(s, from, rows, 0);
    for (size_t i = 0; i < rows; i++) {
        s->targets[i] = at + i + 1 < n ? ids[at + i + 1] : 0; /* the last has nothing to predict */
    }
    shoal_cross_entropy(s->ex, s->logits, s->targets, rows, s->m->cfg.n_vocab, 0.0f, s->nll,
                        s->best);
    for (size_t i = 0; i < rows; i++) {
        if (nll != NULL && at + i + 1 < n) nll[at + i] = s->nll[i];
        if (argmax != NULL) argmax[at + i] = s->best[i];
    }
}

shoal_status shoal_session_score(shoal_session *s, const int32_t *ids, size_t n, double *nll,
                                 int32_t *argmax, shoal_error *err)
{
    (void)shoal_session_truncate(s, 0);
    SHOAL_TRY(check_ids(s, ids, n, err));
    size_t rows = 0;
    for (size_t at = 0; at < n;) {
        SHOAL_TRY(check_cancel(s, err));
        size_t T = n - at < s->opts.chunk ? n - at : s->opts.chunk;
        run_chunk(s, ids + at, T);
        for (size_t from = 0; from < T; from += rows) {
            rows = T - from < s->opts.logit_rows ? T - from : s->opts.logit_rows;
            score_rows(s, ids, n, at + from, from, rows, nll, argmax);
        }
        at += T;
    }
    if (rows > 1) { /* the last row becomes row 0 */
        size_t V = s->m->cfg.n_vocab;
        memcpy(s->logits, s->logits + (rows - 1) * V, V * sizeof *s->logits);
    }
    return SHOAL_OK;
}

/* ---- queries ----------------------------------------------------------------------------------
 */

const shoal_model *shoal_session_model(const shoal_session *s)
{
    return s->m;
}

const shoal_exec *shoal_session_exec(const shoal_session *s)
{
    return s->ex;
}

shoal_kv_kind shoal_session_kv_kind(const shoal_session *s)
{
    return s->opts.kv;
}

size_t shoal_session_past(const shoal_session *s)
{
    return s->kv.n;
}

size_t shoal_session_capacity(const shoal_session *s)
{
    return s->opts.n_ctx;
}

size_t shoal_session_logit_rows(const shoal_session *s)
{
    return s->opts.logit_rows;
}

const int32_t *shoal_session_tokens(const shoal_session *s)
{
    return s->tokens;
}

const int32_t *shoal_session_history(shoal_session *s, int32_t next)
{
    if (s->kv.n < s->opts.n_ctx) {
        s->tokens[s->kv.n] = next;
    }
    return s->tokens;
}
