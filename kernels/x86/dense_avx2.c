/* dense_avx2.c - the strided f32 products in AVX2 with FMA.
 *
 * nt: blocks of 3 rows x 4 columns, twelve accumulators over k; nn: blocks of 6 rows x 16 columns,
 * twelve accumulators over columns (32 columns for one or two rows, to hide the latency of FMA).
 * Smaller blocks at the edges use the same instructions for each output, so an output's bits do not
 * depend on the block it falls in. The block functions are always inlined with constant sizes;
 * their loops disappear into registers.
 */
#include "kernels/x86/rowops_avx2.h"

#include "kernels/x86/avx2_math.h"
#include "kernels/simd.h"

enum { NT_ROWS = 3, NT_COLS = 4, NN_ROWS = 6, NN_VECS = 2, NN_WIDE = 4, VEC = 8 };

typedef struct nt_args {
    size_t k;
    const float *a;
    size_t lda;
    const float *b;
    size_t ldb;
    float *c;
    size_t ldc;
} nt_args;

SHOAL_INLINE void nt_step(int rows, int cols, const nt_args *p, size_t at, const __m256i *mask,
                          __m256 acc[NT_ROWS][NT_COLS])
{
    __m256 x[NT_ROWS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        const float *a = p->a + (size_t)i * p->lda + at;
        x[i] = mask == NULL ? _mm256_loadu_ps(a) : _mm256_maskload_ps(a, *mask);
    }
    SHOAL_UNROLL
    for (int j = 0; j < cols; j++) {
        const float *b = p->b + (size_t)j * p->ldb + at;
        __m256 y = mask == NULL ? _mm256_loadu_ps(b) : _mm256_maskload_ps(b, *mask);
        SHOAL_UNROLL
        for (int i = 0; i < rows; i++) {
            acc[i][j] = _mm256_fmadd_ps(x[i], y, acc[i][j]);
        }
    }
}

SHOAL_INLINE void nt_block(int rows, int cols, const nt_args *p)
{
    __m256 acc[NT_ROWS][NT_COLS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int j = 0; j < cols; j++) {
            acc[i][j] = _mm256_setzero_ps();
        }
    }
    size_t at = 0;
    for (; at + VEC <= p->k; at += VEC) {
        nt_step(rows, cols, p, at, NULL, acc);
    }
    if (at < p->k) {
        __m256i mask = tail_mask(p->k - at);
        nt_step(rows, cols, p, at, &mask, acc);
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        float *c = p->c + (size_t)i * p->ldc;
        if (cols == NT_COLS) {
            _mm_storeu_ps(c, sum8x4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
        } else {
            c[0] = sum8(acc[i][0]);
        }
    }
}

/* One strip of `rows` rows of a against all n rows of b. */
SHOAL_INLINE void nt_strip(int rows, size_t n, nt_args p)
{
    size_t j = 0;
    for (; j + NT_COLS <= n; j += NT_COLS) {
        nt_block(rows, NT_COLS, &p);
        p.b += NT_COLS * p.ldb;
        p.c += NT_COLS;
    }
    for (; j < n; j++) {
        nt_block(rows, 1, &p);
        p.b += p.ldb;
        p.c++;
    }
}

void shoal_dense_nt_avx2(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                         size_t ldb, float *c, size_t ldc)
{
    size_t i = 0;
    for (; i + NT_ROWS <= m; i += NT_ROWS) {
        nt_strip(NT_ROWS, n, (nt_args){k, a + i * lda, lda, b, ldb, c + i * ldc, ldc});
    }
    nt_args rest = {k, a + i * lda, lda, b, ldb, c + i * ldc, ldc};
    if (m - i == 2) {
        nt_strip(2, n, rest);
    } else if (m - i == 1) {
        nt_strip(1, n, rest);
    }
}

typedef struct nn_args {
    size_t k;
    float s;
    const float *a;
    size_t a_row, a_col;
    const float *b;
    size_t ldb;
    float *c;
    size_t ldc;
} nn_args;

SHOAL_INLINE __m256 load_vec(const float *p, __m256i mask, bool masked)
{
    return masked ? _mm256_maskload_ps(p, mask) : _mm256_loadu_ps(p);
}

