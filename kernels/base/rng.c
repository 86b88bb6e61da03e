/* rng.c - xoshiro256** and what is drawn from it. */
#include "kernels/base/rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *x)
{
    *x += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *x;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

shoal_rng shoal_rng_init(uint64_t seed)
{
    shoal_rng r;
    for (int i = 0; i < 4; i++) {
        r.s[i] = splitmix64(&seed);
    }
    return r;
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t shoal_rng_u64(shoal_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t shoal_rng_below(shoal_rng *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* reject the uneven tail */
    uint64_t v = shoal_rng_u64(r);
    while (v >= limit) {
        v = shoal_rng_u64(r);
    }
    return v % n;
}

double shoal_rng_double(shoal_rng *r)
{
    return (double)(shoal_rng_u64(r) >> 11) * 0x1.0p-53;
}

double shoal_rng_normal(shoal_rng *r)
{
    double u = 1.0 - shoal_rng_double(r); /* in (0, 1]: the logarithm stays finite */
    double v = shoal_rng_double(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void shoal_rng_shuffle(shoal_rng *r, size_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)shoal_rng_below(r, i);
        size_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
