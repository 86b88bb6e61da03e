/* test_shamir.c - tests/kat/shamir.vec (independent Python), tests/kat/slip39.vec (published), the
 * whole field against its definition, every subset of shares, and secrecy of t - 1 of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/crypto.h"
#include "proto/shamir.h"
#include "tests/support/vec_file.h"

static void test_vectors(void **state)
{
    (void)state;
    static uint8_t coeffs[254 * 32];
    static uint8_t shares[254][32];
    uint8_t secret[32];
    uint8_t want[32];
    uint8_t x[254];
    vec_file f;
    if (!vec_open(&f, "tests/kat/shamir.vec")) skip();
    size_t rows = 0;
    for (; vec_next_line(&f); rows++) {
        size_t t = (size_t)vec_number(&f);
        size_t n = (size_t)vec_number(&f);
        vec_bytes(&f, secret, 32);
        vec_bytes(&f, coeffs, shoal_shamir_coeff_bytes(t));
        assert_int_equal(shoal_shamir_split(secret, t, n, coeffs, shares, NULL), SHOAL_OK);
        for (size_t i = 0; i < n; i++) {
            vec_bytes(&f, want, 32);
            assert_memory_equal(shares[i], want, 32);
        }
        /* The last t shares open it as well as the first. */
        for (size_t i = 0; i < t; i++) {
            x[i] = (uint8_t)(n - t + i + 1);
        }
        assert_int_equal(
            shoal_shamir_combine(x, (const uint8_t(*)[32])(shares + (n - t)), t, 0, want, NULL),
            SHOAL_OK);
        assert_memory_equal(want, secret, 32);
    }
    vec_close(&f);
    assert_int_equal(rows, 8);
}

/* The field by its definition (FIPS 197, 4.2): polynomials over GF(2) multiplied without carries,
 * then divided by x^8 + x^4 + x^3 + x + 1. */
static uint8_t product(unsigned a, unsigned b)
{
    unsigned wide = 0;
    for (unsigned i = 0; i < 8; i++) {
        wide ^= (b >> i & 1u) != 0 ? a << i : 0;
    }
    for (unsigned i = 14; i >= 8; i--) {
        if ((wide >> i & 1u) != 0) wide ^= 0x11bu << (i - 8);
    }
    return (uint8_t)wide;
}

static uint8_t inverse(uint8_t a)
{
    uint8_t b = 1;
    while (product(a, b) != 1) {
        b++;
    }
    return b;
}

/* The products that FIPS 197 (4.2, 4.2.1) and the tests of HashiCorp Vault's field print. */
static void test_definition(void **state)
{
    (void)state;
    assert_int_equal(product(0x57, 0x83), 0xc1);
    assert_int_equal(product(0x57, 0x13), 0xfe);
    assert_int_equal(product(3, 7), 9);
    assert_int_equal(product(3, 0), 0);
    assert_int_equal(product(0x53, 0xca), 1);
}

/* With the secret 0 and t = 2 the share at x is c x: all pairs (c, x), x = 255 through combine. */
static void test_every_product(void **state)
{
    (void)state;
    static const uint8_t secret[32] = {0};
    static const uint8_t places[2] = {1, 2};
    for (unsigned base = 0; base < 256; base += 32) {
        uint8_t coeffs[32], shares[254][32], last[32];
        for (unsigned b = 0; b < 32; b++) {
            coeffs[b] = (uint8_t)(base + b);
        }
        assert_int_equal(shoal_shamir_split(secret, 2, 254, coeffs, shares, NULL), SHOAL_OK);
        assert_int_equal(
            shoal_shamir_combine(places, (const uint8_t(*)[32])shares, 2, 255, last, NULL),
            SHOAL_OK);
        for (unsigned b = 0; b < 32; b++) {
            for (unsigned x = 1; x < 255; x++) {
                assert_int_equal(shares[x - 1][b], product(base + b, x));
            }
            assert_int_equal(last[b], product(base + b, 255));
        }
    }
}

/* Every pair of places, at every distance from the value asked for: the line through two points,
 * by inverses found by search. */
