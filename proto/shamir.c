/* shamir.c - sharing over GF(2^8), constant time in secrets and shares.
 *
 * Places (x) are public: who holds a share is known to all. Secrets, coefficients and shares are
 * only ever multiplied by values that follow from places, 32 bytes at once in four 64-bit words. */
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

/* ---- 32 field elements at once ---- */

typedef struct lanes {
    uint64_t w[SHOAL_SHARE_BYTES / 8];
} lanes;

static lanes load(const uint8_t *bytes)
{
    lanes v;
    memcpy(v.w, bytes, sizeof v.w);
    return v;
}

static lanes add(lanes a, lanes b)
{
    for (size_t i = 0; i < 4; i++) {
        a.w[i] ^= b.w[i];
    }
    return a;
}

/* Each byte times x: shifted, and reduced where the top bit fell out. */
static lanes times_x(lanes a)
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t top = a.w[i] & 0x8080808080808080u;
        a.w[i] = (a.w[i] ^ top) << 1 ^ (top >> 7) * 0x1bu;
    }
    return a;
}

/* Each byte times a public factor. */
static lanes times(lanes a, unsigned factor)
{
    lanes product = {{0}};
    for (; factor != 0; factor >>= 1) {
        uint64_t mask = 0u - (uint64_t)(factor & 1u);
        for (size_t i = 0; i < 4; i++) {
            product.w[i] ^= a.w[i] & mask;
        }
        a = times_x(a);
    }
    return product;
}

/* ---- sharing ---- */

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
    lanes y;
    for (size_t i = 0; i < n; i++) {
        /* Horner, from the coefficient of x^(t-1) down to the secret. */
        memset(&y, 0, sizeof y);
        for (size_t d = t - 1; d > 0; d--) {
            y = times(add(y, load(coeffs + (d - 1) * SHOAL_SHARE_BYTES)), (unsigned)(i + 1));
        }
        y = add(y, load(secret));
        memcpy(shares[i], y.w, sizeof y.w);
    }
    shoal_wipe(&y, sizeof y);
    return SHOAL_OK;
}

/* ---- values of the polynomial through t points ---- */

static shoal_status check_points(const uint8_t *x, size_t t, shoal_error *err)
{
    bool seen[SHOAL_SHAMIR_MAX + 1] = {false};
    if (t < 1 || t > SHOAL_SHAMIR_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "cannot combine %zu shares", t);
    }
    for (size_t i = 0; i < t; i++) {
        if (x[i] == 0 || x[i] > SHOAL_SHAMIR_MAX || seen[x[i]]) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "shares with impossible or repeated places");
        }
        seen[x[i]] = true;
    }
    return SHOAL_OK;
}

/* scale[i] = 1 / product over j != i of (x_j - x_i); in characteristic 2 subtraction is xor. */
static void basis_scales(const uint8_t *x, size_t t, uint8_t *scale)
{
    for (size_t i = 0; i < t; i++) {
        uint8_t product = 1;
        for (size_t j = 0; j < t; j++) {
            if (j != i) product = gf_mul(product, x[j] ^ x[i]);
        }
        scale[i] = gf_inv(product);
    }
}

/* weight[i] = the Lagrange basis polynomial of point i at `at`: the product of (x_j - at) over
 * j != i, from the products before and after i, times its scale. */
static void basis_at(const uint8_t *x, size_t t, const uint8_t *scale, uint8_t at, uint8_t *weight)
{
    uint8_t product = 1;
    for (size_t i = 0; i < t; i++) {
        weight[i] = gf_mul(product, scale[i]);
        product = gf_mul(product, x[i] ^ at);
    }
    product = 1;
    for (size_t i = t; i-- > 0;) {
        weight[i] = gf_mul(weight[i], product);
        product = gf_mul(product, x[i] ^ at);
    }
}

/* Sum of weight[i] shares[i]. The shares are first added up by the bits of their weights, so that
 * only eight sums are multiplied. */
static lanes weighted_sum(const uint8_t *weight, const uint8_t (*shares)[32], size_t t)
{
    lanes by_bit[8];
    memset(by_bit, 0, sizeof by_bit);
    for (size_t i = 0; i < t; i++) {
        lanes share = load(shares[i]);
        for (unsigned bit = 0; bit < 8; bit++) {
            uint64_t mask = 0u - (uint64_t)(weight[i] >> bit & 1u);
            for (size_t w = 0; w < 4; w++) {
                by_bit[bit].w[w] ^= share.w[w] & mask;
            }
        }
    }
    lanes sum = by_bit[7];
    for (size_t bit = 7; bit-- > 0;) {
        sum = add(times_x(sum), by_bit[bit]);
    }
    shoal_wipe(by_bit, sizeof by_bit);
    return sum;
}

shoal_status shoal_shamir_evaluate(const uint8_t *x, const uint8_t (*shares)[32], size_t t,
                                   const uint8_t *at, size_t n_at, uint8_t (*out)[32],
                                   shoal_error *err)
{
    uint8_t scale[SHOAL_SHAMIR_MAX];
    uint8_t weight[SHOAL_SHAMIR_MAX];
    SHOAL_TRY(check_points(x, t, err));
    basis_scales(x, t, scale);
    for (size_t a = 0; a < n_at; a++) {
        basis_at(x, t, scale, at[a], weight);
        lanes value = weighted_sum(weight, shares, t);
        memcpy(out[a], value.w, sizeof value.w);
        shoal_wipe(&value, sizeof value);
    }
    return SHOAL_OK;
}

