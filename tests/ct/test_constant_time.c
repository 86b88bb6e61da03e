/* test_constant_time.c - secrets are marked undefined, the code runs under valgrind's memcheck, and
 * every branch or address that depends on one is an error.
 *
 *     valgrind --suppressions=tests/ct/libraries.supp test_constant_time
 *
 * What the code itself declares public: kernels/base/secret.h. What mbedTLS and libcrypto do inside
 * is suppressed and not claimed (SECURITY.md). The first tests are the control: functions that leak
 * on purpose must be caught, or the rest proves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <valgrind/memcheck.h>

#include "kernels/base/buf.h"
#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/codec.h"
#include "proto/crypto.h"
#include "proto/crypto_libcrypto.h"
#include "proto/join_link.h"
#include "proto/mask.h"
#include "proto/shamir.h"
#include "tests/support/sa_cohort.h"

static void secret(const void *p, size_t n)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n);
}

static void fill(void *p, size_t n, unsigned seed)
{
    uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        b[i] = (uint8_t)(i * 151 + seed * 29 + 7);
    }
}

/* Each test: no error between its begin and its end. */
static unsigned g_before;

static int begin(void **state)
{
    (void)state;
    g_before = (unsigned)VALGRIND_COUNT_ERRORS;
    return 0;
}

static int end_clean(void **state)
{
    (void)state;
    unsigned found = (unsigned)VALGRIND_COUNT_ERRORS - g_before;
    if (found > 0) print_error("%u places depend on a secret\n", found);
    return found == 0 ? 0 : -1;
}

static int end_caught(void **state)
{
    (void)state;
    unsigned found = (unsigned)VALGRIND_COUNT_ERRORS - g_before;
    if (found == 0) print_error("a leak on purpose was not caught\n");
    return found > 0 ? 0 : -1;
}

/* ---- controls: each of these leaks ---- */

static volatile uint8_t g_sink;

static void test_control_early_exit(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    size_t i = 0;
    fill(a, 32, 1);
    fill(b, 32, 1);
    b[20] ^= 1;
    secret(a, 32);
    const volatile uint8_t *at = a;
    while (i < 32 && at[i] == b[i]) {
        i++;
    }
    g_sink = (uint8_t)i;
}

static void test_control_table(void **state)
{
    (void)state;
    static uint8_t table[256];
    uint8_t index = 9;
    fill(table, sizeof table, 2);
    secret(&index, 1);
    g_sink = ((volatile uint8_t *)table)[index];
}

/* A field multiplication that skips the zero bits of its factor. */
static void test_control_multiply(void **state)
{
    (void)state;
    volatile uint8_t b = 0x53;
    g_sink = 0;
    secret((const void *)(uintptr_t)&b, 1);
    for (unsigned i = 0; i < 8; i++) {
        if ((b >> i & 1) != 0) g_sink = (uint8_t)(g_sink ^ 0xcau << i); /* a store: no cmov */
    }
}

/* ---- Shamir ---- */

static void test_shamir(void **state)
{
    (void)state;
    enum { T = 5, N = 9 };
    uint8_t value[32], coeffs[32 * (T - 1)], shares[N][32], again[32];
    uint8_t x[T];
    fill(value, 32, 3);
    fill(coeffs, sizeof coeffs, 4);
    secret(value, 32);
    secret(coeffs, sizeof coeffs);
    assert_int_equal(shoal_shamir_split(value, T, N, coeffs, shares, NULL), SHOAL_OK);
    for (size_t i = 0; i < T; i++) {
        x[i] = (uint8_t)(i + 3);
    }
    const uint8_t(*rows)[32] = (const uint8_t(*)[32])(shares + 2);
    assert_int_equal(shoal_shamir_combine(x, rows, T, 0, again, NULL), SHOAL_OK);
    assert_true(shoal_equal(again, value, 32));
    assert_int_equal(shoal_shamir_combine(x, rows, T, 200, again, NULL), SHOAL_OK);
}

/* ---- comparisons, tokens ---- */

static void test_equal(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    fill(a, 32, 5);
    fill(b, 32, 5);
    secret(a, 32);
    secret(b, 32);
    assert_true(shoal_equal(a, b, 32));
    b[0] ^= 0x80;
    assert_false(shoal_equal(a, b, 32));
    b[0] ^= 0x80;
    b[31] ^= 1;
    assert_false(shoal_equal(a, b, 32));
}