static void test_every_line(void **state)
{
    (void)state;
    uint8_t rows[2][32], out[32], inverses[256] = {0};
    for (unsigned a = 1; a < 256; a++) {
        inverses[a] = inverse((uint8_t)a);
    }
    for (unsigned b = 0; b < 32; b++) {
        rows[0][b] = (uint8_t)(b * 37 + 11);
        rows[1][b] = (uint8_t)(b * 91 + 200);
    }
    for (unsigned x = 1; x < 255; x++) {
        for (unsigned y = 1; y < 255; y++) {
            if (x == y) continue;
            const uint8_t places[2] = {(uint8_t)x, (uint8_t)y};
            uint8_t at = (uint8_t)(x * 3 + y * 5);
            assert_int_equal(
                shoal_shamir_combine(places, (const uint8_t(*)[32])rows, 2, at, out, NULL),
                SHOAL_OK);
            for (unsigned b = 0; b < 32; b++) {
                uint8_t slope = product(rows[0][b] ^ rows[1][b], inverses[x ^ y]);
                assert_int_equal(out[b], rows[0][b] ^ product(slope, at ^ x));
            }
        }
    }
}

/* HMAC-SHA256 (RFC 2104) of 32 bytes under a key of at most 64. */
static void hmac(const uint8_t *key, size_t key_n, const uint8_t text[32], uint8_t out[32])
{
    uint8_t inner[96] = {0}, outer[96] = {0};
    memcpy(inner, key, key_n);
    memcpy(outer, key, key_n);
    for (size_t i = 0; i < 64; i++) {
        inner[i] ^= 0x36;
        outer[i] ^= 0x5c;
    }
    memcpy(inner + 64, text, 32);
    assert_int_equal(shoal_sha256(inner, 96, outer + 64, NULL), SHOAL_OK);
    assert_int_equal(shoal_sha256(outer, 96, out, NULL), SHOAL_OK);
}

/* SLIP-0039 begins with place 0, which is no place here. Adding 16 to every place is an affine map,
 * which leaves the degree alone; so the values at 255 and 254 are then at 239 and 238. */
static void test_slip39(void **state)
{
    (void)state;
    enum { SHIFT = 16 };
    size_t rows = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/slip39.vec"));
    for (; vec_next_line(&f); rows++) {
        uint8_t x[3], shares[3][32], want[32], got[32], check[32], mac[32];
        (void)vec_word(&f);
        size_t t = (size_t)vec_number(&f);
        for (size_t i = 0; i < t; i++) {
            x[i] = (uint8_t)(vec_number(&f) ^ SHIFT);
            vec_bytes(&f, shares[i], 32);
        }
        vec_bytes(&f, want, 32);
        const uint8_t(*points)[32] = (const uint8_t(*)[32])shares;
        assert_int_equal(shoal_shamir_combine(x, points, t, 255 ^ SHIFT, got, NULL), SHOAL_OK);
        assert_memory_equal(got, want, 32);
        assert_int_equal(shoal_shamir_combine(x, points, t, 254 ^ SHIFT, check, NULL), SHOAL_OK);
        hmac(check + 4, 28, got, mac);
        assert_memory_equal(check, mac, 4);
    }
    vec_close(&f);
    assert_int_equal(rows, 4);
}

/* The rows of `shares` in `set`, and their places. */
static size_t choose(unsigned set, uint8_t (*shares)[32], uint8_t *x, uint8_t (*rows)[32])
{
    size_t count = 0;
    for (unsigned i = 0; i < 8; i++) {
        if ((set >> i & 1u) == 0) continue;
        x[count] = (uint8_t)(i + 1);
        memcpy(rows[count++], shares[i], 32);
    }
    return count;
}

/* All t of n up to 6: every subset of at least t shares gives the secret, and every other share. */
static void test_every_small_sharing(void **state)
{
    (void)state;
    uint8_t secret[32], coeffs[5 * 32], shares[6][32], x[6], rows[6][32], out[32];
    for (size_t i = 0; i < sizeof coeffs; i++) {
        coeffs[i] = (uint8_t)(i * 167 + 3);
    }
    for (size_t i = 0; i < 32; i++) {
        secret[i] = (uint8_t)(i * 8 + 1);
    }
    for (size_t n = 1; n <= 6; n++) {
        for (size_t t = 1; t <= n; t++) {
            assert_int_equal(shoal_shamir_split(secret, t, n, coeffs, shares, NULL), SHOAL_OK);
            for (unsigned set = 1; set < 1u << n; set++) {
                size_t count = choose(set, shares, x, rows);
                for (uint8_t at = 0; count >= t && at <= n; at++) {
                    assert_int_equal(
                        shoal_shamir_combine(x, (const uint8_t(*)[32])rows, count, at, out, NULL),
                        SHOAL_OK);
                    assert_memory_equal(out, at == 0 ? secret : shares[at - 1], 32);
                }
            }
        }
    }
}

/* Perfect secrecy of two shares under t = 3, counted over all 65,536 coefficients: every pair of
 * values occurs exactly once, whatever the secret. */
