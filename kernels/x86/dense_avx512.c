/* dense_avx512.c - c += s a b over strided views; see dense.h.
 *
 * Blocks of 6 rows x 64 columns: 24 accumulators, 4 vectors of b. At the right edge 16 columns, the
 * last ones masked. An output is one chain over k, then one FMA with s: the bits of dense_avx2.c.
 * (nt stays with AVX2: its eight partial sums are fixed.)
 */
#include "kernels/x86/init.h"
#include "kernels/x86/vec16.h"

enum { ROWS = 6, VECS = 4, WIDE = VECS * VEC_LANES };

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

/* The block at b and c; `last` masks its last vector. rows and vecs are constants. */
SHOAL_INLINE void nn_block(size_t rows, size_t vecs, const nn_args *p, const float *b, float *c,
                           vmask last)
{
    vf acc[ROWS][VECS], y[VECS];
    SHOAL_UNROLL
    for (size_t i = 0; i < rows * vecs; i++) {
        acc[i / vecs][i % vecs] = vf_zero();
    }
    const float *a = p->a;
    for (size_t k = p->k; k > 0; k--, a += p->a_col, b += p->ldb) {
        SHOAL_UNROLL
        for (size_t v = 0; v < vecs; v++) {
            y[v] = vecs == 1 ? vf_load_part(b, last) : vf_load(b + v * VEC_LANES);
        }
        SHOAL_UNROLL
        for (size_t i = 0; i < rows; i++) {
            vf x = vf_set1(a[i * p->a_row]);
            SHOAL_UNROLL
            for (size_t v = 0; v < vecs; v++) {
                acc[i][v] = vf_fma(x, y[v], acc[i][v]);
            }
        }
    }
    vf s = vf_set1(p->s);
    for (size_t i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (size_t v = 0; v < vecs; v++) {
            float *at = c + i * p->ldc + v * VEC_LANES;
            vf_store_part(at, last, vf_fma(s, acc[i][v], vf_load_part(at, last)));
        }
    }
}

/* One strip of `rows` rows over all n columns. */
SHOAL_INLINE void nn_strip(size_t rows, size_t n, const nn_args *p)
{
    size_t j = 0;
    for (; j + WIDE <= n; j += WIDE) {
        nn_block(rows, VECS, p, p->b + j, p->c + j, vm_first(VEC_LANES));
    }
    for (; j < n; j += VEC_LANES) {
        nn_block(rows, 1, p, p->b + j, p->c + j, vm_first(n - j));
    }
}

static void dense_nn(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                     size_t a_col, const float *b, size_t ldb, float *c, size_t ldc)
{
    nn_args p = {k, s, a, a_row, a_col, b, ldb, c, ldc};
    for (; m >= ROWS; m -= ROWS, p.a += ROWS * a_row, p.c += ROWS * ldc) {
        nn_strip(ROWS, n, &p);
    }
    for (; m >= 2; m -= 2, p.a += 2 * a_row, p.c += 2 * ldc) {
        nn_strip(2, n, &p);
    }
    if (m == 1) {
        nn_strip(1, n, &p);
    }
}

void shoal_dense_init_avx512(shoal_table *t)
{
    t->dense_nn = dense_nn;
}