/* A join token on its way into a link, out of one, and to the hash that the server compares. */
static void test_token(void **state)
{
    (void)state;
    shoal_join_link l = {.host = "shoal.example", .port = 443};
    uint8_t token[SHOAL_TOKEN_BYTES], hash[32], kept[32];
    char hex[2 * SHOAL_TOKEN_BYTES + 1];
    shoal_buf text = shoal_buf_init(SHOAL_LIMIT_LINK);
    fill(l.token, sizeof l.token, 6);
    secret(l.token, sizeof l.token);
    assert_int_equal(shoal_join_link_encode(&l, &text, NULL), SHOAL_OK);
    shoal_buf_wipe(&text);
    shoal_hex_encode(l.token, sizeof l.token, hex);
    assert_true(shoal_hex_decode(hex, token, sizeof token));
    assert_true(shoal_equal(token, l.token, sizeof token));
    assert_int_equal(shoal_sha256(token, sizeof token, hash, NULL), SHOAL_OK);
    assert_int_equal(shoal_sha256(l.token, sizeof token, kept, NULL), SHOAL_OK);
    assert_true(shoal_equal(hash, kept, 32));
}

/* ---- symmetric ---- */

static void test_aead(void **state)
{
    (void)state;
    uint8_t key[32], nonce[12], plain[64], sealed[80], out[64];
    fill(key, 32, 7);
    fill(nonce, 12, 8);
    fill(plain, 64, 9);
    secret(key, 32);
    secret(plain, 64);
    shoal_aead_in in = {key, nonce, "aad", 3};
    assert_int_equal(shoal_aead_seal(&in, plain, 64, sealed, NULL), SHOAL_OK);
    assert_int_equal(shoal_aead_open(&in, sealed, 80, out, NULL), SHOAL_OK);
    sealed[70] ^= 1;
    assert_int_equal(shoal_aead_open(&in, sealed, 80, out, NULL), SHOAL_ERR_TAMPERED);
}

static void test_hkdf(void **state)
{
    (void)state;
    uint8_t ikm[32], salt[32], out[64];
    fill(ikm, 32, 10);
    fill(salt, 32, 11);
    secret(ikm, 32);
    assert_int_equal(shoal_hkdf(salt, 32, ikm, 32, "info", 4, out, 64, NULL), SHOAL_OK);
}

/* ---- masks and codec, by the C kernels and by AVX2 (memcheck knows no AVX-512) ---- */

static const uint32_t kernels[] = {0, SHOAL_CPU_AVX2 | SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD};

static void test_mask(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint8_t b[32], sk[32], other[32], pk[32], key[32], ctx[32], roster[32];
    uint32_t words[N];
    fill(b, 32, 12);
    fill(sk, 32, 13);
    fill(other, 32, 14);
    fill(ctx, 32, 15);
    fill(roster, 32, 16);
    assert_int_equal(shoal_x25519_public(pk, other, NULL), SHOAL_OK);
    secret(b, 32);
    secret(sk, 32);
    for (size_t level = 0; level < 2; level++) {
        shoal_exec ex;
        shoal_mask_scope scope = {ctx, roster};
        assert_int_equal(shoal_exec_open(&ex, NULL, kernels[level], false, NULL), SHOAL_OK);
        fill(words, sizeof words, 17);
        secret(words, sizeof words);
        shoal_key_stream streams[2];
        assert_int_equal(shoal_mask_self_key(&scope, b, 3, key, NULL), SHOAL_OK);
        streams[0] = shoal_mask_stream(key, false);
        uint8_t shared[32];
        assert_int_equal(shoal_x25519(shared, sk, pk, NULL), SHOAL_OK);
        assert_int_equal(shoal_mask_pair_key(&scope, shared, 3, 4, key, NULL), SHOAL_OK);
        streams[1] = shoal_mask_stream(key, true);
        assert_int_equal(shoal_mask_apply_all(&ex, streams, 2, words, N - 3, NULL), SHOAL_OK);
        uint8_t packed[N * 4];
        shoal_pack(words, N, 20, packed);
        shoal_exec_close(&ex);
    }
}

/* An update on its way into the ring: clipped and not, with values of every size. */
static void encode_update(const shoal_exec *ex, uint32_t rotation, double clip)
{
    enum { DIM = 2100 };
    static float x[DIM];
    static uint32_t words[DIM + 1];
    static uint8_t keys[2][32];
    shoal_codec c = {.dim = DIM,
                     .ring_bits = 24,
                     .clip_norm = clip,
                     .rotation = rotation,
                     .weight_max = 8,
                     .n_max = 8};
    shoal_codec_keys k = {.rounding = keys[0], .rotation = keys[1]};
    for (size_t i = 0; i < DIM; i++) {
        x[i] = i % 7 == 0 ? 0.0F : i % 11 == 0 ? 1e-40F : 0.001F * (float)(i % 23) - 0.01F;
    }
    fill(keys, sizeof keys, 18);
    assert_int_equal(shoal_codec_fit_scale(&c, NULL), SHOAL_OK);
    secret(x, sizeof x);
    secret(keys[0], 32);
    assert_int_equal(shoal_codec_encode(ex, &c, x, 5, &k, words, NULL, NULL), SHOAL_OK);
}