static void test_two_shares_say_nothing(void **state)
{
    (void)state;
    static const uint8_t secrets[3] = {0, 1, 0xa7};
    static bool seen[65536];
    for (size_t s = 0; s < 3; s++) {
        memset(seen, 0, sizeof seen);
        for (unsigned c = 0; c < 65536; c += 32) { /* 32 second coefficients at once */
            uint8_t secret[32], coeffs[64], shares[5][32];
            memset(secret, secrets[s], 32);
            memset(coeffs, (int)(c >> 8), 32);
            for (unsigned b = 0; b < 32; b++) {
                coeffs[32 + b] = (uint8_t)((c & 255) + b);
            }
            assert_int_equal(shoal_shamir_split(secret, 3, 5, coeffs, shares, NULL), SHOAL_OK);
            for (unsigned b = 0; b < 32; b++) {
                unsigned pair = (unsigned)shares[1][b] << 8 | shares[4][b];
                assert_false(seen[pair]);
                seen[pair] = true;
            }
        }
    }
}

/* All 2^7 subsets of 7 shares, t = 4: exactly those of size >= 4 open; fewer give something else.
 */
static void test_every_subset(void **state)
{
    (void)state;
    uint8_t secret[32] = {0xaa, 1, 2, 3, 0xff};
    uint8_t coeffs[3 * 32];
    uint8_t shares[7][32];
    for (size_t i = 0; i < sizeof coeffs; i++) {
        coeffs[i] = (uint8_t)(i * 29 + 5);
    }
    assert_int_equal(shoal_shamir_split(secret, 4, 7, coeffs, shares, NULL), SHOAL_OK);
    for (unsigned set = 1; set < 128; set++) {
        uint8_t x[7];
        uint8_t rows[7][32];
        uint8_t out[32];
        size_t n = 0;
        for (unsigned i = 0; i < 7; i++) {
            if ((set >> i & 1u) == 0) continue;
            x[n] = (uint8_t)(i + 1);
            memcpy(rows[n++], shares[i], 32);
        }
        assert_int_equal(shoal_shamir_combine(x, (const uint8_t(*)[32])rows, n, 0, out, NULL),
                         SHOAL_OK);
        assert_int_equal(memcmp(out, secret, 32) == 0, n >= 4);
    }
}

/* Perfect secrecy, by counting: with t = 2 and all 256 coefficients, the share at x = 1 takes every
 * value exactly once whatever the secret, zero coefficients included. */
static void test_one_share_says_nothing(void **state)
{
    (void)state;
    for (unsigned s = 0; s < 256; s += 51) {
        bool seen[256] = {false};
        uint8_t secret[32] = {(uint8_t)s};
        for (unsigned c = 0; c < 256; c++) {
            uint8_t coeffs[32] = {(uint8_t)c};
            uint8_t shares[2][32];
            assert_int_equal(shoal_shamir_split(secret, 2, 2, coeffs, shares, NULL), SHOAL_OK);
            assert_false(seen[shares[0][0]]);
            seen[shares[0][0]] = true;
        }
    }
}

/* Every value of the polynomial follows from any t shares: the other shares, the used ones, places
 * that nobody holds, 0. Checked against sharing itself, with the largest n. */
static void test_evaluate(void **state)
{
    (void)state;
    enum { T = 19, N = 254 };
    static uint8_t coeffs[(T - 1) * 32];
    static uint8_t shares[N][32], out[N + 1][32], rows[T][32];
    uint8_t x[T], at[N + 1];
    const uint8_t secret[32] = {9, 8, 7};
    for (size_t i = 0; i < sizeof coeffs; i++) {
        coeffs[i] = (uint8_t)(i * i * 7 + i);
    }
    assert_int_equal(shoal_shamir_split(secret, T, N, coeffs, shares, NULL), SHOAL_OK);
    for (size_t i = 0; i < T; i++) {
        x[i] = (uint8_t)(1 + i * 13);
        memcpy(rows[i], shares[x[i] - 1], 32);
    }
    for (size_t i = 0; i <= N; i++) {
        at[i] = (uint8_t)i;
    }
    assert_int_equal(shoal_shamir_evaluate(x, (const uint8_t(*)[32])rows, T, at, N + 1, out, NULL),
                     SHOAL_OK);
    assert_memory_equal(out[0], secret, 32);
    assert_memory_equal(out[1], shares, sizeof shares);
    x[1] = x[0];
    assert_int_equal(shoal_shamir_evaluate(x, (const uint8_t(*)[32])rows, T, at, N + 1, out, NULL),
                     SHOAL_ERR_FORMAT);
}

