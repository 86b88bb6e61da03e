/* attention.c - softmax attention over tiles of keys with a running maximum and sum.
 *
 * Dao et al. 2022, algorithm 1; the running softmax is Milakov and Gimelshein 2018. For each row
 * the keys are taken in tiles of KEY_TILE at absolute positions; SPLIT_KEYS keys make a split,
 * which has its own maximum, sum and weighted values, and splits are merged in order. A batch of
 * many rows is cut by rows and walks its splits one after the other; a few rows over a long cache
 * are cut by splits, which are merged when all are done. Both do the same operations in the same
 * order, so a row's bits depend on its query, its keys and their positions only. Tiles and splits
 * that a row does not see change nothing: their weights are exactly zero.
 */
#include "kernels/attention_tile.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/expf.h"
#include "kernels/rowops.h"

enum {
    SPLIT_KEYS = 4 * KEY_TILE,
    STAT_FLOATS = 2,          /* m and l, kept behind the E values of a partial row */
    DIRECT_ROWS = 4,          /* more share an expanded tile with profit */
    SERIAL_PRODUCTS = 1 << 17 /* multiply-adds below which waking workers costs more */
};

/* Softmax state of the rows of a tile: weights are relative to exp(m). */
typedef struct row_stats {
    float m[ROW_TILE_MAX]; /* running maximum, -inf before the first key */
    float l[ROW_TILE_MAX]; /* running sum of exp(score - m) */
} row_stats;

typedef struct fwd_job {
    const shoal_exec *ex;
    const shoal_attn *a;
    float *o, *lse;
    shoal_scores_fn *scores; /* straight from the cache, or NULL */
    shoal_values_fn *values;
    size_t rows;    /* of a tile */
    size_t splits;  /* by-split runs only */
    float *partial; /* [K, splits, T * G, E + STAT_FLOATS] */
} fwd_job;

float shoal_softmax_tile_c(float *s, size_t lo, size_t hi, size_t n, float *m, float *l)
{
    if (lo >= hi) {
        memset(s, 0, n * sizeof *s);
        return 1.0f;
    }
    float top = *m;
    for (size_t j = lo; j < hi; j++) {
        top = s[j] > top ? s[j] : top;
    }
    size_t padded = (n + SHOAL_LANES - 1) / SHOAL_LANES * SHOAL_LANES;
    memset(s, 0, lo * sizeof *s);
    memset(s + hi, 0, (padded - hi) * sizeof *s);
    for (size_t j = lo; j < hi; j++) {
        s[j] = shoal_expf(s[j] - top);
    }
    float sum = shoal_lane_total(s, padded / SHOAL_LANES);
    float shrink = shoal_expf(*m - top);
    *m = top;
    *l = *l * shrink + sum;
    return shrink;
}

/* A binary16's exponent and fraction, moved to where binary32 has them, mean the value times
 * 2^-112, subnormals included; infinities and NaN need their exponent filled. No branch, so that
 * compilers can use vectors. */
static float half_value(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
    float scaled;
    memcpy(&scaled, &bits, sizeof scaled);
    scaled *= 0x1p112f;
    memcpy(&bits, &scaled, sizeof bits);
    bits |= special | (uint32_t)(h & 0x8000) << 16;
    memcpy(&scaled, &bits, sizeof scaled);
    return scaled;
}

void shoal_half_rows_c(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) {
            out[r * n + i] = half_value(in[r * ld + i]);
        }
    }
}

void shoal_attn_pack(const shoal_attn *a, const float *x, size_t kh, size_t i0, size_t i1,
                     float scale, float *out)
{
    size_t E = a->E; /* out might alias *a */
    for (size_t i = i0; i < i1; i++) {
        const float *row = x + attn_row(a, kh, i);
        for (size_t e = 0; e < E; e++) {
            out[e] = row[e] * scale;
        }
        out += E;
    }
}

