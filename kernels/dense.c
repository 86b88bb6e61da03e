/* dense.c - see dense.h. Written so that a compiler can keep the lanes in vector registers. */
#include "kernels/dense.h"

enum { LANES = 8, ROW_BLOCK = 4, COL_BLOCK = 8 };

static float dot(size_t k, const float *a, const float *b)
{
    float acc[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            acc[l] += a[i + l] * b[i + l];
        }
    }
    for (size_t l = 0; i + l < k; l++) {
        acc[l] += a[i + l] * b[i + l];
    }
    return ((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7]));
}

void shoal_dense_nt_c(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                      size_t ldb, float *c, size_t ldc)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            c[i * ldc + j] = dot(k, a + i * lda, b + j * ldb);
        }
    }
}

/* A full block of ROW_BLOCK x COL_BLOCK outputs. */
static void nn_block(size_t k, float s, const float *a, size_t a_row, size_t a_col, const float *b,
                     size_t ldb, float *c, size_t ldc)
{
    float acc[ROW_BLOCK][COL_BLOCK] = {{0}};
    for (size_t p = 0; p < k; p++) {
        for (size_t i = 0; i < ROW_BLOCK; i++) {
            float x = a[i * a_row + p * a_col];
            for (size_t j = 0; j < COL_BLOCK; j++) {
                acc[i][j] += x * b[p * ldb + j];
            }
        }
    }
    for (size_t i = 0; i < ROW_BLOCK; i++) {
        for (size_t j = 0; j < COL_BLOCK; j++) {
            c[i * ldc + j] += s * acc[i][j];
        }
    }
}

/* What is left at the right and lower edges: m < ROW_BLOCK or n < COL_BLOCK or both. */
static void nn_edge(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                    size_t a_col, const float *b, size_t ldb, float *c, size_t ldc)
{
    for (size_t i = 0; i < m; i++) {
        float acc[COL_BLOCK] = {0};
        for (size_t p = 0; p < k; p++) {
            float x = a[i * a_row + p * a_col];
            for (size_t j = 0; j < n; j++) {
                acc[j] += x * b[p * ldb + j];
            }
        }
        for (size_t j = 0; j < n; j++) {
            c[i * ldc + j] += s * acc[j];
        }
    }
}

void shoal_dense_nn_c(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                      size_t a_col, const float *b, size_t ldb, float *c, size_t ldc)
{
    for (size_t i = 0; i < m; i += ROW_BLOCK) {
        size_t rows = m - i < ROW_BLOCK ? m - i : ROW_BLOCK;
        for (size_t j = 0; j < n; j += COL_BLOCK) {
            size_t cols = n - j < COL_BLOCK ? n - j : COL_BLOCK;
            const float *ai = a + i * a_row;
            float *cij = c + i * ldc + j;
            if (rows == ROW_BLOCK && cols == COL_BLOCK) {
                nn_block(k, s, ai, a_row, a_col, b + j, ldb, cij, ldc);
            } else {
                nn_edge(rows, cols, k, s, ai, a_row, a_col, b + j, ldb, cij, ldc);
            }
        }
    }
}

void shoal_dense_transpose_c(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                             size_t ld_out)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            out[j * ld_out + i] = in[i * ld_in + j];
        }
    }
}
