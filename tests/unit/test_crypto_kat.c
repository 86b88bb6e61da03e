/* test_crypto_kat.c - edge cases of every primitive through the project's wrapper. The vectors come
 * from tests/kat/gen/primitive_vectors.py, an implementation of its own; what the RFCs and FIPS
 * print themselves stands in test_crypto.c and test_rfc8439.c. Everything runs by mbedTLS alone and
 * again with libcrypto, where the machine has it. Spec 1.2, Spec 1.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/crypto_libcrypto.h"
#include "proto/mask.h"
#include "tests/support/vec_file.h"

static uint8_t *take(vec_file *f, size_t *n)
{
    *n = (size_t)vec_number(f);
    uint8_t *p = shoal_calloc(*n + 1, 1);
    assert_non_null(p);
    vec_bytes(f, p, *n);
    return p;
}

/* Points at 0, 1, p and above, on the twist, of low order (refused), with the masked top bit. */
static void test_x25519(void **state)
{
    (void)state;
    static const uint8_t zero[32] = {0};
    static const uint8_t base[32] = {9};
    uint8_t secret[32], point[32], want[32], got[32];
    size_t rows = 0, refused = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/x25519.vec"));
    for (; vec_next_line(&f); rows++) {
        vec_bytes(&f, secret, 32);
        vec_bytes(&f, point, 32);
        vec_bytes(&f, want, 32);
        bool usable = memcmp(want, zero, 32) != 0;
        refused += usable ? 0 : 1;
        memset(got, 0xee, 32);
        assert_int_equal(shoal_x25519(got, secret, point, NULL),
                         usable ? SHOAL_OK : SHOAL_ERR_TAMPERED);
        assert_memory_equal(got, want, 32); /* zeroed when refused */
        if (memcmp(point, base, 32) == 0) {
            assert_int_equal(shoal_x25519_public(got, secret, NULL), SHOAL_OK);
            assert_memory_equal(got, want, 32);
        }
    }
    vec_close(&f);
    assert_int_equal(rows, 94);
    assert_int_equal(refused, 15);
}

static void check_signing(vec_file *f, const char *name)
{
    uint8_t scalar[32], digest[32], want[SHOAL_SIG_BYTES], got[SHOAL_SIG_BYTES];
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key *key = NULL;
    vec_bytes(f, scalar, 32);
    vec_bytes(f, digest, 32);
    vec_bytes(f, want, sizeof want);
    assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
    assert_int_equal(shoal_sign(key, digest, got, NULL), SHOAL_OK);
    if (memcmp(got, want, sizeof want) != 0) fail_msg("signature %s differs", name);
    shoal_key_spki(key, spki);
    assert_int_equal(shoal_verify(spki, digest, got, NULL), SHOAL_OK);
    shoal_key_close(key);
}

static void check_verdict(vec_file *f, const char *name)
{
    uint8_t spki[SHOAL_SPKI_BYTES], digest[32], sig[SHOAL_SIG_BYTES];
    vec_bytes(f, spki, sizeof spki);
    vec_bytes(f, digest, 32);
    vec_bytes(f, sig, sizeof sig);
    shoal_status want = vec_number(f) == 1 ? SHOAL_OK : SHOAL_ERR_TAMPERED;
    if (shoal_verify(spki, digest, sig, NULL) != want) fail_msg("%s: the wrong verdict", name);
}

/* r, s at 0, n and around, high s, special hashes, sums that double or vanish, keys that are none;
 * signatures with the nonces of RFC 6979. */
static void test_ecdsa(void **state)
{
    (void)state;
    size_t signed_rows = 0, rows = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/ecdsa.vec"));
    for (; vec_next_line(&f); rows++) {
        bool signing = strcmp(vec_word(&f), "sign") == 0;
        const char *name = vec_word(&f);
        if (signing) {
            signed_rows++;
            check_signing(&f, name);
        } else {
            check_verdict(&f, name);
        }
    }
    vec_close(&f);
    assert_int_equal(signed_rows, 16);
    assert_int_equal(rows, 119);
}

/* A scalar of 0, n and above is no key. */
static void test_private_range(void **state)
{
    (void)state;
    static const char *const none[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"};
    uint8_t scalar[32];
    shoal_key *key = NULL;
    for (size_t i = 0; i < 4; i++) {
        assert_true(shoal_hex_decode(none[i], scalar, 32));
        assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_ERR_FORMAT);
        assert_null(key);
    }
    assert_true(shoal_hex_decode(none[1], scalar, 32));
    scalar[31]--; /* n - 1 */
    assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
    shoal_key_close(key);
}

