/* shamir.c - sharing over GF(2^8), constant time in secrets and shares. */
#include "proto/shamir.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/base/mem.h"

/* Shift-and-add product modulo x^8 + x^4 + x^3 + x + 1: eight rounds, masks instead of branches. */
static uint8_t gf_mul(uint8_t a, uint8_t b)
{
    unsigned x = a;
    unsigned y = b;
    unsigned product = 0;
    for (int bit = 0; bit < 8; bit++) {
        product ^= x & (0u - (y & 1u));
        x = (x << 1) ^ (0x11bu & (0u - (x >> 7)));
        y >>= 1;
    }
    return (uint8_t)product;
}

/* a^254 = 1/a (and 0 for 0), by squaring: a^(2 + 4 + ... + 128). */
static uint8_t gf_inv(uint8_t a)
{
    uint8_t square = gf_mul(a, a);
    uint8_t result = square;
    for (int i = 0; i < 6; i++) {
        square = gf_mul(square, square);
        result = gf_mul(result, square);
    }
    return result;
}

size_t shoal_shamir_coeff_bytes(size_t t)
{
    return t == 0 ? 0 : (t - 1) * SHOAL_SHARE_BYTES;
}

shoal_status shoal_shamir_split(const uint8_t secret[32], size_t t, size_t n, const uint8_t *coeffs,
                                uint8_t (*shares)[32], shoal_error *err)
{
    if (t < 1 || t > n || n > SHOAL_SHAMIR_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "cannot share %zu of %zu", t, n);
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t x = (uint8_t)(i + 1);
        /* Horner, from the coefficient of x^(t-1) down to the secret. */
        for (size_t b = 0; b < SHOAL_SHARE_BYTES; b++) {
            uint8_t y = 0;
            for (size_t d = t - 1; d > 0; d--) {
                y = gf_mul(y ^ coeffs[(d - 1) * SHOAL_SHARE_BYTES + b], x);
            }
            shares[i][b] = y ^ secret[b];
        }
    }
    return SHOAL_OK;
}

static shoal_status check_points(const uint8_t *x, size_t t, shoal_error *err)
{
    bool seen[SHOAL_SHAMIR_MAX + 1] = {false};
    for (size_t i = 0; i < t; i++) {
        if (x[i] == 0 || x[i] > SHOAL_SHAMIR_MAX || seen[x[i]]) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "shares with impossible or repeated places");
        }
        seen[x[i]] = true;
    }
    return SHOAL_OK;
}

/* Lagrange basis polynomial of point i, at `at`. In characteristic 2 subtraction is xor. */
static uint8_t basis(const uint8_t *x, size_t t, size_t i, uint8_t at)
{
    uint8_t num = 1;
    uint8_t den = 1;
    for (size_t j = 0; j < t; j++) {
        if (j == i) continue;
        num = gf_mul(num, x[j] ^ at);
        den = gf_mul(den, x[j] ^ x[i]);
    }
    return gf_mul(num, gf_inv(den));
}

shoal_status shoal_shamir_combine(const uint8_t *x, const uint8_t (*shares)[32], size_t t,
                                  uint8_t at, uint8_t out[32], shoal_error *err)
{
    if (t < 1 || t > SHOAL_SHAMIR_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "cannot combine %zu shares", t);
    }
    SHOAL_TRY(check_points(x, t, err));
    uint8_t sum[SHOAL_SHARE_BYTES] = {0};
    for (size_t i = 0; i < t; i++) {
        uint8_t weight = basis(x, t, i, at);
        for (size_t b = 0; b < SHOAL_SHARE_BYTES; b++) {
            sum[b] ^= gf_mul(shares[i][b], weight);
        }
    }
    memcpy(out, sum, sizeof sum);
    shoal_wipe(sum, sizeof sum);
    return SHOAL_OK;
}
