/* attention_neon.c - the row steps of attention's softmax, forward and backward. */
#include "kernels/arm/rowops_neon.h"

#include <math.h>

#include "kernels/arm/neon_math.h"

void shoal_half_rows_neon(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out)
{
    size_t full = n / VEC * VEC;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < full; i += VEC) {
            f8_store(out + i, f8_halves(in + i));
        }
        if (full < n) {
            uint16_t part[VEC] = {0};
            memcpy(part, in + full, (n - full) * sizeof *part);
            f8_store_some(out + full, n - full, f8_halves(part));
        }
        in += ld;
        out += n;
    }
}

/* Maximum of *m and the visible scores. */
static float top_of(const float *s, size_t lo, size_t hi, float m)
{
    const f8 none = f8_all(-INFINITY);
    f8 tops = f8_all(m);
    size_t j = lo / VEC * VEC;
    if (j < lo) {
        tops = f8_top(f8_select(m8_between(j, lo, hi), f8_load(s + j), none), tops);
        j += VEC;
    }
    for (; j + VEC <= hi; j += VEC) {
        tops = f8_top(f8_load(s + j), tops);
    }
    if (j < hi) {
        tops = f8_top(f8_select(m8_between(j, lo, hi), f8_load(s + j), none), tops);
    }
    return f8_top_lane(tops);
}

float shoal_softmax_tile_neon(float *s, size_t lo, size_t hi, size_t n, float *m, float *l)
{
    size_t from = lo < hi ? lo / VEC * VEC : n, to = lo < hi ? hi : n;
    for (size_t j = 0; j < from; j += VEC) {
        f8_store(s + j, f8_all(0.0f));
    }
    if (lo >= hi) return 1.0f;
    float top = top_of(s, lo, hi, *m);
    f8 sums = f8_all(0.0f), shift = f8_all(top);
    size_t j = from;
    for (; j < to; j += VEC) {
        f8 e = f8_exp(f8_sub(f8_load(s + j), shift));
        if (j < lo || j + VEC > hi) {
            e = f8_keep(m8_between(j, lo, hi), e);
        }
        f8_store(s + j, e);
        sums = f8_add(sums, e);
    }
    for (; j < n; j += VEC) {
        f8_store(s + j, f8_all(0.0f));
    }
    float shrink = *m == top ? 1.0f : shoal_expf(*m - top);
    *m = top;
    *l = *l * shrink + f8_sum(sums);
    return shrink;
}

void shoal_softmax_grad_neon(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                             float delta)
{
    const f8 shift = f8_all(lse), mean = f8_all(delta);
    for (size_t j = 0; j < n; j += VEC) {
        m8 seen = m8_between(j, lo, hi);
        f8 w = f8_keep(seen, f8_exp(f8_sub(f8_load(s + j), shift)));
        f8 d = f8_mul(w, f8_sub(f8_load(dp + j), mean));
        f8_store(s + j, w);
        f8_store(dp + j, f8_keep(seen, d));
    }
}
