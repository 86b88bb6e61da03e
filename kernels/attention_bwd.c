/* attention_bwd.c - gradients of attention with the weights recomputed tile by tile.
 *
 * Dao et al. 2022, algorithm 4: for a tile of rows and a tile of keys
 *   P = exp(S - lse),  dP = dO V^T,  dS = P * (dP - delta),  delta = rowsum(dO * O),
 *   dV += P^T dO,  dK += dS^T (scale * Q),  dQ += scale * dS K
 * with S and dP computed once. Rows and keys are cut into blocks of the same tokens, and pairs of
 * blocks are taken diagonal by diagonal: first every block of rows with the keys of its own tokens,
 * then with those one block before, and so on. Pairs of one diagonal share neither rows nor keys,
 * so they run in parallel, and every sum has one order. Keys and values of a pair are turned around
 * once, [E, keys], and serve all its rows: all five products then put outputs in the lanes.
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
    size_t rows;  /* of a tile: query rows of a key head */
    size_t block; /* tokens of a block */
    size_t back;  /* blocks from a pair's rows back to its keys: the diagonal in hand */
} bwd_job;

/* Keys [key0, key0 + n) of head kh, turned around. */
typedef struct key_block {
    size_t kh, key0, n;
    float *k, *v; /* [E, block] */
} key_block;

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

/* P and dS of rows [i0, i1) against keys [from, to) of a block, into p->s and p->dp. p->q and
 * p->acc hold the packed rows of scale * Q and dO. */
static void score_tile(const bwd_job *j, const attn_panels *p, const key_block *b, size_t i0,
                       size_t i1, size_t from, size_t to)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t rows = i1 - i0, n = to - from, skip = from - b->key0;
    memset(p->s, 0, rows * KEY_TILE * sizeof *p->s);
    memset(p->dp, 0, rows * KEY_TILE * sizeof *p->dp);
    t->dense_nn(rows, n, a->E, 1.0f, p->q, a->E, 1, b->k + skip, j->block, p->s, KEY_TILE);
    t->dense_nn(rows, n, a->E, 1.0f, p->acc, a->E, 1, b->v + skip, j->block, p->dp, KEY_TILE);
    for (size_t i = i0; i < i1; i++) {
        size_t lo, hi, head = attn_row(a, b->kh, i) / a->E;
        attn_visible(a, i, from, n, &lo, &hi);
        float *s = p->s + (i - i0) * KEY_TILE;
        float *dp = p->dp + (i - i0) * KEY_TILE;
        if (a->softcap > 0.0f) {
            capped_softmax_grad(t, a->softcap, s, dp, lo, hi, n, j->lse[head], j->delta[head]);
        } else {
            t->softmax_grad(s, dp, lo, hi, n, j->lse[head], j->delta[head]);
        }
        attn_fill_hole(a, i, from, lo, hi, s, 0.0f);
        attn_fill_hole(a, i, from, lo, hi, dp, 0.0f);
    }
}

/* Rows [i0, i1) against the keys of a block that some of them see. */
static void tile_backward(const bwd_job *j, const attn_panels *p, const key_block *b, size_t i0,
                          size_t i1)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t rows = i1 - i0, E = a->E, ld = a->K * E, first, end;
    attn_span(a, i0, i1, &first, &end);
    size_t from = max_size(first, b->key0), to = min_size(end, b->key0 + b->n);
    if (from >= to || !attn_sees(a, i0, i1, from, to - from)) return;

    size_t n = to - from, at = from * ld + b->kh * E;
    shoal_attn_pack(a, a->q, b->kh, i0, i1, a->scale, p->q);
    shoal_attn_pack(a, j->d_o, b->kh, i0, i1, 1.0f, p->acc);
    score_tile(j, p, b, i0, i1, from, to);
    t->dense_nn(n, E, rows, 1.0f, p->s, 1, KEY_TILE, p->acc, E, j->dv + at, ld);
    t->dense_nn(n, E, rows, 1.0f, p->dp, 1, KEY_TILE, p->q, E, j->dk + at, ld);

    float *dq = p->q; /* no longer needed */
    memset(dq, 0, rows * E * sizeof *dq);
    t->dense_nn(rows, E, n, a->scale, p->dp, KEY_TILE, 1, (const float *)a->k + at, ld, dq, E);
    for (size_t i = i0; i < i1; i++, dq += E) {
        float *out = j->dq + attn_row(a, b->kh, i);
        for (size_t e = 0; e < E; e++) {
            out[e] += dq[e];
        }
    }
}

