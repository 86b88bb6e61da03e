/* rowops_avx2.h - AVX2 versions of the row slots (contracts in kernels/table.h).
 *
 * Layer: kernels/x86, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_X86_ROWOPS_AVX2_H
#define SHOAL_KERNELS_X86_ROWOPS_AVX2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* dense_avx2.c */
void shoal_dense_nt_avx2(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                         size_t ldb, float *c, size_t ldc);
void shoal_dense_nn_avx2(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                         size_t a_col, const float *b, size_t ldb, float *c, size_t ldc);
void shoal_dense_transpose_avx2(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                                size_t ld_out);

/* attention_avx2.c */
void shoal_half_rows_avx2(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out);
float shoal_softmax_tile_avx2(float *s, size_t lo, size_t hi, size_t n, float *m, float *l);
void shoal_softmax_grad_avx2(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                             float delta);

/* halves_avx2.c */
float shoal_half_put_avx2(const float *x, size_t n, uint16_t *out);
void shoal_half_take_avx2(const uint16_t *in, size_t n, float scale, float *x);

/* attention_cache_avx2.c */
void shoal_scores_f16_avx2(size_t rows, size_t n, size_t E, const float *q, const void *keys,
                           size_t key_bytes, float *s, size_t lds);
void shoal_scores_q8_avx2(size_t rows, size_t n, size_t E, const float *q, const void *keys,
                          size_t key_bytes, float *s, size_t lds);
void shoal_values_f16_avx2(size_t rows, size_t n, size_t E, const float *w, size_t ldw,
                           const void *values, size_t value_bytes, float *acc);
void shoal_values_q8_avx2(size_t rows, size_t n, size_t E, const float *w, size_t ldw,
                          const void *values, size_t value_bytes, float *acc);

/* pointwise_avx2.c */
float shoal_rmsnorm_avx2(const float *x, const float *w, float eps, size_t D, float *y);
void shoal_rmsnorm_grad_avx2(const float *x, const float *w, float rstd, const float *dy, size_t D,
                             float *dx, bool accumulate);
void shoal_swiglu_avx2(const float *g, const float *u, size_t n, float *y);
void shoal_swiglu_grad_avx2(const float *g, const float *u, const float *dy, size_t n, float *dg,
                            float *du);
void shoal_geglu_avx2(const float *g, const float *u, size_t n, float *y);
void shoal_geglu_grad_avx2(const float *g, const float *u, const float *dy, size_t n, float *dg,
                           float *du);
void shoal_softcap_avx2(const float *x, size_t n, float cap, float *y);
void shoal_softcap_grad_avx2(const float *y, size_t n, float cap, float *dy);

/* loss_avx2.c */
float shoal_row_max_avx2(const float *x, size_t n);
double shoal_row_exp_sum_avx2(const float *x, size_t n, float shift);
void shoal_row_softmax_avx2(float *x, size_t n, float shift, float factor);

/* chacha_avx2.c */
void shoal_chacha_avx2(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n,
                       bool subtract);

/* ring_avx2.c */
void shoal_ring_add_avx2(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t groups);

#endif
