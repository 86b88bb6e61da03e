/* gradcheck.c - see gradcheck.h. */
#include "tests/support/gradcheck.h"

#include <math.h>

double gradcheck(gradcheck_fn *f, void *ctx, double *x, size_t n, const float *analytic)
{
    const double h = 1e-4;
    double worst = 0, largest = 1e-2;
    for (size_t i = 0; i < n; i++) {
        double at = x[i];
        x[i] = at + h;
        double up = f(ctx, x, n);
        x[i] = at - h;
        double down = f(ctx, x, n);
        x[i] = at;
        double numeric = (up - down) / (2 * h);
        double diff = fabs(numeric - (double)analytic[i]);
        if (!(diff <= worst)) {
            worst = diff; /* also takes a NaN */
        }
        largest = fmax(largest, fabs(numeric));
    }
    return worst / largest;
}