shoal_attn shoal_attn_resolve(const shoal_attn *a)
{
    shoal_attn r = *a;
    assert(r.kv_slots % KEY_TILE == 0);
    if (r.kv_row == 0) {
        r.kv_head = shoal_type_row_bytes(shoal_type_get(r.kv_type), r.E);
        r.kv_row = r.K * r.kv_head;
    }
    return r;
}

const float *shoal_attn_keys(const shoal_exec *ex, const shoal_attn *a, const void *cache,
                             size_t kh, size_t key0, size_t n, float *buf, size_t *ld)
{
    const void *rows = attn_key(a, cache, kh, key0);
    if (a->kv_type == SHOAL_TYPE_F32) {
        *ld = a->kv_row / sizeof(float);
        return rows;
    }
    if (a->kv_type == SHOAL_TYPE_F16) {
        ex->table->half_rows(rows, a->kv_row / sizeof(uint16_t), n, a->E, buf);
    } else {
        for (size_t i = 0; i < n; i++) {
            const char *row = (const char *)rows + i * a->kv_row;
            ex->table->dequant[a->kv_type](row, 0, buf + i * a->E, a->E);
        }
    }
    *ld = a->E;
    return buf;
}

static void reset_stats(row_stats *st, float *acc, size_t rows, size_t E)
{
    for (size_t r = 0; r < rows; r++) {
        st->m[r] = -INFINITY;
        st->l[r] = 0;
    }
    memset(acc, 0, rows * E * sizeof *acc);
}

/* p->s = scores of the packed rows against keys [key0 + skip, key0 + n) of a tile. */
static void score_keys(const fwd_job *j, const attn_panels *p, size_t kh, size_t rows, size_t key0,
                       size_t skip, size_t n)
{
    const shoal_attn *a = j->a;
    if (j->scores != NULL && rows <= DIRECT_ROWS) {
        const void *keys = attn_key(a, a->k, kh, key0 + skip);
        j->scores(rows, n - skip, a->E, p->q, keys, a->kv_row, p->s + skip, KEY_TILE);
        return;
    }
    size_t ld;
    const float *k = shoal_attn_keys(j->ex, a, a->k, kh, key0 + skip, n - skip, p->kv, &ld);
    j->ex->table->dense_nt(rows, n - skip, a->E, p->q, a->E, k, ld, p->s + skip, KEY_TILE);
}

/* p->acc += weights p->s times the values of the same keys. */
static void add_values(const fwd_job *j, const attn_panels *p, size_t kh, size_t rows, size_t key0,
                       size_t skip, size_t n)
{
    const shoal_attn *a = j->a;
    const float *w = p->s + skip;
    if (j->values != NULL && rows <= DIRECT_ROWS) {
        const void *values = attn_key(a, a->v, kh, key0 + skip);
        j->values(rows, n - skip, a->E, w, KEY_TILE, values, a->kv_row, p->acc);
        return;
    }
    size_t ld;
    const float *v = shoal_attn_keys(j->ex, a, a->v, kh, key0 + skip, n - skip, p->kv, &ld);
    j->ex->table->dense_nn(rows, a->E, n - skip, 1.0f, w, KEY_TILE, 1, v, ld, p->acc, a->E);
}

/* The keys [from, key0 + n) of the tile at key0 for the rows [i0, i1): p->acc and st move on. No
 * row sees keys before `from`, so leaving them out changes no bit. */
static void attend_tile(const fwd_job *j, const attn_panels *p, size_t kh, size_t i0, size_t i1,
                        size_t key0, size_t from, size_t n, row_stats *st)
{
    const shoal_attn *a = j->a;
    const shoal_table *t = j->ex->table;
    size_t rows = i1 - i0, skip = from > key0 ? from - key0 : 0;
    score_keys(j, p, kh, rows, key0, skip, n);
    for (size_t r = 0; r < rows; r++) {
        float *s = p->s + r * KEY_TILE;
        size_t lo, hi;
        attn_visible(a, i0 + r, key0, n, &lo, &hi);
        if (a->softcap > 0.0f) t->softcap(s + skip, n - skip, a->softcap, s + skip);
        attn_fill_hole(a, i0 + r, key0, lo, hi, s, -INFINITY);
        float shrink = t->softmax_tile(s, lo, hi, n, &st->m[r], &st->l[r]);
        if (shrink == 1.0f) continue;
        float *acc = p->acc + r * a->E;
        for (size_t e = 0; e < a->E; e++) {
            acc[e] *= shrink;
        }
    }
    add_values(j, p, kh, rows, key0, skip, n);
}