/* Before a block's first pair: its sums are zero, its delta is known. Rows [i0, i1), keys [key0,
 * key0 + n). */
static void begin_block(const bwd_job *j, size_t kh, size_t i0, size_t i1, size_t key0, size_t n)
{
    const shoal_attn *a = j->a;
    for (size_t i = i0; i < i1; i++) {
        size_t at = attn_row(a, kh, i);
        j->ex->table->dense_nt(1, 1, a->E, j->d_o + at, a->E, j->o + at, a->E, &j->delta[at / a->E],
                               1);
        memset(j->dq + at, 0, a->E * sizeof *j->dq);
    }
    for (size_t key = key0; key < key0 + n; key++) {
        size_t at = (key * a->K + kh) * a->E;
        memset(j->dk + at, 0, a->E * sizeof *j->dk);
        memset(j->dv + at, 0, a->E * sizeof *j->dv);
    }
}

/* The query rows of a key head that belong to a block: [*i0, *i1). */
static void block_rows(const bwd_job *j, size_t block, size_t *i0, size_t *i1)
{
    size_t group = j->a->H / j->a->K;
    *i0 = block * j->block * group;
    *i1 = min_size((block + 1) * j->block, j->a->T) * group;
}

/* Does any row of the block see a key before `end`? */
static bool block_reaches(const bwd_job *j, size_t block, size_t end)
{
    size_t i0, i1, first, last;
    block_rows(j, block, &i0, &i1);
    attn_span(j->a, i0, i1, &first, &last);
    return first < end;
}

/* Keys of block `keys` for head kh, with the rows of the block j->back behind it. */
static void pair_backward(const bwd_job *j, size_t kh, size_t keys, unsigned worker)
{
    const shoal_attn *a = j->a;
    size_t key0 = keys * j->block, n = min_size(j->block, a->T - key0), i0, i1;
    block_rows(j, keys + j->back, &i0, &i1);
    if (j->back == 0) begin_block(j, kh, i0, i1, key0, n);
    if (!block_reaches(j, keys + j->back, key0 + n)) return;

    attn_panels p = attn_panels_of(j->ex, worker);
    key_block b = {kh, key0, n, p.kv, p.kv + a->E * j->block};
    size_t ld = a->K * a->E, at = (key0 * a->K + kh) * a->E;
    j->ex->table->dense_transpose(n, a->E, (const float *)a->k + at, ld, b.k, j->block);
    j->ex->table->dense_transpose(n, a->E, (const float *)a->v + at, ld, b.v, j->block);
    for (; i0 < i1; i0 += j->rows) {
        tile_backward(j, &p, &b, i0, min_size(i0 + j->rows, i1));
    }
}

static void run_pairs(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const bwd_job *j = ctx;
    for (size_t task = begin; task < end; task++) {
        pair_backward(j, task % j->a->K, task / j->a->K, worker);
    }
}

/* Is any pair of the diagonal seen? Packed samples leave most of them empty. */
static bool is_seen(const bwd_job *j, size_t blocks)
{
    for (size_t keys = 0; keys + j->back < blocks; keys++) {
        if (block_reaches(j, keys + j->back, (keys + 1) * j->block)) return true;
    }
    return false;
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
    j.block = j.rows; /* then both turned blocks fit p.kv */
    size_t blocks = (a->T + j.block - 1) / j.block;
    for (j.back = 0; j.back < blocks; j.back++) {
        if (j.back > 0 && !is_seen(&j, blocks)) continue;
        shoal_parallel_for(ex->pool, (blocks - j.back) * a->K, 1, run_pairs, &j);
    }
}
