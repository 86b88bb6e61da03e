/* test_shamir.c - tests/kat/shamir.vec (independent Python), every subset of shares, and secrecy of
 * t - 1 of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_subset),
        cmocka_unit_test(test_one_share_says_nothing),
        cmocka_unit_test(test_bad_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
