/* test_rfc8439.c - every vector that RFC 8439 prints (tests/kat/rfc8439.vec). The wrapper shows
 * only the AEAD and a key stream with a zero nonce; what lies beneath it, block function, cipher,
 * Poly1305 and its key, is asked of the library directly, since the wrapper's answers rest on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <mbedtls/chacha20.h>
#include <mbedtls/poly1305.h>

#include "kernels/base/cpu.h"
#include "kernels/kernels.h"
#include "proto/crypto.h"
#include "tests/support/vec_file.h"

enum { TEXT_MAX = 512 };

static size_t take(vec_file *f, uint8_t out[TEXT_MAX])
{
    size_t n = (size_t)vec_number(f);
    assert_true(n <= TEXT_MAX);
    vec_bytes(f, out, n);
    return n;
}

/* The mask kernels, where the nonce is theirs. */
static void check_kernels(const uint8_t key[32], uint32_t counter, const uint8_t *plain,
                          const uint8_t *want, size_t n)
{
    static const uint32_t masks[] = {0, SHOAL_CPU_ALL};
    for (size_t level = 0; level < 2; level++) {
        shoal_exec ex;
        uint32_t k[8], words[TEXT_MAX / 4] = {0};
        assert_int_equal(shoal_exec_open(&ex, NULL, masks[level], false, NULL), SHOAL_OK);
        for (size_t i = 0; i < 8; i++) {
            k[i] = (uint32_t)key[4 * i] | (uint32_t)key[4 * i + 1] << 8 |
                   (uint32_t)key[4 * i + 2] << 16 | (uint32_t)key[4 * i + 3] << 24;
        }
        assert_true(shoal_chacha_add(&ex, k, (uint64_t)counter * 16, words, (n + 3) / 4, false));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(plain[i] ^ (uint8_t)(words[i / 4] >> (8 * (i % 4))), want[i]);
        }
        shoal_exec_close(&ex);
    }
}

static void check_chacha(vec_file *f)
{
    static const uint8_t no_nonce[12] = {0};
    uint8_t key[32], nonce[12], plain[TEXT_MAX], want[TEXT_MAX], got[TEXT_MAX];
    vec_bytes(f, key, 32);
    vec_bytes(f, nonce, 12);
    uint32_t counter = (uint32_t)vec_number(f);
    size_t n = take(f, plain);
    vec_bytes(f, want, n);
    assert_int_equal(mbedtls_chacha20_crypt(key, nonce, counter, n, plain, got), 0);
    assert_memory_equal(got, want, n);
    if (memcmp(nonce, no_nonce, sizeof nonce) == 0) check_kernels(key, counter, plain, want, n);
}

static void check_poly(vec_file *f)
{
    uint8_t key[32], text[TEXT_MAX], want[16], got[16];
    vec_bytes(f, key, 32);
    size_t n = take(f, text);
    vec_bytes(f, want, 16);
    assert_int_equal(mbedtls_poly1305_mac(key, text, n, got), 0);
    assert_memory_equal(got, want, 16);
}

static void check_keygen(vec_file *f)
{
    static const uint8_t zeros[32] = {0};
    uint8_t key[32], nonce[12], want[32], got[32];
    vec_bytes(f, key, 32);
    vec_bytes(f, nonce, 12);
    vec_bytes(f, want, 32);
    assert_int_equal(mbedtls_chacha20_crypt(key, nonce, 0, 32, zeros, got), 0);
    assert_memory_equal(got, want, 32);
}

static void check_aead(vec_file *f)
{
    uint8_t key[32], nonce[12], aad[TEXT_MAX], plain[TEXT_MAX];
    uint8_t want[TEXT_MAX + 16], got[TEXT_MAX + 16];
    vec_bytes(f, key, 32);
    vec_bytes(f, nonce, 12);
    size_t aad_n = take(f, aad);
    size_t n = take(f, plain);
    vec_bytes(f, want, n + 16);
    shoal_aead_in in = {key, nonce, aad, aad_n};
    assert_int_equal(shoal_aead_seal(&in, plain, n, got, NULL), SHOAL_OK);
    assert_memory_equal(got, want, n + 16);
    assert_int_equal(shoal_aead_open(&in, want, n + 16, got, NULL), SHOAL_OK);
    assert_memory_equal(got, plain, n);
}

static void test_every_vector(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        void (*check)(vec_file *f);
    } kinds[] = {{"chacha", check_chacha},
                 {"poly", check_poly},
                 {"keygen", check_keygen},
                 {"aead", check_aead}};
    size_t rows[4] = {0};
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/rfc8439.vec"));
    while (vec_next_line(&f)) {
        const char *kind = vec_word(&f);
        (void)vec_word(&f); /* the section */
        for (size_t k = 0; k < 4; k++) {
            if (strcmp(kind, kinds[k].kind) != 0) continue;
            kinds[k].check(&f);
            rows[k]++;
        }
    }
    vec_close(&f);
    assert_int_equal(rows[0], 9);
    assert_int_equal(rows[1], 12);
    assert_int_equal(rows[2], 4);
    assert_int_equal(rows[3], 1); /* 2.8.2 is in test_crypto.c */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_vector)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