/* The block at b and c; p is only read through memory, which leaves all registers to the block. */
SHOAL_INLINE void nn_block(int rows, int vecs, bool masked, const nn_args *p, __m256i mask,
                           const float *b, float *c)
{
    __m256 acc[NN_ROWS][NN_WIDE];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            acc[i][v] = _mm256_setzero_ps();
        }
    }
    const float *a = p->a;
    const size_t a_row = p->a_row, a_col = p->a_col, ldb = p->ldb;
    for (size_t k = p->k; k > 0; k--) {
        __m256 y[NN_WIDE];
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            y[v] = load_vec(b + v * VEC, mask, masked && v == vecs - 1);
        }
        SHOAL_UNROLL
        for (int i = 0; i < rows; i++) {
            __m256 x = _mm256_broadcast_ss(a + (size_t)i * a_row);
            SHOAL_UNROLL
            for (int v = 0; v < vecs; v++) {
                acc[i][v] = _mm256_fmadd_ps(x, y[v], acc[i][v]);
            }
        }
        a += a_col;
        b += ldb;
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            bool cut = masked && v == vecs - 1;
            float *at = c + (size_t)i * p->ldc + v * VEC;
            __m256 sum =
                _mm256_fmadd_ps(_mm256_broadcast_ss(&p->s), acc[i][v], load_vec(at, mask, cut));
            if (cut) {
                _mm256_maskstore_ps(at, mask, sum);
            } else {
                _mm256_storeu_ps(at, sum);
            }
        }
    }
}

/* One strip of `rows` rows over all n columns. */
SHOAL_INLINE void nn_strip(int rows, size_t n, const nn_args *p)
{
    const float *b = p->b;
    float *c = p->c;
    for (; rows <= 2 && n >= NN_WIDE * VEC; n -= NN_WIDE * VEC) {
        nn_block(rows, NN_WIDE, false, p, _mm256_setzero_si256(), b, c);
        b += NN_WIDE * VEC;
        c += NN_WIDE * VEC;
    }
    for (; n >= NN_VECS * VEC; n -= NN_VECS * VEC) {
        nn_block(rows, NN_VECS, false, p, _mm256_setzero_si256(), b, c);
        b += NN_VECS * VEC;
        c += NN_VECS * VEC;
    }
    if (n > VEC) {
        nn_block(rows, 2, true, p, tail_mask(n - VEC), b, c);
    } else if (n > 0) {
        nn_block(rows, 1, true, p, tail_mask(n), b, c);
    }
}

/* One function a number of rows: the block sizes must be constants. */
#define NN_STRIP(rows)                                      \
    static void nn_strip_##rows(size_t n, const nn_args *p) \
    {                                                       \
        nn_strip(rows, n, p);                               \
    }
NN_STRIP(1)
NN_STRIP(2)
NN_STRIP(3)
NN_STRIP(4)
NN_STRIP(5)
NN_STRIP(6)

static void (*const nn_strips[NN_ROWS + 1])(size_t n, const nn_args *p) = {
    NULL, nn_strip_1, nn_strip_2, nn_strip_3, nn_strip_4, nn_strip_5, nn_strip_6};

void shoal_dense_nn_avx2(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                         size_t a_col, const float *b, size_t ldb, float *c, size_t ldc)
{
    nn_args p = {.k = k, .s = s, .a = a, .a_row = a_row, .a_col = a_col};
    p.b = b;
    p.ldb = ldb;
    p.c = c;
    p.ldc = ldc;
    for (; m >= NN_ROWS; m -= NN_ROWS) {
        nn_strips[NN_ROWS](n, &p);
        p.a += NN_ROWS * a_row;
        p.c += NN_ROWS * ldc;
    }
    if (m > 0) {
        nn_strips[m](n, &p);
    }
}

static void transpose_8x8(const float *in, size_t ld_in, float *out, size_t ld_out)
{
    __m256 r[VEC], t[VEC];
    SHOAL_UNROLL
    for (int i = 0; i < VEC; i++) {
        r[i] = _mm256_loadu_ps(in + (size_t)i * ld_in);
    }
    SHOAL_UNROLL
    for (int i = 0; i < VEC; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    SHOAL_UNROLL
    for (int i = 0; i < VEC; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    SHOAL_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + (size_t)i * ld_out, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (size_t)(i + 4) * ld_out,
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

static void transpose_edge(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                           size_t ld_out)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            out[j * ld_out + i] = in[i * ld_in + j];
        }
    }
}

void shoal_dense_transpose_avx2(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                                size_t ld_out)
{
    size_t full_rows = rows / VEC * VEC, full_cols = cols / VEC * VEC;
    for (size_t i = 0; i < full_rows; i += VEC) {
        for (size_t j = 0; j < full_cols; j += VEC) {
            transpose_8x8(in + i * ld_in + j, ld_in, out + j * ld_out + i, ld_out);
        }
    }
    transpose_edge(full_rows, cols - full_cols, in + full_cols, ld_in, out + full_cols * ld_out,
                   ld_out);
    transpose_edge(rows - full_rows, cols, in + full_rows * ld_in, ld_in, out + full_rows, ld_out);
}
