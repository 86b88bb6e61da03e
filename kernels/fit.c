/* fit.c - see fit.h. */
#include "kernels/fit.h"

#include <math.h>

enum { SCALE_TRIES = 9, AFFINE_TRIES = 12 };

int shoal_nearest(float v, int lo, int hi)
{
    if (!(v > (float)lo)) return lo;
    if (v >= (float)hi) return hi;
    return (int)(v - (float)lo + 0.5f) + lo;
}

/* weight [n]: how much an error of each value counts. */
static void importance(const float *x, size_t n, float *weight)
{
    float squares = 0.0f;
    for (size_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    float rms = sqrtf(squares / (float)n);
    for (size_t i = 0; i < n; i++) {
        weight[i] = rms + fabsf(x[i]);
    }
}

/* The value of largest magnitude, with its sign. */
static float extreme_of(const float *x, size_t n)
{
    float extreme = 0.0f;
    for (size_t i = 0; i < n; i++) {
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    }
    return extreme;
}

float shoal_fit_scale(const float *x, size_t n, int lo, int hi)
{
    float weight[SHOAL_FIT_MAX];
    float extreme = extreme_of(x, n);
    if (extreme == 0.0f) return 0.0f;
    importance(x, n, weight);
    float best = extreme / (float)lo, best_gain = 0.0f;
    for (int t = -SCALE_TRIES; t <= SCALE_TRIES; t++) {
        float inverse = ((float)lo + 0.1f * (float)t) / extreme;
        float xq = 0.0f, qq = 0.0f;
        for (size_t i = 0; i < n; i++) {
            float q = (float)shoal_nearest(x[i] * inverse, lo, hi);
            xq += weight[i] * x[i] * q;
            qq += weight[i] * q * q;
        }
        /* The error of the best d = xq / qq is the sum of w x^2 less this. */
        if (qq > 0.0f && xq * xq > best_gain * qq) {
            best_gain = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

/* Weighted sums of a set of codes q against x. */
typedef struct fit_sums {
    float w, x, q, xq, qq, xx;
} fit_sums;

static fit_sums sums_of(const float *x, const float *weight, size_t n, float inverse, float shift,
                        int top)
{
    fit_sums s = {0};
    for (size_t i = 0; i < n; i++) {
        float q = (float)shoal_nearest((x[i] - shift) * inverse, 0, top);
        s.w += weight[i];
        s.x += weight[i] * x[i];
        s.q += weight[i] * q;
        s.xq += weight[i] * x[i] * q;
        s.qq += weight[i] * q * q;
        s.xx += weight[i] * x[i] * x[i];
    }
    return s;
}

/* Least-squares d, m of the codes summed in s, and their error; false when d is not positive. */
static int solve(const fit_sums *s, int below, float *d, float *m, float *error)
{
    float det = s->w * s->qq - s->q * s->q;
    if (!(det > 0.0f)) return 0;
    *d = (s->w * s->xq - s->q * s->x) / det;
    *m = (s->qq * s->x - s->q * s->xq) / det;
    if (below && *m > 0.0f) {
        *m = 0.0f;
        *d = s->xq / s->qq;
    }
    *error = s->xx - 2.0f * (*d * s->xq + *m * s->x) + *d * *d * s->qq + 2.0f * *d * *m * s->q +
             *m * *m * s->w;
    return *d > 0.0f;
}

void shoal_fit_affine(const float *x, size_t n, int top, int below, float *d, float *m)
{
    float weight[SHOAL_FIT_MAX];
    float lo = x[0], hi = x[0];
    for (size_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (below && lo > 0.0f) lo = 0.0f;
    *d = (hi - lo) / (float)top;
    *m = lo;
    if (!(hi > lo)) {
        *d = below ? fmaxf(hi, 0.0f) / (float)top : 0.0f;
        return;
    }
    importance(x, n, weight);
    float best = INFINITY;
    for (int t = 0; t <= AFFINE_TRIES; t++) {
        float steps = (float)top - 1.0f + 0.15f * (float)t;
        fit_sums s = sums_of(x, weight, n, steps / (hi - lo), lo, top);
        float a, b, error;
        if (solve(&s, below, &a, &b, &error) && error < best) {
            best = error;
            *d = a;
            *m = b;
        }
    }
}
