/* loss.c - cross-entropy over rows of logits, with the gradient in their place.
 *
 * Whole rows, or slices of them (shoal_softmax_fold). Three passes over a row: its maximum, the sum
 * of exp(x - max), and, when a gradient is wanted, scale * exp(x - max) / sum. Sums are f32 in
 * lanes over SUM_CHUNK values, then double, so that a vocabulary of 2^18 costs no accuracy.
 */
#include "kernels/kernels.h"

#include <math.h>

#include "kernels/expf.h"
#include "kernels/rowops.h"
#include "kernels/table.h"

enum { SUM_CHUNK = 512 };

typedef struct loss_job {
    const shoal_table *k;
    float *logits;
    const int32_t *targets;
    size_t V;
    float scale;
    double *nll;
    int32_t *argmax;
} loss_job;

float shoal_row_max_c(const float *x, size_t n)
{
    float lane[SHOAL_LANES];
    for (size_t l = 0; l < SHOAL_LANES; l++) {
        lane[l] = -INFINITY;
    }
    for (size_t i = 0; i < n; i++) {
        float *top = &lane[i % SHOAL_LANES];
        *top = x[i] > *top ? x[i] : *top;
    }
    for (size_t l = 1; l < SHOAL_LANES; l++) {
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    }
    return lane[0];
}

double shoal_row_exp_sum_c(const float *x, size_t n, float shift)
{
    double sum = 0;
    for (size_t base = 0; base < n; base += SUM_CHUNK) {
        size_t end = n - base < SUM_CHUNK ? n : base + SUM_CHUNK;
        float e[SUM_CHUNK] = {0};
        for (size_t i = base; i < end; i++) {
            e[i - base] = shoal_expf(x[i] - shift);
        }
        sum += (double)shoal_lane_total(e, (end - base + SHOAL_LANES - 1) / SHOAL_LANES);
    }
    return sum;
}

void shoal_row_softmax_c(float *x, size_t n, float shift, float factor)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = factor * shoal_expf(x[i] - shift);
    }
}

/* First position of the maximum; 0 in a row of NaN. Chunks are scanned without a branch first. */
static int32_t find_value(const float *x, size_t n, float value)
{
    for (size_t base = 0; base < n; base += SUM_CHUNK) {
        size_t end = n - base < SUM_CHUNK ? n : base + SUM_CHUNK;
        int hits = 0;
        for (size_t i = base; i < end; i++) {
            hits |= x[i] == value;
        }
        for (size_t i = base; hits && i < end; i++) {
            if (x[i] == value) return (int32_t)i;
        }
    }
    return 0;
}

static void loss_row(const loss_job *j, size_t t)
{
    float *x = j->logits + t * j->V;
    int32_t target = j->targets[t];
    bool supervised = target >= 0 && (size_t)target < j->V;
    float top = j->k->row_max(x, j->V);
    if (j->argmax != NULL) {
        j->argmax[t] = find_value(x, j->V, top);
    }
    if (!supervised) {
        j->nll[t] = 0;
        for (size_t i = 0; j->scale != 0 && i < j->V; i++) {
            x[i] = 0;
        }
        return;
    }
    double sum = j->k->row_exp_sum(x, j->V, top);
    j->nll[t] = (double)top + log(sum) - (double)x[target];
    if (j->scale != 0) {
        j->k->row_softmax(x, j->V, top, (float)((double)j->scale / sum));
        x[target] -= j->scale;
    }
}

static void loss_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        loss_row(ctx, t);
    }
}

void shoal_cross_entropy(const shoal_exec *ex, float *logits, const int32_t *targets, size_t T,
                         size_t V, float scale, double *nll, int32_t *argmax)
{
    loss_job j = {ex->table, logits, targets, V, scale, nll, argmax};
    shoal_parallel_for(ex->pool, T, 1, loss_rows, &j);
}

/* ---- slices ---------------------------------------------------------------------------------- */

typedef struct fold_job {
    const shoal_table *k;
    float *logits;
    size_t first, n;
    const int32_t *targets;
    shoal_softmax_row *rows;
    float *acc;
    size_t D;
} fold_job;

/* Makes a row of acc count from the new maximum. */
static void shift_acc(float *acc, size_t D, float old, float max)
{
    if (old == max) return;
    float shrink = old == -INFINITY ? 0.0f : shoal_expf(old - max);
    for (size_t i = 0; i < D; i++) {
        acc[i] = shrink == 0.0f ? 0.0f : acc[i] * shrink; /* not yet written: may be a NaN */
    }
}

static void fold_row(const fold_job *j, size_t t)
{
    float *x = j->logits + t * j->n;
    shoal_softmax_row *row = &j->rows[t];
    size_t target = (size_t)j->targets[t] - j->first; /* wraps when it lies before the slice */
    float top = j->k->row_max(x, j->n);
    float max = top > row->max ? top : row->max;
    double shrink = row->max == -INFINITY ? 0.0 : exp((double)row->max - (double)max);
    if (j->acc != NULL) shift_acc(j->acc + t * j->D, j->D, row->max, max);
    if (target < j->n) {
        row->target = x[target];
        x[target] = -INFINITY;
    }
    row->sum = row->sum * shrink + j->k->row_exp_sum(x, j->n, max);
    row->max = max;
    if (j->acc != NULL) j->k->row_softmax(x, j->n, max, 1.0f);
}

static void fold_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        fold_row(ctx, t);
    }
}

void shoal_softmax_fold(const shoal_exec *ex, float *logits, size_t T, size_t first, size_t n,
                        const int32_t *targets, shoal_softmax_row *rows, float *acc, size_t D)
{
    enum { ROWS = 8 }; /* a row of a slice is little work */
    fold_job j = {ex->table, logits, first, n, targets, rows, acc, D};
    shoal_parallel_for(ex->pool, T, ROWS, fold_rows, &j);
}

double shoal_softmax_others(const shoal_softmax_row *row, double *total)
{
    *total = row->sum + exp((double)row->target - (double)row->max);
    return row->sum / *total;
}

double shoal_softmax_nll(const shoal_softmax_row *row)
{
    double total = 0.0;
    (void)shoal_softmax_others(row, &total);
    return (double)row->max + log(total) - (double)row->target;
}
