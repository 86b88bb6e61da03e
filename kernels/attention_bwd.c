/* attention_bwd.c - gradients of attention with the weights recomputed tile by tile.
 *
 * Dao et al. 2022, algorithm 4, in two passes so that nothing is shared between ranges:
 *   over tiles of rows   delta = rowsum(dO * O),  P = exp(S - lse),  dP = dO V^T,
 *                        dS = P * (dP - delta),   dQ = scale * dS K
 *   over tiles of keys   dV = P^T dO,  dK = dS^T (scale * Q), rows in order
 * S and dP are computed twice, which costs two of seven products and needs no atomics and no
 * reduction between threads.
 */
#include "kernels/attention_tile.h"

#include <assert.h>
#include <string.h>

#include "kernels/expf.h"

typedef struct bwd_job {
    const shoal_exec *ex;
    const shoal_attn *a;
    const float *o, *lse, *d_o;
    float *delta, *dq, *dk, *dv;
    size_t rows; /* of a tile */
} bwd_job;

void shoal_softmax_grad_c(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                          float delta)
{
    for (size_t j = 0; j < n; j++) {
        bool seen = j >= lo && j < hi;
        float w = seen ? shoal_expf(s[j] - lse) : 0.0f;
        s[j] = w;
        dp[j] = seen ? w * (dp[j] - delta) : 0.0f;
    }
}

/* Row of capped scores s and of dP to P and dS with respect to the scores before the cap. */
static void capped_softmax_grad(const shoal_table *t, float cap, float *s, float *dp, size_t lo,
                                size_t hi, size_t n, float lse, float delta)
{
    float capped[KEY_TILE];
    t->softcap(s, n, cap, s);
    memcpy(capped, s, n * sizeof *s);
    t->softmax_grad(s, dp, lo, hi, n, lse, delta);
    t->softcap_grad(capped, n, cap, dp);
}

/* P and dS of rows [i0, i1) against keys [key0, key0 + n), into p->s and p->dp. p->q and p->acc
 * hold the packed rows of scale * Q and dO. */
static void score_tile(const bwd_job *j, const attn_panels *p, size_t kh, size_t i0, size_t i1,
                       size_t key0, size_t n)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t ld;
    const float *k = shoal_attn_keys(j->ex, a, a->k, kh, key0, n, p->kv, &ld);
    const float *v = shoal_attn_keys(j->ex, a, a->v, kh, key0, n, p->kv, &ld);
    t->dense_nt(i1 - i0, n, a->E, p->q, a->E, k, ld, p->s, KEY_TILE);
    t->dense_nt(i1 - i0, n, a->E, p->acc, a->E, v, ld, p->dp, KEY_TILE);
    for (size_t i = i0; i < i1; i++) {
        size_t lo, hi, head = attn_row(a, kh, i) / a->E;
        attn_visible(a, i, key0, n, &lo, &hi);
        float *s = p->s + (i - i0) * KEY_TILE;
        float *dp = p->dp + (i - i0) * KEY_TILE;
        if (a->softcap > 0.0f) {
            capped_softmax_grad(t, a->softcap, s, dp, lo, hi, n, j->lse[head], j->delta[head]);
        } else {
            t->softmax_grad(s, dp, lo, hi, n, j->lse[head], j->delta[head]);
        }
        attn_fill_hole(a, i, key0, lo, hi, s, 0.0f);
        attn_fill_hole(a, i, key0, lo, hi, dp, 0.0f);
    }
}

