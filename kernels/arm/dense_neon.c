/* dense_neon.c - the strided f32 products in NEON.
 *
 * nt: blocks of 3 rows x 4 columns, 24 accumulators of four lanes over k; nn: blocks of 6 rows x 16
 * columns (32 columns for one or two rows, to hide the latency of FMA). Smaller blocks at the edges
 * use the same operations for each output, so an output's bits do not depend on the block it falls
 * in. The block functions are always inlined with constant sizes; their loops disappear into
 * registers.
 */
#include "kernels/arm/rowops_neon.h"

#include <math.h>

#include "kernels/arm/neon_math.h"

enum { NT_ROWS = 3, NT_COLS = 4, NN_ROWS = 6, NN_VECS = 4, NN_WIDE = 8, QUAD = 4 };

typedef struct nt_args {
    size_t k;
    const float *a;
    size_t lda;
    const float *b;
    size_t ldb;
    float *c;
    size_t ldc;
} nt_args;

/* acc += eight values of each row times those of each column. */
SHOAL_INLINE void nt_step(int rows, int cols, const float *a, size_t lda, const float *b,
                          size_t ldb, f8 acc[NT_ROWS][NT_COLS])
{
    f8 x[NT_ROWS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        x[i] = f8_load(a + (size_t)i * lda);
    }
    SHOAL_UNROLL
    for (int j = 0; j < cols; j++) {
        f8 y = f8_load(b + (size_t)j * ldb);
        SHOAL_UNROLL
        for (int i = 0; i < rows; i++) {
            acc[i][j] = f8_fma(x[i], y, acc[i][j]);
        }
    }
}

/* Copies n < 8 values of each of `rows` rows, padded with zeros. */
SHOAL_INLINE void pad_rows(int rows, const float *p, size_t ld, size_t n, float *out)
{
    memset(out, 0, (size_t)rows * VEC * sizeof *out);
    for (int i = 0; i < rows; i++) {
        memcpy(out + i * VEC, p + (size_t)i * ld, n * sizeof *out);
    }
}

SHOAL_INLINE void nt_block(int rows, int cols, const nt_args *p)
{
    f8 acc[NT_ROWS][NT_COLS];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int j = 0; j < cols; j++) {
            acc[i][j] = f8_all(0.0f);
        }
    }
    size_t at = 0;
    for (; at + VEC <= p->k; at += VEC) {
        nt_step(rows, cols, p->a + at, p->lda, p->b + at, p->ldb, acc);
    }
    if (at < p->k) {
        float a[NT_ROWS * VEC], b[NT_COLS * VEC];
        pad_rows(rows, p->a + at, p->lda, p->k - at, a);
        pad_rows(cols, p->b + at, p->ldb, p->k - at, b);
        nt_step(rows, cols, a, VEC, b, VEC, acc);
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        float *c = p->c + (size_t)i * p->ldc;
        if (cols == NT_COLS) {
            f8_store_sum4(c, acc[i]);
        } else {
            c[0] = f8_sum(acc[i][0]);
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

void shoal_dense_nt_neon(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
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

/* The block of `rows` x 4 `vecs` outputs at b and c. */
SHOAL_INLINE void nn_block(int rows, int vecs, const nn_args *p, const float *b, float *c)
{
    float32x4_t acc[NN_ROWS][NN_WIDE];
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            acc[i][v] = vdupq_n_f32(0.0f);
        }
    }
    const float *a = p->a;
    for (size_t k = p->k; k > 0; k--, a += p->a_col, b += p->ldb) {
        float32x4_t y[NN_WIDE];
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            y[v] = vld1q_f32(b + v * QUAD);
        }
        SHOAL_UNROLL
        for (int i = 0; i < rows; i++) {
            float x = a[(size_t)i * p->a_row];
            SHOAL_UNROLL
            for (int v = 0; v < vecs; v++) {
                acc[i][v] = vfmaq_n_f32(acc[i][v], y[v], x);
            }
        }
    }
    SHOAL_UNROLL
    for (int i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (int v = 0; v < vecs; v++) {
            float *at = c + (size_t)i * p->ldc + v * QUAD;
            vst1q_f32(at, vfmaq_n_f32(vld1q_f32(at), acc[i][v], p->s));
        }
    }
}

/* The last n < 4 columns, one output at a time. */
static void nn_edge(size_t rows, size_t n, const nn_args *p, const float *b, float *c)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (size_t k = 0; k < p->k; k++) {
                sum = fmaf(p->a[i * p->a_row + k * p->a_col], b[k * p->ldb + j], sum);
            }
            c[i * p->ldc + j] = fmaf(p->s, sum, c[i * p->ldc + j]);
        }
    }
}

/* One strip of `rows` rows over all n columns. */
SHOAL_INLINE void nn_strip(int rows, size_t n, const nn_args *p)
{
    const float *b = p->b;
    float *c = p->c;
    for (; rows <= 2 && n >= NN_WIDE * QUAD; n -= NN_WIDE * QUAD) {
        nn_block(rows, NN_WIDE, p, b, c);
        b += NN_WIDE * QUAD;
        c += NN_WIDE * QUAD;
    }
    for (; n >= NN_VECS * QUAD; n -= NN_VECS * QUAD) {
        nn_block(rows, NN_VECS, p, b, c);
        b += NN_VECS * QUAD;
        c += NN_VECS * QUAD;
    }
    for (; n >= QUAD; n -= QUAD) {
        nn_block(rows, 1, p, b, c);
        b += QUAD;
        c += QUAD;
    }
    nn_edge((size_t)rows, n, p, b, c);
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

void shoal_dense_nn_neon(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
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

static void transpose_edge(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                           size_t ld_out)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            out[j * ld_out + i] = in[i * ld_in + j];
        }
    }
}

void shoal_dense_transpose_neon(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                                size_t ld_out)
{
    size_t full_rows = rows / QUAD * QUAD, full_cols = cols / QUAD * QUAD;
    for (size_t i = 0; i < full_rows; i += QUAD) {
        for (size_t j = 0; j < full_cols; j += QUAD) {
            transpose_4x4(in + i * ld_in + j, ld_in, out + j * ld_out + i, ld_out);
        }
    }
    transpose_edge(full_rows, cols - full_cols, in + full_cols, ld_in, out + full_cols * ld_out,
                   ld_out);
    transpose_edge(rows - full_rows, cols, in + full_rows * ld_in, ld_in, out + full_rows, ld_out);
}