/* The keys [first, end) of one split, from scratch. */
static void attend_split(const fwd_job *j, const attn_panels *p, size_t kh, size_t i0, size_t i1,
                         size_t first, size_t end, row_stats *st)
{
    reset_stats(st, p->acc, i1 - i0, j->a->E);
    for (size_t key = first / KEY_TILE * KEY_TILE; key < end; key += KEY_TILE) {
        size_t n = min_size(KEY_TILE, end - key);
        if (attn_sees(j->a, i0, i1, key, n)) attend_tile(j, p, kh, i0, i1, key, first, n, st);
    }
}

/* Adds a split's (m, l, acc) to a row's (M, L, out). A split the row does not see has l = 0. */
static void merge_row(float *M, float *L, float *out, float m, float l, const float *acc, size_t E)
{
    if (m == -INFINITY) return;
    if (*M == -INFINITY) { /* the first that is seen; `out` is not filled yet */
        memcpy(out, acc, E * sizeof *out);
        *M = m;
        *L = l;
        return;
    }
    float top = m > *M ? m : *M;
    float keep = shoal_expf(*M - top);
    float add = shoal_expf(m - top);
    for (size_t e = 0; e < E; e++) {
        out[e] = out[e] * keep + acc[e] * add;
    }
    *L = *L * keep + l * add;
    *M = top;
}

/* o = out / L and lse, in place; a row without keys gives zeros. */
static void finish_row(const fwd_job *j, size_t at, float M, float L)
{
    if (L == 0.0f) {
        memset(j->o + at, 0, j->a->E * sizeof *j->o);
    } else {
        float inv = 1.0f / L;
        for (size_t e = 0; e < j->a->E; e++) {
            j->o[at + e] *= inv;
        }
    }
    if (j->lse != NULL) {
        j->lse[at / j->a->E] = M + logf(L);
    }
}

/* Row tile i0.. of key head kh, all its splits in order. */
static void attend_rows(const fwd_job *j, size_t kh, size_t i0, unsigned worker)
{
    const shoal_attn *a = j->a;
    size_t i1 = min_size(i0 + j->rows, a->T * (a->H / a->K));
    attn_panels p = attn_panels_of(j->ex, worker);
    row_stats all, st;
    for (size_t r = 0; r < i1 - i0; r++) {
        all.m[r] = -INFINITY;
        all.l[r] = 0;
    }
    shoal_attn_pack(a, a->q, kh, i0, i1, a->scale, p.q);
    size_t first, end;
    attn_span(a, i0, i1, &first, &end);
    for (size_t key = first / SPLIT_KEYS * SPLIT_KEYS; key < end; key += SPLIT_KEYS) {
        attend_split(j, &p, kh, i0, i1, max_size(key, first), min_size(key + SPLIT_KEYS, end), &st);
        for (size_t r = 0; r < i1 - i0; r++) {
            merge_row(&all.m[r], &all.l[r], j->o + attn_row(a, kh, i0 + r), st.m[r], st.l[r],
                      p.acc + r * a->E, a->E);
        }
    }
    for (size_t i = i0; i < i1; i++) {
        finish_row(j, attn_row(a, kh, i), all.m[i - i0], all.l[i - i0]);
    }
}

static void run_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const fwd_job *j = ctx;
    for (size_t task = begin; task < end; task++) {
        attend_rows(j, task % j->a->K, task / j->a->K * j->rows, worker);
    }
}

