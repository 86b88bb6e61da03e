/* attention_tile.h - how attention is cut into tiles, shared by its forward and backward.
 *
 * The query heads that read one key head are handled together: for key head `kh` the query rows are
 * numbered i = t * G + g (token t, g-th head of the group, G = H / K), so a tile of keys is loaded
 * once for the whole group. Row tiles are runs of `rows` such numbers; key tiles are KEY_TILE keys
 * from multiples of KEY_TILE. Neither cut depends on threads, and the key cut not on T.
 *
 * Layer: kernels/, internal to attention*.c. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ATTENTION_TILE_H
#define SHOAL_KERNELS_ATTENTION_TILE_H

#include <math.h>

#include "kernels/kernels.h"
#include "kernels/table.h"

enum {
    KEY_TILE = SHOAL_ATTN_TILE,
    ROW_TILE_MAX = 64,  /* query rows of a tile, fewer for wide heads: see attn_rows */
    PANEL_FLOATS = 8192 /* floats of one panel of rows: 32 of the widest */
};

/* Pieces of a worker's scratch. */
typedef struct attn_panels {
    float *q;   /* [rows, E] queries of the tile, times scale */
    float *acc; /* [rows, E] */
    float *s;   /* [rows, KEY_TILE] scores, then weights */
    float *dp;  /* [rows, KEY_TILE] backward only */
    float *kv;  /* [KEY_TILE, E] keys or values expanded to f32 */
} attn_panels;

static inline size_t attn_rows(size_t E)
{
    size_t rows = PANEL_FLOATS / E;
    return rows > ROW_TILE_MAX ? ROW_TILE_MAX : rows;
}

static inline attn_panels attn_panels_of(const shoal_exec *ex, unsigned worker)
{
    float *p = shoal_exec_scratch(ex, worker);
    attn_panels a;
    a.q = p;
    a.acc = a.q + PANEL_FLOATS;
    a.s = a.acc + PANEL_FLOATS;
    a.dp = a.s + ROW_TILE_MAX * KEY_TILE;
    a.kv = a.dp + ROW_TILE_MAX * KEY_TILE;
    return a;
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Keys row t sees: [first, end). */
static inline size_t attn_first(const shoal_attn *a, size_t t)
{
    return a->first == NULL ? 0 : a->first[t];
}

static inline size_t attn_end(const shoal_attn *a, size_t t)
{
    return a->n_past + t + 1;
}

/* Start of query row i of key head kh in an array [T, H, E]. */
static inline size_t attn_row(const shoal_attn *a, size_t kh, size_t i)
{
    size_t group = a->H / a->K;
    return ((i / group) * a->H + kh * group + i % group) * a->E;
}

/* *a with the strides of [S, K, E] filled in where it leaves them out. */
shoal_attn shoal_attn_resolve(const shoal_attn *a);

/* Key (or value) `key` of head kh, in its type. */
static inline const void *attn_key(const shoal_attn *a, const void *cache, size_t kh, size_t key)
{
    size_t slot = a->kv_slots == 0 ? key : key % a->kv_slots;
    return (const char *)cache + kh * a->kv_head + slot * a->kv_row;
}

/* The keys that some row of [i0, i1) sees. */
static inline void attn_span(const shoal_attn *a, size_t i0, size_t i1, size_t *first, size_t *end)
{
    size_t group = a->H / a->K;
    size_t t1 = (i1 - 1) / group;
    *first = SIZE_MAX;
    for (size_t t = i0 / group; t <= t1; t++) {
        *first = min_size(*first, attn_first(a, t));
    }
    *end = attn_end(a, t1);
}

/* The part of row t's hole that lies in or before a tile, as [from, to) within the tile. */
static inline void attn_hole(const shoal_attn *a, size_t t, size_t key0, size_t *from, size_t *to)
{
    *from = a->hole[t] > key0 ? a->hole[t] - key0 : 0;
    *to = a->hole_end[t] > key0 ? a->hole_end[t] - key0 : 0;
}

/* Keys of tile [key0, key0 + n) that row i sees, as [lo, hi) within the tile; empty when lo >= hi.
 * Neither end is in the row's hole, but the hole may lie between them: attn_fill_hole. */
static inline void attn_visible(const shoal_attn *a, size_t i, size_t key0, size_t n, size_t *lo,
                                size_t *hi)
{
    size_t t = i / (a->H / a->K);
    size_t first = attn_first(a, t);
    size_t end = attn_end(a, t);
    *lo = first > key0 ? first - key0 : 0;
    *hi = end > key0 ? min_size(end - key0, n) : 0;
    if (a->hole == NULL) return;
    size_t from, to;
    attn_hole(a, t, key0, &from, &to);
    if (from <= *lo && to > *lo) {
        *lo = to;
    } else if (from < to && to >= *hi && from < *hi) {
        *hi = from;
    }
}

/* Sets what row i of a tile has within [lo, hi) for keys it does not see. */
static inline void attn_fill_hole(const shoal_attn *a, size_t i, size_t key0, size_t lo, size_t hi,
                                  float *s, float value)
{
    if (a->hole == NULL) return;
    size_t from, to;
    attn_hole(a, i / (a->H / a->K), key0, &from, &to);
    to = min_size(to, hi);
    for (size_t k = max_size(from, lo); k < to; k++) {
        s[k] = value;
    }
}

/* Does any row of [i0, i1) see a key of the tile? Only holes make this false within the span. */
static inline bool attn_sees(const shoal_attn *a, size_t i0, size_t i1, size_t key0, size_t n)
{
    size_t group = a->H / a->K, lo, hi;
    if (a->hole == NULL) return true;
    for (size_t t = i0 / group; t <= (i1 - 1) / group; t++) {
        attn_visible(a, t * group, key0, n, &lo, &hi);
        if (lo < hi) return true;
    }
    return false;
}

/* Copies rows [i0, i1) of x [T, H, E] for key head kh to out [rows, E], times scale. */
void shoal_attn_pack(const shoal_attn *a, const float *x, size_t kh, size_t i0, size_t i1,
                     float scale, float *out);

/* Keys (or values) [key0, key0 + n) of head kh, of one tile, as f32; *ld is their row stride.
 * Either the cache itself or `buf` [KEY_TILE, E] filled from it. */
const float *shoal_attn_keys(const shoal_exec *ex, const shoal_attn *a, const void *cache,
                             size_t kh, size_t key0, size_t n, float *buf, size_t *ld);

/* The portable versions of attention's slots (table.h). */
void shoal_half_rows_c(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out);
float shoal_softmax_tile_c(float *s, size_t lo, size_t hi, size_t n, float *m, float *l);
void shoal_softmax_grad_c(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                          float delta);

#endif