typedef struct sealed_case {
    shoal_aead_in in;
    uint8_t key[32], nonce[12];
    uint8_t *aad, *plain, *sealed;
    size_t n;
} sealed_case;

/* Opening must fail and leave zeros. */
static void assert_closed(const shoal_aead_in *in, const uint8_t *sealed, size_t n)
{
    uint8_t out[600];
    memset(out, 0xee, sizeof out);
    assert_int_equal(shoal_aead_open(in, sealed, n, out, NULL), SHOAL_ERR_TAMPERED);
    for (size_t i = 0; i + SHOAL_AEAD_TAG_BYTES < n; i++) {
        assert_int_equal(out[i], 0);
    }
}

static void assert_every_change_refused(sealed_case *c)
{
    size_t all = c->n + SHOAL_AEAD_TAG_BYTES;
    for (size_t i = 0; i < all; i++) {
        c->sealed[i] ^= (uint8_t)(1u << (i % 8));
        assert_closed(&c->in, c->sealed, all);
        c->sealed[i] ^= (uint8_t)(1u << (i % 8));
    }
    for (size_t i = 0; i < c->in.aad_n; i++) {
        c->aad[i] ^= 0x10;
        assert_closed(&c->in, c->sealed, all);
        c->aad[i] ^= 0x10;
    }
    for (size_t cut = 1; cut <= all && cut <= 33; cut++) {
        assert_closed(&c->in, c->sealed, all - cut);
    }
    assert_closed(&c->in, c->sealed, all + 1); /* a zero byte follows */
    c->nonce[11] ^= 1;
    assert_closed(&c->in, c->sealed, all);
    c->nonce[11] ^= 1;
    c->key[0] ^= 1;
    assert_closed(&c->in, c->sealed, all);
    c->key[0] ^= 1;
    shoal_aead_in shorter = c->in; /* a byte of the associated data moved away */
    if (shorter.aad_n > 0) {
        shorter.aad_n--;
        assert_closed(&shorter, c->sealed, all);
    }
}

/* Lengths at block edges; Poly1305 sums that end at 0, p - 1, 2^128 and other carries. */
static void test_aead(void **state)
{
    (void)state;
    size_t rows = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/aead.vec"));
    for (; vec_next_line(&f); rows++) {
        sealed_case c = {.n = 0};
        uint8_t out[600];
        (void)vec_word(&f);
        vec_bytes(&f, c.key, 32);
        vec_bytes(&f, c.nonce, 12);
        c.aad = take(&f, &c.in.aad_n);
        c.plain = take(&f, &c.n);
        c.sealed = shoal_calloc(c.n + SHOAL_AEAD_TAG_BYTES + 1, 1);
        vec_bytes(&f, c.sealed, c.n + SHOAL_AEAD_TAG_BYTES);
        c.in.key = c.key;
        c.in.nonce = c.nonce;
        c.in.aad = c.aad;
        assert_int_equal(shoal_aead_seal(&c.in, c.plain, c.n, out, NULL), SHOAL_OK);
        assert_memory_equal(out, c.sealed, c.n + SHOAL_AEAD_TAG_BYTES);
        assert_int_equal(shoal_aead_open(&c.in, c.sealed, c.n + SHOAL_AEAD_TAG_BYTES, out, NULL),
                         SHOAL_OK);
        assert_memory_equal(out, c.plain, c.n);
        assert_every_change_refused(&c);
        shoal_free(c.aad);
        shoal_free(c.plain);
        shoal_free(c.sealed);
    }
    vec_close(&f);
    assert_int_equal(rows, 69);
}

static void test_hkdf(void **state)
{
    (void)state;
    size_t rows = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/hkdf.vec"));
    for (; vec_next_line(&f); rows++) {
        size_t salt_n, ikm_n, info_n, n;
        uint8_t *salt = take(&f, &salt_n);
        uint8_t *ikm = take(&f, &ikm_n);
        uint8_t *info = take(&f, &info_n);
        uint8_t *want = take(&f, &n);
        uint8_t *got = shoal_calloc(n, 1);
        assert_int_equal(shoal_hkdf(salt, salt_n, ikm, ikm_n, info, info_n, got, n, NULL),
                         SHOAL_OK);
        assert_memory_equal(got, want, n);
        if (salt_n == 0) { /* RFC 5869, 2.2: no salt is 32 zero bytes */
            static const uint8_t zeros[32] = {0};
            assert_int_equal(shoal_hkdf(zeros, 32, ikm, ikm_n, info, info_n, got, n, NULL),
                             SHOAL_OK);
            assert_memory_equal(got, want, n);
        }
        shoal_free(salt);
        shoal_free(ikm);
        shoal_free(info);
        shoal_free(want);
        shoal_free(got);
    }
    vec_close(&f);
    assert_int_equal(rows, 12);
}