/* dq of rows [i0, i1) of key head kh is formed in p->kv, which an f32 cache leaves free. */
static void rows_pass(const bwd_job *j, size_t kh, size_t i0, unsigned worker)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t i1 = min_size(i0 + j->rows, a->T * (a->H / a->K));
    attn_panels p = attn_panels_of(j->ex, worker);
    shoal_attn_pack(a, a->q, kh, i0, i1, a->scale, p.q);
    shoal_attn_pack(a, j->d_o, kh, i0, i1, 1.0f, p.acc);
    for (size_t i = i0; i < i1; i++) {
        size_t at = attn_row(a, kh, i);
        t->dense_nt(1, 1, a->E, j->d_o + at, a->E, j->o + at, a->E, &j->delta[at / a->E], 1);
    }
    float *dq = p.kv;
    memset(dq, 0, (i1 - i0) * a->E * sizeof *dq);
    size_t first, end;
    attn_span(a, i0, i1, &first, &end);
    for (size_t key0 = first / KEY_TILE * KEY_TILE; key0 < end; key0 += KEY_TILE) {
        size_t n = min_size(KEY_TILE, end - key0);
        if (!attn_sees(a, i0, i1, key0, n)) continue;
        score_tile(j, &p, kh, i0, i1, key0, n);
        t->dense_nn(i1 - i0, a->E, n, a->scale, p.dp, KEY_TILE, 1,
                    (const float *)a->k + (key0 * a->K + kh) * a->E, a->K * a->E, dq, a->E);
    }
    for (size_t i = i0; i < i1; i++) {
        memcpy(j->dq + attn_row(a, kh, i), dq + (i - i0) * a->E, a->E * sizeof *dq);
    }
}

/* dk, dv of keys key0.. of head kh: all row tiles that see them, in order. */
static void keys_pass(const bwd_job *j, size_t kh, size_t key0, unsigned worker)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t n = min_size(KEY_TILE, a->T - key0), ld = a->K * a->E, group = a->H / a->K;
    size_t at = (key0 * a->K + kh) * a->E, rows = a->T * group;
    attn_panels p = attn_panels_of(j->ex, worker);
    for (size_t key = 0; key < n; key++) {
        memset(j->dk + at + key * ld, 0, a->E * sizeof *j->dk);
        memset(j->dv + at + key * ld, 0, a->E * sizeof *j->dv);
    }
    for (size_t i0 = key0 * group / j->rows * j->rows; i0 < rows; i0 += j->rows) {
        size_t i1 = min_size(i0 + j->rows, rows), first, end;
        attn_span(a, i0, i1, &first, &end);
        if (first >= key0 + n || end <= key0) continue;
        size_t seen = min_size(n, end - key0); /* on the diagonal: fewer than the tile */
        if (!attn_sees(a, i0, i1, key0, seen)) continue;
        shoal_attn_pack(a, a->q, kh, i0, i1, a->scale, p.q);
        shoal_attn_pack(a, j->d_o, kh, i0, i1, 1.0f, p.acc);
        score_tile(j, &p, kh, i0, i1, key0, seen);
        t->dense_nn(seen, a->E, i1 - i0, 1.0f, p.s, 1, KEY_TILE, p.acc, a->E, j->dv + at, ld);
        t->dense_nn(seen, a->E, i1 - i0, 1.0f, p.dp, 1, KEY_TILE, p.q, a->E, j->dk + at, ld);
    }
}

static void run_rows_pass(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const bwd_job *j = ctx;
    for (size_t task = begin; task < end; task++) {
        rows_pass(j, task % j->a->K, task / j->a->K * j->rows, worker);
    }
}

static void run_keys_pass(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const bwd_job *j = ctx;
    for (size_t task = begin; task < end; task++) {
        keys_pass(j, task % j->a->K, task / j->a->K * KEY_TILE, worker);
    }
}

void shoal_attn_bwd(const shoal_exec *ex, const shoal_attn *attn, const float *o, const float *lse,
                    const float *d_o, float *delta, float *dq, float *dk, float *dv)
{
    assert(attn->E <= SHOAL_ATTN_MAX_E && attn->H % attn->K == 0);
    assert(attn->kv_type == SHOAL_TYPE_F32 && attn->n_past == 0 && attn->kv_row == 0);
    const shoal_attn resolved = shoal_attn_resolve(attn), *a = &resolved;
    bwd_job j = {.ex = ex, .a = a, .o = o, .lse = lse, .d_o = d_o, .rows = attn_rows(a->E)};
    j.delta = delta;
    j.dq = dq;
    j.dk = dk;
    j.dv = dv;
    size_t row_tiles = (a->T * (a->H / a->K) + j.rows - 1) / j.rows;
    size_t key_tiles = (a->T + KEY_TILE - 1) / KEY_TILE;
    shoal_parallel_for(ex->pool, a->K * row_tiles, 1, run_rows_pass, &j);
    shoal_parallel_for(ex->pool, a->K * key_tiles, 1, run_keys_pass, &j);
}
