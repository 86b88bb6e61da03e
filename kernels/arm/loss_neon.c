/* loss_neon.c - the three passes of cross-entropy over a row of logits. */
#include "kernels/arm/rowops_neon.h"

#include <math.h>

#include "kernels/arm/neon_math.h"

enum { SUM_CHUNK = 512 };

float shoal_row_max_neon(const float *x, size_t n)
{
    const f8 none = f8_all(-INFINITY);
    f8 a = none, b = none;
    size_t i = 0;
    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        a = f8_top(f8_load(x + i), a);
        b = f8_top(f8_load(x + i + VEC), b);
    }
    for (; i < n; i += VEC) {
        a = f8_top(f8_select(m8_between(i, 0, n), f8_load_some(x + i, n - i), none), a);
    }
    return f8_top_lane(f8_top(a, b));
}

double shoal_row_exp_sum_neon(const float *x, size_t n, float shift)
{
    const f8 top = f8_all(shift);
    double total = 0;
    for (size_t base = 0; base < n; base += SUM_CHUNK) {
        size_t end = n - base < SUM_CHUNK ? n : base + SUM_CHUNK, i = base;
        f8 sum = f8_all(0.0f);
        for (; i + VEC <= end; i += VEC) {
            sum = f8_add(sum, f8_exp(f8_sub(f8_load(x + i), top)));
        }
        if (i < end) {
            f8 e = f8_exp(f8_sub(f8_load_some(x + i, end - i), top));
            sum = f8_add(sum, f8_keep(m8_between(i, 0, end), e));
        }
        total += (double)f8_sum(sum);
    }
    return total;
}

void shoal_row_softmax_neon(float *x, size_t n, float shift, float factor)
{
    const f8 top = f8_all(shift), f = f8_all(factor);
    for (size_t i = 0; i < n; i += VEC) {
        f8 e = f8_exp(f8_sub(f8_load_some(x + i, n - i), top));
        f8_store_some(x + i, n - i, f8_mul(f, e));
    }
}