static void test_bad_points(void **state)
{
    (void)state;
    const uint8_t rows[3][32] = {{1}, {2}, {3}};
    uint8_t out[32];
    uint8_t shares[2][32];
    const uint8_t zero[3] = {1, 0, 2};
    const uint8_t twice[3] = {1, 2, 1};
    const uint8_t high[3] = {1, 2, 255};
    assert_int_equal(shoal_shamir_combine(zero, rows, 3, 0, out, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_shamir_combine(twice, rows, 3, 0, out, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_shamir_combine(high, rows, 3, 0, out, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_shamir_combine(zero, rows, 0, 0, out, NULL), SHOAL_ERR_ARG);
    assert_int_equal(shoal_shamir_split(rows[0], 3, 2, rows[0], shares, NULL), SHOAL_ERR_ARG);
    assert_int_equal(shoal_shamir_split(rows[0], 0, 2, rows[0], shares, NULL), SHOAL_ERR_ARG);
    assert_int_equal(shoal_shamir_split(rows[0], 1, 255, rows[0], shares, NULL), SHOAL_ERR_ARG);
}

/* What locate finds, for errors in random bytes of random shares: up to (m - t) / 2 exactly those;
 * beyond, nothing, or a set after which all others lie on one polynomial. */
static void locate_case(shoal_rng *rng, size_t m, size_t t, size_t errors)
{
    static uint8_t coeffs[254 * 32], shares[254][32], at[254][32];
    static uint8_t x[254];
    static bool wrong[254], bad[254];
    uint8_t secret[32];
    size_t order[254];
    for (size_t i = 0; i < sizeof coeffs; i++) {
        coeffs[i] = (uint8_t)shoal_rng_u64(rng);
    }
    memcpy(secret, coeffs + 5, 32);
    assert_int_equal(shoal_shamir_split(secret, t, m, coeffs, shares, NULL), SHOAL_OK);
    for (size_t i = 0; i < m; i++) {
        x[i] = (uint8_t)(i + 1);
        order[i] = i;
        bad[i] = false;
    }
    shoal_rng_shuffle(rng, order, m);
    for (size_t e = 0; e < errors; e++) {
        size_t bytes = 1 + (size_t)shoal_rng_below(rng, 4);
        bad[order[e]] = true;
        for (size_t b = 0; b < bytes; b++) { /* distinct bytes: no error undoes another */
            shares[order[e]][(order[e] * 7 + b) % 32] ^= (uint8_t)(1 + shoal_rng_below(rng, 255));
        }
    }
    bool found = shoal_shamir_locate(x, (const uint8_t(*)[32])shares, m, t, wrong);
    if (2 * errors <= m - t) {
        assert_true(found);
        assert_memory_equal(wrong, bad, m * sizeof *wrong);
        return;
    }
    if (!found) return;
    size_t good = 0;
    static uint8_t gx[254], gs[254][32];
    for (size_t i = 0; i < m; i++) {
        if (wrong[i]) continue;
        gx[good] = x[i];
        memcpy(gs[good++], shares[i], 32);
    }
    assert_true(2 * (m - good) <= m - t);
    assert_int_equal(shoal_shamir_evaluate(gx, (const uint8_t(*)[32])gs, t, gx, good, at, NULL),
                     SHOAL_OK);
    assert_memory_equal(at, gs, good * 32);
}

static void test_false_shares_are_located(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(9);
    static const size_t SIZES[][2] = {{3, 1},   {5, 4},   {7, 5},    {10, 7},
                                      {26, 16}, {78, 52}, {254, 200}};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        size_t m = SIZES[i][0], t = SIZES[i][1];
        for (size_t errors = 0; errors <= (m - t) / 2 + 2 && errors <= m; errors++) {
            for (size_t again = 0; again < (m > 100 ? 2 : 12); again++) {
                locate_case(&rng, m, t, errors);
            }
        }
    }
    bool wrong[3];
    static const uint8_t same[3] = {1, 2, 2};
    static const uint8_t none[3][32];
    assert_false(shoal_shamir_locate(same, none, 3, 1, wrong));
    assert_false(shoal_shamir_locate(same, none, 2, 3, wrong));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_every_product),
        cmocka_unit_test(test_every_line),
        cmocka_unit_test(test_slip39),
        cmocka_unit_test(test_every_small_sharing),
        cmocka_unit_test(test_every_subset),
        cmocka_unit_test(test_two_shares_say_nothing),
        cmocka_unit_test(test_one_share_says_nothing),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_bad_points),
        cmocka_unit_test(test_false_shares_are_located),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
