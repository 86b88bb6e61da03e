/* noise.c - see noise.h. Bits are drawn a block of columns at a time, so that what they decide is a
 * plain loop over floats. */
#include "kernels/noise.h"

#include <stdbool.h>

static const uint64_t GOLDEN = UINT64_C(0x9e3779b97f4a7c15);

/* The finaliser of splitmix64. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t shoal_noise_key(uint64_t a, uint64_t b)
{
    return mix(mix(a + GOLDEN) + b);
}

/* Word i of the stream of a key. */
static uint64_t word(uint64_t key, uint64_t i)
{
    return mix(key + (i + 1) * GOLDEN);
}

uint32_t shoal_dropout_level(double p)
{
    if (!(p > 0.0)) return 0;
    double level = p * SHOAL_DROPOUT_ONE + 0.5;
    if (level < 1.0) return 1;
    return level < SHOAL_DROPOUT_ONE ? (uint32_t)level : SHOAL_DROPOUT_ONE - 1;
}

/* 16 bits for each of the columns from n0 on. */
static void draw(uint64_t key, size_t n0, uint16_t bits[SHOAL_DROPOUT_BLOCK])
{
    for (size_t i = 0; i < SHOAL_DROPOUT_BLOCK; i += 4) {
        uint64_t w = word(key, (n0 + i) / 4);
        bits[i] = (uint16_t)w;
        bits[i + 1] = (uint16_t)(w >> 16);
        bits[i + 2] = (uint16_t)(w >> 32);
        bits[i + 3] = (uint16_t)(w >> 48);
    }
}

static void thin_row(const shoal_dropout *d, size_t t, size_t n0, size_t cols, const float *x,
                     float *out, bool add)
{
    const uint64_t key = shoal_noise_key(d->keys[t], d->salt);
    const uint32_t level = d->level;
    const float scale = (float)SHOAL_DROPOUT_ONE / (float)(SHOAL_DROPOUT_ONE - level);
    uint16_t bits[SHOAL_DROPOUT_BLOCK];
    for (size_t at = 0; at < cols; at += SHOAL_DROPOUT_BLOCK) {
        size_t n = cols - at < SHOAL_DROPOUT_BLOCK ? cols - at : SHOAL_DROPOUT_BLOCK;
        draw(key, n0 + at, bits);
        for (size_t i = 0; i < n; i++) {
            float kept = bits[i] < level ? 0.0f : x[at + i] * scale;
            out[at + i] = add ? out[at + i] + kept : kept;
        }
    }
}

void shoal_dropout_apply(const shoal_dropout *d, size_t t0, size_t rows, size_t n0, size_t cols,
                         const float *x, size_t ldx, float *out, size_t ldo)
{
    for (size_t t = 0; t < rows; t++) {
        thin_row(d, t0 + t, n0, cols, x + t * ldx, out + t * ldo, false);
    }
}

void shoal_dropout_add(const shoal_dropout *d, size_t t0, size_t rows, size_t n0, size_t cols,
                       const float *x, size_t ldx, float *out, size_t ldo)
{
    for (size_t t = 0; t < rows; t++) {
        thin_row(d, t0 + t, n0, cols, x + t * ldx, out + t * ldo, true);
    }
}

/* 24 bits as the middle of one of 2^24 equal parts of (-1, 1): symmetric about 0, and exact. */
static float centred(uint64_t bits)
{
    return (float)((int32_t)(2 * (bits & 0xffffff)) + 1 - (1 << 24)) * 0x1p-24f;
}

void shoal_uniform_add(uint64_t key, float scale, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += 2) {
        uint64_t w = word(key, i / 2);
        y[i] += scale * centred(w >> 40);
        if (i + 1 < n) y[i + 1] += scale * centred(w >> 8);
    }
}
