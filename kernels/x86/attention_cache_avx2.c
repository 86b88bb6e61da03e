/* attention_cache_avx2.c - products of a few query rows with cached keys and values, converted on
 * the way into registers instead of being expanded to memory first.
 *
 * The order of additions is that of dense_nt and dense_nn over the expanded rows, and conversions
 * are exact or rounded as expansion rounds, so results have the same bits. The block functions are
 * always inlined with constant sizes and kinds (see dense_avx2.c).
 */
#include "kernels/x86/rowops_avx2.h"

#include <string.h>

#include "kernels/blocks.h"
#include "kernels/x86/avx2_math.h"
#include "kernels/simd.h"

enum { VEC = 8, QUANT = 32, MAX_ROWS = 6, MAX_COLS = 4 };

typedef enum cache_kind { HALF, Q8 } cache_kind;

/* Values that share a scale, or are simply taken in one go; a row is a whole number of these. */
#define CHUNK(kind) ((kind) == Q8 ? (size_t)QUANT : (size_t)VEC)
#define STEPS(kind) ((kind) == Q8 ? QUANT / VEC : 1)
#define CHUNK_BYTES(kind) ((kind) == Q8 ? (size_t)SHOAL_Q8_0_BYTES : VEC * sizeof(uint16_t))

/* The scale of a chunk; unused for HALF. */
SHOAL_INLINE __m256 chunk_scale(cache_kind kind, const uint8_t *chunk)
{
    if (kind == HALF) return _mm256_setzero_ps();
    uint16_t d;
    memcpy(&d, chunk, sizeof d);
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(d)));
}

/* Eight values of a chunk from value `at` on. */
SHOAL_INLINE __m256 chunk_values(cache_kind kind, const uint8_t *chunk, size_t at, __m256 scale)
{
    if (kind == HALF) {
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)chunk));
    }
    const void *codes = chunk + sizeof(uint16_t) + at;
    __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(codes));
    return _mm256_mul_ps(scale, _mm256_cvtepi32_ps(q));
}

/* ---- scores -----------------------------------------------------------------------------------
 */

typedef struct score_args {
    size_t E;
    const float *q; /* [rows, E] */
    const uint8_t *keys;
    size_t key_bytes;
    float *s;
    size_t lds;
} score_args;

SHOAL_INLINE void score_block(cache_kind kind, int rows, int cols, const score_args *p,
                              const uint8_t *keys, float *s)
{
    __m256 acc[3][MAX_COLS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int j = 0; j < cols; j++) {
            acc[i][j] = _mm256_setzero_ps();
        }
    }
    for (size_t e = 0; e < p->E; e += CHUNK(kind)) {
        __m256 scale[MAX_COLS];
        SHOAL_UNROLL
        for (int j = 0; j < cols; j++) {
            scale[j] = chunk_scale(kind, keys + (size_t)j * p->key_bytes);
        }
        for (int step = 0; step < STEPS(kind); step++) {
            const size_t at = (size_t)step * VEC;
            SHOAL_UNROLL
            for (int j = 0; j < cols; j++) {
                __m256 y = chunk_values(kind, keys + (size_t)j * p->key_bytes, at, scale[j]);
                SHOAL_UNROLL
                for (int i = 0; i < rows; i++) {
                    __m256 x = _mm256_loadu_ps(p->q + (size_t)i * p->E + e + at);
                    acc[i][j] = _mm256_fmadd_ps(x, y, acc[i][j]);
                }
            }
        }
        keys += CHUNK_BYTES(kind);
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        float *out = s + (size_t)i * p->lds;
        if (cols == MAX_COLS) {
            _mm_storeu_ps(out, sum8x4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
        } else {
            out[0] = sum8(acc[i][0]);
        }
    }
}

SHOAL_INLINE void score_strip(cache_kind kind, int rows, size_t n, const score_args *p)
{
    const uint8_t *keys = p->keys;
    float *s = p->s;
    for (; n >= MAX_COLS; n -= MAX_COLS) {
        score_block(kind, rows, MAX_COLS, p, keys, s);
        keys += MAX_COLS * p->key_bytes;
        s += MAX_COLS;
    }
    for (; n > 0; n--) {
        score_block(kind, rows, 1, p, keys, s);
        keys += p->key_bytes;
        s++;
    }
}

/* Strips of 3, 2 or 1 rows: 4 rows are better taken as 2 and 2. */
SHOAL_INLINE void scores(cache_kind kind, size_t m, size_t n, score_args p)
{
    while (m > 0) {
        size_t rows = m == 4 ? 2 : m < 3 ? m : 3;
        if (rows == 3) {
            score_strip(kind, 3, n, &p);
        } else if (rows == 2) {
            score_strip(kind, 2, n, &p);
        } else {
            score_strip(kind, 1, n, &p);
        }
        p.q += rows * p.E;
        p.s += rows * p.lds;
        m -= rows;
    }
}

