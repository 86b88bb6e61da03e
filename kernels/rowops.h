/* rowops.h - portable versions of the row-wise slots (their contracts are in table.h).
 *
 * Layer: kernels/, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ROWOPS_H
#define SHOAL_KERNELS_ROWOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lanes of every row sum, and the order in which they are added up. */
enum { SHOAL_LANES = 8 };

static inline float shoal_lane_sum(const float lane[SHOAL_LANES])
{
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* Sum of `blocks` * SHOAL_LANES values, lane l taking every eighth from l on. */
static inline float shoal_lane_total(const float *x, size_t blocks)
{
    float lane[SHOAL_LANES] = {0};
    for (size_t i = 0; i < blocks; i++) {
        for (size_t l = 0; l < SHOAL_LANES; l++) {
            lane[l] += x[i * SHOAL_LANES + l];
        }
    }
    return shoal_lane_sum(lane);
}

float shoal_rmsnorm_c(const float *x, const float *w, float eps, size_t D, float *y);
void shoal_rmsnorm_grad_c(const float *x, const float *w, float rstd, const float *dy, size_t D,
                          float *dx, bool accumulate);
void shoal_swiglu_c(const float *g, const float *u, size_t n, float *y);
void shoal_swiglu_grad_c(const float *g, const float *u, const float *dy, size_t n, float *dg,
                         float *du);
void shoal_geglu_c(const float *g, const float *u, size_t n, float *y);
void shoal_geglu_grad_c(const float *g, const float *u, const float *dy, size_t n, float *dg,
                        float *du);
void shoal_softcap_c(const float *x, size_t n, float cap, float *y);
void shoal_softcap_grad_c(const float *y, size_t n, float cap, float *dy);
float shoal_row_max_c(const float *x, size_t n);
double shoal_row_exp_sum_c(const float *x, size_t n, float shift);
void shoal_row_softmax_c(float *x, size_t n, float shift, float factor);
void shoal_chacha_c(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n,
                    bool subtract);
void shoal_ring_add_c(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t groups);

#endif