static void fill_text(uint8_t *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + 11);
    }
}

/* Every length around the block's edges, whole and streamed in two and in small pieces. */
static void test_sha256(void **state)
{
    (void)state;
    enum { MAX = 262145 };
    uint8_t *text = shoal_calloc(MAX, 1);
    uint8_t want[32], got[32];
    size_t rows = 0;
    vec_file f;
    assert_non_null(text);
    fill_text(text, MAX);
    assert_true(vec_open(&f, "tests/kat/sha256.vec"));
    for (; vec_next_line(&f); rows++) {
        size_t n = (size_t)vec_number(&f);
        vec_bytes(&f, want, 32);
        assert_int_equal(shoal_sha256(text, n, got, NULL), SHOAL_OK);
        assert_memory_equal(got, want, 32);
        for (size_t cut = 0; cut <= n && n <= 130; cut++) {
            shoal_sha256_ctx c;
            shoal_sha256_init(&c);
            shoal_sha256_update(&c, text, cut);
            shoal_sha256_update(&c, text + cut, n - cut);
            assert_int_equal(shoal_sha256_final(&c, got, NULL), SHOAL_OK);
            assert_memory_equal(got, want, 32);
        }
        shoal_sha256_ctx c;
        shoal_sha256_init(&c);
        for (size_t at = 0, step = 1; at < n; at += step, step = step % 61 + 1) {
            shoal_sha256_update(&c, text + at, n - at < step ? n - at : step);
        }
        assert_int_equal(shoal_sha256_final(&c, got, NULL), SHOAL_OK);
        assert_memory_equal(got, want, 32);
    }
    vec_close(&f);
    shoal_free(text);
    assert_int_equal(rows, 144);
}

/* The mask stream in every kernel this processor has, up to the last block there is. */
static void test_chacha(void **state)
{
    (void)state;
    static const uint32_t masks[] = {0, SHOAL_CPU_AVX2 | SHOAL_CPU_NEON, SHOAL_CPU_ALL};
    uint32_t *words = shoal_calloc(100003, sizeof *words);
    uint8_t *bytes = shoal_calloc(100003, 4);
    for (size_t level = 0; level < 3; level++) {
        shoal_exec ex;
        vec_file f;
        assert_int_equal(shoal_exec_open(&ex, NULL, masks[level], false, NULL), SHOAL_OK);
        assert_true(vec_open(&f, "tests/kat/chacha.vec"));
        size_t rows = 0;
        for (; vec_next_line(&f); rows++) {
            uint8_t key[32], want[32], got[32];
            uint32_t k[8];
            vec_bytes(&f, key, 32);
            uint64_t block = vec_number(&f);
            size_t n = (size_t)vec_number(&f);
            vec_bytes(&f, want, 32);
            shoal_cursor c = shoal_cursor_init(key, 32);
            for (size_t i = 0; i < 8; i++) {
                k[i] = shoal_cursor_u32(&c);
            }
            memset(words, 0, n * sizeof *words);
            assert_true(shoal_chacha_add(&ex, k, block * 16, words, n, false));
            for (size_t i = 0; i < 4 * n; i++) {
                bytes[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
            }
            assert_int_equal(shoal_sha256(bytes, 4 * n, got, NULL), SHOAL_OK);
            assert_memory_equal(got, want, 32);
        }
        vec_close(&f);
        shoal_exec_close(&ex);
        assert_int_equal(rows, 8);
    }
    shoal_free(words);
    shoal_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x25519),        cmocka_unit_test(test_ecdsa),
        cmocka_unit_test(test_private_range), cmocka_unit_test(test_aead),
        cmocka_unit_test(test_hkdf),          cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_chacha),
    };
    shoal_libcrypto_allow(false);
    int failed = cmocka_run_group_tests_name("by mbedTLS", tests, NULL, NULL);
    shoal_libcrypto_allow(true);
    if (!shoal_libcrypto_ready()) return failed;
    return failed + cmocka_run_group_tests_name("with libcrypto", tests, NULL, NULL);
}