static float *partial_row(const fwd_job *j, size_t kh, size_t split, size_t i)
{
    size_t rows = j->a->T * (j->a->H / j->a->K);
    return j->partial + ((kh * j->splits + split) * rows + i) * (j->a->E + STAT_FLOATS);
}

/* One split of one key head for all rows, left in j->partial. */
static void run_splits(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const fwd_job *j = ctx;
    const shoal_attn *a = j->a;
    size_t rows = a->T * (a->H / a->K);
    attn_panels p = attn_panels_of(j->ex, worker);
    row_stats st;
    size_t first, last;
    attn_span(a, 0, rows, &first, &last);
    for (size_t task = begin; task < end; task++) {
        size_t kh = task / j->splits;
        size_t split = task % j->splits;
        size_t key = (first / SPLIT_KEYS + split) * SPLIT_KEYS;
        shoal_attn_pack(a, a->q, kh, 0, rows, a->scale, p.q);
        attend_split(j, &p, kh, 0, rows, max_size(key, first), min_size(key + SPLIT_KEYS, last),
                     &st);
        for (size_t i = 0; i < rows; i++) {
            float *out = partial_row(j, kh, split, i);
            memcpy(out, p.acc + i * a->E, a->E * sizeof *out);
            out[a->E] = st.m[i];
            out[a->E + 1] = st.l[i];
        }
    }
}

static void merge_splits(const fwd_job *j)
{
    const shoal_attn *a = j->a;
    size_t rows = a->T * (a->H / a->K);
    for (size_t kh = 0; kh < a->K; kh++) {
        for (size_t i = 0; i < rows; i++) {
            size_t at = attn_row(a, kh, i);
            float M = -INFINITY, L = 0;
            for (size_t split = 0; split < j->splits; split++) {
                const float *in = partial_row(j, kh, split, i);
                merge_row(&M, &L, j->o + at, in[a->E], in[a->E + 1], in, a->E);
            }
            finish_row(j, at, M, L);
        }
    }
}

/* How few rows read this cache. */
static void choose_slots(fwd_job *j)
{
    const shoal_table *t = j->ex->table;
    const shoal_attn *a = j->a;
    if (a->kv_type == SHOAL_TYPE_F16 && a->E % SHOAL_LANES == 0) {
        j->scores = t->scores_f16;
        j->values = t->values_f16;
    } else if (a->kv_type == SHOAL_TYPE_Q8_0) {
        j->scores = t->scores_q8;
        j->values = t->values_q8;
    }
}

void shoal_attn_fwd(const shoal_exec *ex, const shoal_attn *attn, float *o, float *lse)
{
    assert(attn->E <= SHOAL_ATTN_MAX_E && attn->H % attn->K == 0);
    if (attn->T == 0) return;
    const shoal_attn resolved = shoal_attn_resolve(attn), *a = &resolved;
    fwd_job j = {.ex = ex, .a = a, .o = o, .lse = lse, .rows = attn_rows(a->E)};
    choose_slots(&j);
    size_t rows = a->T * (a->H / a->K);
    size_t row_tiles = (rows + j.rows - 1) / j.rows;
    size_t first, end;
    attn_span(a, 0, rows, &first, &end);
    j.splits = end <= first ? 0 : (end - 1) / SPLIT_KEYS - first / SPLIT_KEYS + 1;
    size_t partial = a->K * j.splits * rows * (a->E + STAT_FLOATS);
    if (row_tiles == 1 && j.splits > 1 && partial <= SHOAL_SHARED_FLOATS) {
        j.partial = shoal_exec_shared(ex);
        shoal_parallel_for(ex->pool, a->K * j.splits, 1, run_splits, &j);
        merge_splits(&j);
    } else {
        size_t tasks = a->K * row_tiles;
        size_t products = 2 * a->T * a->H * a->E * (end > first ? end - first : 0);
        shoal_parallel_for(ex->pool, tasks, products < SERIAL_PRODUCTS ? tasks : 1, run_rows, &j);
    }
}