shoal_status shoal_shamir_combine(const uint8_t *x, const uint8_t (*shares)[32], size_t t,
                                  uint8_t at, uint8_t out[32], shoal_error *err)
{
    return shoal_shamir_evaluate(x, shares, t, &at, 1, (uint8_t(*)[32])out, err);
}

/* ---- which shares are false ---- */

/* Shares are a word of a generalised Reed-Solomon code: the value at x_i, times 1 / prod (x_i -
 * x_j), summed with x_i^l, is 0 for l = 0 .. m - t - 1 when all lie on one polynomial of degree t
 * - 1. Source: MacWilliams and Sloane 1977, ch. 10 section 8; Massey 1969 for the shift register.
 */
typedef struct code_word {
    size_t m; /* shares left */
    uint8_t place[SHOAL_SHAMIR_MAX];
    uint8_t of[SHOAL_SHAMIR_MAX]; /* where each came from */
    const uint8_t (*shares)[32];
} code_word;

/* syndromes [m - t] of all 32 bytes at once. */
static void syndromes_of(const code_word *w, size_t t, lanes *out)
{
    memset(out, 0, (w->m - t) * sizeof *out);
    for (size_t i = 0; i < w->m; i++) {
        uint8_t scale = 1;
        for (size_t j = 0; j < w->m; j++) {
            if (j != i) scale = gf_mul(scale, w->place[i] ^ w->place[j]);
        }
        scale = gf_inv(scale);
        for (size_t l = 0; l < w->m - t; l++) {
            out[l] = add(out[l], times(load(w->shares[w->of[i]]), scale));
            scale = gf_mul(scale, w->place[i]);
        }
    }
}

static uint8_t byte_of(const lanes *v, size_t b)
{
    uint8_t bytes[SHOAL_SHARE_BYTES];
    memcpy(bytes, v->w, sizeof bytes);
    return bytes[b];
}

/* The shortest shift register c [n + 1], c[0] = 1, that makes s [n]; returns its length. Its roots
 * are the inverses of the places in error. */
static size_t shortest_register(const uint8_t *s, size_t n, uint8_t *c)
{
    uint8_t before[SHOAL_SHAMIR_MAX + 1] = {1}, kept[SHOAL_SHAMIR_MAX + 1];
    uint8_t last = 1;
    size_t length = 0, gap = 1;
    memset(c, 0, n + 1);
    c[0] = 1;
    for (size_t k = 0; k < n; k++, gap++) {
        uint8_t off = s[k];
        for (size_t i = 1; i <= length; i++) {
            off ^= gf_mul(c[i], s[k - i]);
        }
        if (off == 0) continue;
        uint8_t ratio = gf_mul(off, gf_inv(last));
        memcpy(kept, c, n + 1);
        for (size_t i = 0; i + gap <= n; i++) {
            c[i + gap] ^= gf_mul(ratio, before[i]);
        }
        if (2 * length > k) continue;
        length = k + 1 - length;
        memcpy(before, kept, n + 1);
        last = off;
        gap = 0;
    }
    return length;
}

static bool is_root(const uint8_t *c, size_t degree, uint8_t at)
{
    uint8_t value = 0;
    for (size_t i = degree + 1; i-- > 0;) {
        value = gf_mul(value, at) ^ c[i];
    }
    return value == 0;
}

/* Takes the shares out whose byte b is in error; 0 when there are too many to tell. */
static size_t remove_errors(code_word *w, size_t t, const lanes *syndromes, size_t b, bool *wrong)
{
    uint8_t s[SHOAL_SHAMIR_MAX], c[SHOAL_SHAMIR_MAX + 1];
    size_t n = w->m - t, kept = 0;
    for (size_t l = 0; l < n; l++) {
        s[l] = byte_of(&syndromes[l], b);
    }
    size_t length = shortest_register(s, n, c);
    for (size_t i = 0; i < w->m; i++) {
        bool bad = is_root(c, length, gf_inv(w->place[i]));
        wrong[w->of[i]] = wrong[w->of[i]] || bad;
        if (bad) continue;
        w->place[kept] = w->place[i];
        w->of[kept++] = w->of[i];
    }
    size_t removed = w->m - kept;
    w->m = kept;
    return 2 * length <= n && removed == length ? removed : 0;
}

/* The first byte in which a syndrome is not zero, or 32. */
static size_t first_error(const lanes *syndromes, size_t n)
{
    lanes any = {{0}};
    size_t b = 0;
    for (size_t l = 0; l < n; l++) {
        for (size_t i = 0; i < 4; i++) {
            any.w[i] |= syndromes[l].w[i];
        }
    }
    while (b < SHOAL_SHARE_BYTES && byte_of(&any, b) == 0) {
        b++;
    }
    return b;
}

bool shoal_shamir_locate(const uint8_t *x, const uint8_t (*shares)[32], size_t m, size_t t,
                         bool *wrong)
{
    code_word w = {.m = m, .shares = shares};
    lanes syndromes[SHOAL_SHAMIR_MAX];
    size_t removed = 0;
    memset(wrong, 0, m * sizeof *wrong);
    if (t < 1 || t > m || m > SHOAL_SHAMIR_MAX || check_points(x, m, NULL) != SHOAL_OK)
        return false;
    for (size_t i = 0; i < m; i++) {
        w.place[i] = x[i];
        w.of[i] = (uint8_t)i;
    }
    for (bool sound = true; sound; sound = 2 * removed <= m - t) {
        syndromes_of(&w, t, syndromes);
        size_t b = first_error(syndromes, w.m - t);
        if (b == SHOAL_SHARE_BYTES) return true;
        size_t more = remove_errors(&w, t, syndromes, b, wrong);
        if (more == 0) return false;
        removed += more;
    }
    return false;
}
