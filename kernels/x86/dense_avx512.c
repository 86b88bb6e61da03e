/* dense_avx512.c - c += s a b over strided views; see dense.h.
 *
 * Blocks of up to 24 accumulators: 6 rows x 64 columns, 8 x 48, 12 x 32 or 12 x 16, the last vector
 * masked. Columns are cut so that a block's rows take as few passes as its columns allow. An output
 * is one chain over k, then one FMA with s: the bits of dense_avx2.c. (nt stays with AVX2: its
 * eight partial sums are fixed.)
 */
#include "kernels/x86/init.h"
#include "kernels/x86/vec16.h"

enum { MOST_ROWS = 12, MOST_VECS = 4 };

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
SHOAL_INLINE void nn_block(size_t rows, size_t vecs, const nn_args *p, size_t row, vmask last)
{
    vf acc[MOST_ROWS][MOST_VECS], y[MOST_VECS];
    SHOAL_UNROLL
    for (size_t i = 0; i < rows; i++) {
        SHOAL_UNROLL
        for (size_t v = 0; v < vecs; v++) {
            acc[i][v] = vf_zero();
        }
    }
    const float *four[(MOST_ROWS + 3) / 4], *b = p->b;
    size_t a_row = p->a_row, at = 0;
    SHOAL_UNROLL
    for (size_t i = 0; i < rows; i += 4) {
        four[i / 4] = p->a + (row + i) * a_row;
        SHOAL_OWN_POINTER(four[i / 4]);
    }
    for (size_t k = p->k; k > 0; k--, at += p->a_col, b += p->ldb) {
        SHOAL_UNROLL
        for (size_t v = 0; v < vecs; v++) {
            y[v] =
                v == vecs - 1 ? vf_load_part(b + v * VEC_LANES, last) : vf_load(b + v * VEC_LANES);
        }
        SHOAL_UNROLL
        for (size_t i = 0; i < rows; i++) {
            vf x = vf_set1(four[i / 4][i % 4 * a_row + at]);
            SHOAL_UNROLL
            for (size_t v = 0; v < vecs; v++) {
                acc[i][v] = vf_fma(x, y[v], acc[i][v]);
            }
        }
    }
    vf s = vf_set1(p->s);
    SHOAL_UNROLL
    for (size_t i = 0; i < rows; i++) {
        float *c = p->c + (row + i) * p->ldc;
        SHOAL_UNROLL
        for (size_t v = 0; v + 1 < vecs; v++) {
            vf_store(c + v * VEC_LANES, vf_fma(s, acc[i][v], vf_load(c + v * VEC_LANES)));
        }
        c += (vecs - 1) * VEC_LANES;
        vf_store_part(c, last, vf_fma(s, acc[i][vecs - 1], vf_load_part(c, last)));
    }
}

/* All m rows of `vecs` vectors of columns, `most` at a time; both are constants. */
SHOAL_INLINE void nn_columns(size_t most, size_t vecs, size_t m, const nn_args *p, vmask last)
{
    size_t row = 0;
    for (; row + most <= m; row += most) {
        nn_block(most, vecs, p, row, last);
    }
    if (most > 8 && row + 8 <= m) {
        nn_block(8, vecs, p, row, last);
        row += 8;
    }
    if (row + 4 <= m) {
        nn_block(4, vecs, p, row, last);
        row += 4;
    }
    if (row + 2 <= m) {
        nn_block(2, vecs, p, row, last);
        row += 2;
    }
    if (row < m) {
        nn_block(1, vecs, p, row, last);
    }
}

/* Vectors of columns to take next, of those that n columns fill. */
static size_t take_vecs(size_t m, size_t n)
{
    size_t left = (n + VEC_LANES - 1) / VEC_LANES;
    size_t most = m <= 6 ? MOST_VECS : m <= 8 ? 3 : left == 3 ? 3 : left % 4 == 0 ? 4 : 2;
    return left < most ? left : most;
}

static void dense_nn(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                     size_t a_col, const float *b, size_t ldb, float *c, size_t ldc)
{
    nn_args p = {k, s, a, a_row, a_col, b, ldb, c, ldc};
    while (n > 0) {
        size_t vecs = take_vecs(m, n), cols = vecs * VEC_LANES < n ? vecs * VEC_LANES : n;
        vmask last = vm_first(cols - (vecs - 1) * VEC_LANES);
        switch (vecs) {
        case 4: nn_columns(6, 4, m, &p, last); break;
        case 3: nn_columns(8, 3, m, &p, last); break;
        case 2: nn_columns(12, 2, m, &p, last); break;
        default: nn_columns(12, 1, m, &p, last); break;
        }
        n -= cols;
        p.b += cols;
        p.c += cols;
    }
}

void shoal_dense_init_avx512(shoal_table *t)
{
    t->dense_nn = dense_nn;
}
