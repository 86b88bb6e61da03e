/* noise.h - random numbers that follow from where they are used: dropout, noise on embeddings.
 *
 * Nothing is stored and there is no generator to keep in step: number i under a key is a hash of
 * both (splitmix64's finaliser, Steele et al. 2014). So backward draws what forward drew, and
 * neither threads, nor the cutting of work into ranges, nor the kernels of a processor change a
 * bit. NOT for secrets, see base/rng.h.
 *
 * Layer: kernels/. Threads: pure functions.
 */
#ifndef SHOAL_KERNELS_NOISE_H
#define SHOAL_KERNELS_NOISE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A key out of two numbers; not symmetric. */
uint64_t shoal_noise_key(uint64_t a, uint64_t b);

enum {
    SHOAL_DROPOUT_ONE = 1 << 16,      /* levels count in units of 2^-16 */
    SHOAL_DROPOUT_BLOCK = 64,         /* columns whose bits are drawn together */
    SHOAL_DROPOUT_MAX_COLS = 32 << 10 /* widest input that shoal_lowrank_* thin out */
};

/* Which inputs x [T, N] of one matrix are left out (Hinton et al. 2012). The others are multiplied
 * by 1 / (1 - p), p = level / SHOAL_DROPOUT_ONE, which keeps the expectation. */
typedef struct shoal_dropout {
    const uint64_t *keys; /* [T] one a row, borrowed */
    uint64_t salt;        /* of the matrix: tells apart those that read the same rows */
    uint32_t level;       /* 1..SHOAL_DROPOUT_ONE - 1 */
} shoal_dropout;

/* The level nearest to p in (0, 1); 0 for p <= 0. */
uint32_t shoal_dropout_level(double p);

/* out [rows, cols] = the thinned x, or += it, where x is the piece of [T, N] from row t0 and column
 * n0 on; n0 is a multiple of SHOAL_DROPOUT_BLOCK. Strides in floats. */
void shoal_dropout_apply(const shoal_dropout *d, size_t t0, size_t rows, size_t n0, size_t cols,
                         const float *x, size_t ldx, float *out, size_t ldo);
void shoal_dropout_add(const shoal_dropout *d, size_t t0, size_t rows, size_t n0, size_t cols,
                       const float *x, size_t ldx, float *out, size_t ldo);

/* y [n] += scale * u_i, u uniform in (-1, 1). */
void shoal_uniform_add(uint64_t key, float scale, size_t n, float *y);

#ifdef __cplusplus
}
#endif
#endif