static void test_codec(void **state)
{
    (void)state;
    for (size_t level = 0; level < 2; level++) {
        shoal_exec ex;
        assert_int_equal(shoal_exec_open(&ex, NULL, kernels[level], false, NULL), SHOAL_OK);
        encode_update(&ex, 0, 100.0);
        encode_update(&ex, 0, 0.01);
        encode_update(&ex, 10, 0.01);
        shoal_exec_close(&ex);
    }
}

/* ---- keys ---- */

static void test_x25519(void **state)
{
    (void)state;
    uint8_t a[32], b[32], pk[32], shared[32];
    fill(a, 32, 19);
    fill(b, 32, 20);
    assert_int_equal(shoal_x25519_public(pk, b, NULL), SHOAL_OK);
    secret(a, 32);
    assert_int_equal(shoal_x25519(shared, a, pk, NULL), SHOAL_OK);
    assert_int_equal(shoal_x25519_public(pk, a, NULL), SHOAL_OK);
    assert_true(pk[0] < 255 || pk[1] <= 255); /* public by now: a branch is no error */
}

static void test_identity_key(void **state)
{
    (void)state;
    uint8_t scalar[32], digest[32], sig[SHOAL_SIG_BYTES], spki[SHOAL_SPKI_BYTES];
    shoal_key *key = NULL, *again = NULL;
    shoal_buf der = shoal_buf_init(4096);
    fill(scalar, 32, 21);
    fill(digest, 32, 22);
    secret(scalar, 32);
    assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
    assert_int_equal(shoal_sign(key, digest, sig, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_encode_der(key, &der, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_load(&again, der.data, der.len, NULL), SHOAL_OK);
    shoal_buf_wipe(&der);
    assert_int_equal(shoal_key_encode_pem(key, &der, NULL), SHOAL_OK);
    shoal_buf_wipe(&der);
    shoal_key_close(again);
    shoal_key_close(key);
}

/* ---- a whole session ---- */

static shoal_status draw_secret(void *ctx, void *out, size_t n, shoal_error *err)
{
    const shoal_entropy *source = ctx;
    SHOAL_TRY(source->fill(source->ctx, out, n, err));
    secret(out, n);
    return SHOAL_OK;
}

/* Device 0 draws secrets only: its keys, b, coefficients, the nonces too. What it sends is public
 * the moment it is sent, and not before. */
static void test_device(void **state)
{
    (void)state;
    enum { DEVICES = 4 }; /* of which three suffice */
    static cohort c;
    cohort_open(&c, DEVICES, 20, 7);
    cohort_start(&c);
    shoal_entropy marked = {draw_secret, &c.dev[0].entropy.source};
    shoal_sa_client_options opt = cohort_options(&c, 0);
    shoal_sa_client_close(c.dev[0].client);
    opt.entropy = &marked;
    assert_int_equal(
        shoal_sa_client_open(&c.dev[0].client, &opt, c.descriptor.data, c.descriptor.len, NULL),
        SHOAL_OK);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        for (size_t i = 0; i < DEVICES; i++) {
            if (stage >= SHOAL_SA_INPUT && i == 2) continue; /* leaves before its input */
            assert_int_equal(cohort_answer(&c, i, stage), SHOAL_OK);
            const shoal_buf *sent = &c.dev[i].sent[stage];
            (void)VALGRIND_MAKE_MEM_DEFINED(sent->data, sent->len);
            assert_int_equal(cohort_send(&c, i, stage), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
    }
    cohort_check_sum(&c, 0xb);
    cohort_close(&c);
}

int main(void)
{
    const struct CMUnitTest controls[] = {
        cmocka_unit_test_setup_teardown(test_control_early_exit, begin, end_caught),
        cmocka_unit_test_setup_teardown(test_control_table, begin, end_caught),
        cmocka_unit_test_setup_teardown(test_control_multiply, begin, end_caught),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shamir, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_equal, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_token, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_aead, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_hkdf, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_mask, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_codec, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_x25519, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_identity_key, begin, end_clean),
        cmocka_unit_test_setup_teardown(test_device, begin, end_clean),
    };
    if (RUNNING_ON_VALGRIND == 0) {
        (void)fprintf(stderr, "skipped: this test says something under valgrind only\n");
        return 77;
    }
    int failed = cmocka_run_group_tests_name("controls", controls, NULL, NULL);
    shoal_libcrypto_allow(false);
    failed += cmocka_run_group_tests_name("by mbedTLS", tests, NULL, NULL);
    shoal_libcrypto_allow(true);
    if (shoal_libcrypto_ready()) {
        failed += cmocka_run_group_tests_name("with libcrypto", tests, NULL, NULL);
    }
    return failed;
}