void shoal_scores_f16_avx2(size_t rows, size_t n, size_t E, const float *q, const void *keys,
                           size_t key_bytes, float *s, size_t lds)
{
    scores(HALF, rows, n, (score_args){E, q, keys, key_bytes, s, lds});
}

void shoal_scores_q8_avx2(size_t rows, size_t n, size_t E, const float *q, const void *keys,
                          size_t key_bytes, float *s, size_t lds)
{
    scores(Q8, rows, n, (score_args){E, q, keys, key_bytes, s, lds});
}

/* ---- values -----------------------------------------------------------------------------------
 */

typedef struct value_args {
    size_t E, n;
    const float *w; /* [rows, n], rows ldw apart */
    size_t ldw;
    const uint8_t *values;
    size_t value_bytes;
    float *acc; /* [rows, E] */
} value_args;

/* Columns [e, e + vecs * 8) of all rows; they lie in one chunk for Q8. */
SHOAL_INLINE void value_block(cache_kind kind, int rows, int vecs, const value_args *p, size_t e)
{
    __m256 acc[MAX_ROWS][MAX_COLS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            acc[i][v] = _mm256_setzero_ps();
        }
    }
    const uint8_t *row = p->values + e / CHUNK(kind) * CHUNK_BYTES(kind);
    const float *w = p->w;
    for (size_t key = p->n; key > 0; key--) {
        __m256 scale = chunk_scale(kind, row);
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            size_t at = kind == Q8 ? e % QUANT + (size_t)v * VEC : 0;
            size_t ahead = kind == Q8 ? 0 : (size_t)v * CHUNK_BYTES(HALF);
            __m256 y = chunk_values(kind, row + ahead, at, scale);
            SHOAL_UNROLL
            for (int i = 0; i < rows; i++) {
                __m256 x = _mm256_broadcast_ss(w + (size_t)i * p->ldw);
                acc[i][v] = _mm256_fmadd_ps(x, y, acc[i][v]);
            }
        }
        w++;
        row += p->value_bytes;
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            float *out = p->acc + (size_t)i * p->E + e + (size_t)v * VEC;
            _mm256_storeu_ps(out, _mm256_add_ps(acc[i][v], _mm256_loadu_ps(out)));
        }
    }
}

/* Twelve accumulators whatever the rows, so that the latency of FMA is hidden. */
SHOAL_INLINE void value_strip(cache_kind kind, int rows, const value_args *p)
{
    const int wide = rows <= 3 ? 4 : 2;
    size_t e = 0;
    for (; e + (size_t)wide * VEC <= p->E; e += (size_t)wide * VEC) {
        value_block(kind, rows, wide, p, e);
    }
    for (; e < p->E; e += VEC) {
        value_block(kind, rows, 1, p, e);
    }
}

/* One function a number of rows: the block sizes must be constants. */
#define VALUE_STRIP(kind, rows)                                  \
    static void value_strip_##kind##_##rows(const value_args *p) \
    {                                                            \
        value_strip(kind, rows, p);                              \
    }
VALUE_STRIP(HALF, 1)
VALUE_STRIP(HALF, 2)
VALUE_STRIP(HALF, 3)
VALUE_STRIP(HALF, 4)
VALUE_STRIP(HALF, 5)
VALUE_STRIP(HALF, 6)
VALUE_STRIP(Q8, 1)
VALUE_STRIP(Q8, 2)
VALUE_STRIP(Q8, 3)
VALUE_STRIP(Q8, 4)
VALUE_STRIP(Q8, 5)
VALUE_STRIP(Q8, 6)

typedef void value_strip_fn(const value_args *p);

static value_strip_fn *const half_strips[MAX_ROWS + 1] = {
    NULL,
    value_strip_HALF_1,
    value_strip_HALF_2,
    value_strip_HALF_3,
    value_strip_HALF_4,
    value_strip_HALF_5,
    value_strip_HALF_6,
};

static value_strip_fn *const q8_strips[MAX_ROWS + 1] = {
    NULL,
    value_strip_Q8_1,
    value_strip_Q8_2,
    value_strip_Q8_3,
    value_strip_Q8_4,
    value_strip_Q8_5,
    value_strip_Q8_6,
};

static void values(value_strip_fn *const *strips, size_t m, value_args p)
{
    while (m > 0) {
        size_t rows = m < MAX_ROWS ? m : MAX_ROWS;
        strips[rows](&p);
        p.w += rows * p.ldw;
        p.acc += rows * p.E;
        m -= rows;
    }
}

void shoal_values_f16_avx2(size_t rows, size_t n, size_t E, const float *w, size_t ldw,
                           const void *v, size_t value_bytes, float *acc)
{
    values(half_strips, rows, (value_args){E, n, w, ldw, v, value_bytes, acc});
}

void shoal_values_q8_avx2(size_t rows, size_t n, size_t E, const float *w, size_t ldw,
                          const void *v, size_t value_bytes, float *acc)
{
    values(q8_strips, rows, (value_args){E, n, w, ldw, v, value_bytes, acc});
}
