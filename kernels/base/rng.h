/* rng.h - small deterministic generator for sampling, initialisation, shuffling and tests.
 *
 * xoshiro256** seeded by splitmix64 (Blackman and Vigna 2018, prng.di.unimi.it, public domain
 * description). Same seed, same numbers on every machine. NOT for secrets: keys and masks come from
 * proto/crypto.h.
 *
 * Layer: kernels/base. Threads: one owner per state.
 */
#ifndef SHOAL_KERNELS_BASE_RNG_H
#define SHOAL_KERNELS_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Plain data: may be saved in a checkpoint and restored bit for bit. */
typedef struct shoal_rng {
    uint64_t s[4];
} shoal_rng;

shoal_rng shoal_rng_init(uint64_t seed);
uint64_t shoal_rng_u64(shoal_rng *r);
/* Uniform in [0, n) without modulo bias; n must be > 0. */
uint64_t shoal_rng_below(shoal_rng *r, uint64_t n);
/* Uniform in [0, 1). */
double shoal_rng_double(shoal_rng *r);
/* Standard normal (Box-Muller, one value per call). */
double shoal_rng_normal(shoal_rng *r);
/* Fisher-Yates shuffle of n indices. */
void shoal_rng_shuffle(shoal_rng *r, size_t *items, size_t n);

#ifdef __cplusplus
}
#endif
#endif
