/* test_crypto.c - published vectors through the project's wrapper. Each names its source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/crypto_libcrypto.h"

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    assert_true(shoal_hex_decode(hex, out, n));
    return n;
}

static void assert_hex(const uint8_t *got, size_t n, const char *want)
{
    char hex[1024];
    shoal_hex_encode(got, n, hex);
    assert_string_equal(hex, want);
}

/* FIPS 180-4, examples of NIST CSRC (SHA256.pdf); one million 'a' streamed in odd pieces. */
static void test_sha256(void **state)
{
    (void)state;
    uint8_t h[32];
    assert_int_equal(shoal_sha256("abc", 3, h, NULL), SHOAL_OK);
    assert_hex(h, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(shoal_sha256("", 0, h, NULL), SHOAL_OK);
    assert_hex(h, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_int_equal(shoal_sha256(two, sizeof two - 1, h, NULL), SHOAL_OK);
    assert_hex(h, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    static const char longer[] = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                                 "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    assert_int_equal(shoal_sha256(longer, sizeof longer - 1, h, NULL), SHOAL_OK);
    assert_hex(h, 32, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    uint8_t piece[997];
    memset(piece, 'a', sizeof piece);
    shoal_sha256_ctx c;
    shoal_sha256_init(&c);
    for (size_t left = 1000000; left > 0;) {
        size_t n = left < sizeof piece ? left : sizeof piece;
        shoal_sha256_update(&c, piece, n);
        left -= n;
    }
    assert_int_equal(shoal_sha256_final(&c, h, NULL), SHOAL_OK);
    assert_hex(h, 32, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* RFC 5869, A.2: longer inputs, each a run of bytes. */
static void check_hkdf_long(void)
{
    uint8_t ikm[80];
    uint8_t salt[80];
    uint8_t info[80];
    uint8_t okm[82];
    for (size_t i = 0; i < 80; i++) {
        ikm[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        info[i] = (uint8_t)(0xb0 + i);
    }
    assert_int_equal(shoal_hkdf(salt, 80, ikm, 80, info, 80, okm, 82, NULL), SHOAL_OK);
    assert_hex(okm, 82,
               "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
               "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
               "cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

/* RFC 5869, A.1 to A.3 */
static void test_hkdf(void **state)
{
    (void)state;
    uint8_t ikm[22];
    uint8_t salt[13];
    uint8_t info[10];
    uint8_t okm[42];
    memset(ikm, 0x0b, sizeof ikm);
    unhex("000102030405060708090a0b0c", salt);
    unhex("f0f1f2f3f4f5f6f7f8f9", info);
    assert_int_equal(shoal_hkdf(salt, 13, ikm, 22, info, 10, okm, 42, NULL), SHOAL_OK);
    assert_hex(
        okm, 42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    assert_int_equal(shoal_hkdf(NULL, 0, ikm, 22, NULL, 0, okm, 42, NULL), SHOAL_OK);
    assert_hex(
        okm, 42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    check_hkdf_long();
    uint8_t big[8161];
    assert_int_equal(shoal_hkdf(NULL, 0, ikm, 22, NULL, 0, big, sizeof big, NULL), SHOAL_ERR_ARG);
}

/* RFC 7748, 5.2: both vectors, 1 and 1,000 iterations. (A million: test_x25519_million.c.) */
static void test_x25519(void **state)
{
    (void)state;
    static const char *const rows[2][3] = {
        {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
         "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
        {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
         "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
         "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"}};
    uint8_t k[32];
    uint8_t u[32];
    uint8_t out[32];
    for (size_t i = 0; i < 2; i++) {
        unhex(rows[i][0], k);
        unhex(rows[i][1], u);
        assert_int_equal(shoal_x25519(out, k, u, NULL), SHOAL_OK);
        assert_hex(out, 32, rows[i][2]);
    }
    memset(u, 0, 32);
    u[0] = 9;
    memcpy(k, u, 32);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(shoal_x25519(out, k, u, NULL), SHOAL_OK);
        memcpy(u, k, 32);
        memcpy(k, out, 32);
        if (i > 0) continue;
        assert_hex(k, 32, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }
    assert_hex(k, 32, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* RFC 7748, 6.1 */
static void test_x25519_agreement(void **state)
{
    (void)state;
    static const char *const secret[2] = {
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"};
    static const char *const public[2] = {
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"};
    uint8_t k[2][32];
    uint8_t pk[2][32];
    uint8_t out[32];
    for (size_t i = 0; i < 2; i++) {
        unhex(secret[i], k[i]);
        assert_int_equal(shoal_x25519_public(pk[i], k[i], NULL), SHOAL_OK);
        assert_hex(pk[i], 32, public[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(shoal_x25519(out, k[i], pk[1 - i], NULL), SHOAL_OK);
        assert_hex(out, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    }
}

/* Many peers at once are each of them alone, and one bad value among them spoils the call. */
static void test_x25519_many(void **state)
{
    (void)state;
    enum { N = 5 };
    uint8_t secret[32], pk[N][32], got[N][32], want[32];
    const uint8_t *peers[N];
    assert_int_equal(shoal_random(secret, 32, NULL), SHOAL_OK);
    for (size_t i = 0; i < N; i++) {
        uint8_t other[32];
        assert_int_equal(shoal_random(other, 32, NULL), SHOAL_OK);
        assert_int_equal(shoal_x25519_public(pk[i], other, NULL), SHOAL_OK);
        peers[i] = pk[i];
    }
    assert_int_equal(shoal_x25519_many(got, secret, peers, N, NULL), SHOAL_OK);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(shoal_x25519(want, secret, pk[i], NULL), SHOAL_OK);
        assert_memory_equal(got[i], want, 32);
    }
    assert_int_equal(shoal_x25519_many(got, secret, peers, 0, NULL), SHOAL_OK);
    memset(pk[3], 0, 32);
    assert_int_equal(shoal_x25519_many(got, secret, peers, N, NULL), SHOAL_ERR_TAMPERED);
    memset(want, 0, 32);
    for (size_t i = 0; i < N; i++) {
        assert_memory_equal(got[i], want, 32);
    }
}

/* All points of small order (RFC 7748, 6.1: "MAY check for the all-zero value"; Spec 1.2: a must),
 * canonical and not. */
static void test_x25519_low_order(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
    uint8_t u[32];
    uint8_t out[32];
    uint8_t k[32];
    assert_int_equal(shoal_random(k, 32, NULL), SHOAL_OK);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        unhex(points[i], u);
        assert_int_equal(shoal_x25519(out, k, u, NULL), SHOAL_ERR_TAMPERED);
    }
}

/* RFC 6979, A.2.5, SHA-256 of "sample" and "test". Shoal lowers s: n - s of the first is printed by
 * the appendix only as s = F7CB1C94..., which a verifier must then refuse (Spec 1.3). */
static void test_ecdsa(void **state)
{
    (void)state;
    uint8_t scalar[32];
    uint8_t digest[32];
    uint8_t sig[64];
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key *key = NULL;
    unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721", scalar);
    assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    assert_hex(spki + 27, 64,
               "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
               "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
    assert_int_equal(shoal_sha256("test", 4, digest, NULL), SHOAL_OK);
    assert_int_equal(shoal_sign(key, digest, sig, NULL), SHOAL_OK);
    assert_hex(sig, 64,
               "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
               "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083");
    assert_int_equal(shoal_sha256("sample", 6, digest, NULL), SHOAL_OK);
    assert_int_equal(shoal_sign(key, digest, sig, NULL), SHOAL_OK);
    assert_hex(sig, 64,
               "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
               "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9");
    assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_OK);
    unhex("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8", sig + 32);
    assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_ERR_TAMPERED);
    shoal_key_close(key);
}

static void test_ecdsa_refuses_changes(void **state)
{
    (void)state;
    shoal_key *key = NULL;
    uint8_t digest[32] = {7};
    uint8_t sig[64];
    uint8_t spki[SHOAL_SPKI_BYTES];
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    assert_int_equal(shoal_sign(key, digest, sig, NULL), SHOAL_OK);
    for (size_t i = 0; i < 64; i += 3) {
        sig[i] ^= 1;
        assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_ERR_TAMPERED);
        sig[i] ^= 1;
    }
    for (size_t i = 0; i < SHOAL_SPKI_BYTES; i += 5) {
        spki[i] ^= 1;
        assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_ERR_TAMPERED);
        spki[i] ^= 1;
    }
    memset(sig, 0, sizeof sig);
    assert_int_equal(shoal_verify(spki, digest, sig, NULL), SHOAL_ERR_TAMPERED);
    shoal_key_close(key);
}

/* RFC 8439, 2.8.2 */
static void test_aead(void **state)
{
    (void)state;
    static const char text[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only "
        "one tip for the future, sunscreen would be it.";
    uint8_t key[32];
    uint8_t nonce[12];
    uint8_t aad[12];
    uint8_t sealed[114 + 16];
    uint8_t opened[114];
    unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
    unhex("070000004041424344454647", nonce);
    unhex("50515253c0c1c2c3c4c5c6c7", aad);
    shoal_aead_in in = {key, nonce, aad, sizeof aad};
    assert_int_equal(shoal_aead_seal(&in, text, 114, sealed, NULL), SHOAL_OK);
    assert_hex(sealed, sizeof sealed,
               "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
               "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
               "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
               "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
    assert_int_equal(shoal_aead_open(&in, sealed, sizeof sealed, opened, NULL), SHOAL_OK);
    assert_memory_equal(opened, text, 114);
    for (size_t i = 0; i < sizeof sealed; i += 7) {
        sealed[i] ^= 0x80;
        assert_int_equal(shoal_aead_open(&in, sealed, sizeof sealed, opened, NULL),
                         SHOAL_ERR_TAMPERED);
        sealed[i] ^= 0x80;
    }
    assert_int_equal(shoal_aead_open(&in, sealed, 15, opened, NULL), SHOAL_ERR_TAMPERED);
    aad[0] ^= 1;
    assert_int_equal(shoal_aead_open(&in, sealed, sizeof sealed, opened, NULL), SHOAL_ERR_TAMPERED);
}

/* A key survives DER and PEM; other bytes are refused. */
static void test_key_files(void **state)
{
    (void)state;
    shoal_key *key = NULL;
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t again[SHOAL_SPKI_BYTES];
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    for (int pem = 0; pem < 2; pem++) {
        shoal_buf b = shoal_buf_init(4096);
        shoal_key *copy = NULL;
        assert_int_equal(pem != 0 ? shoal_key_encode_pem(key, &b, NULL)
                                  : shoal_key_encode_der(key, &b, NULL),
                         SHOAL_OK);
        assert_int_equal(shoal_key_load(&copy, b.data, b.len, NULL), SHOAL_OK);
        shoal_key_spki(copy, again);
        assert_memory_equal(spki, again, sizeof spki);
        shoal_key_close(copy);
        assert_int_equal(shoal_key_load(&copy, b.data, b.len / 2, NULL), SHOAL_ERR_FORMAT);
        assert_null(copy);
        shoal_buf_wipe(&b);
    }
    uint8_t zero[32] = {0};
    shoal_key *none = NULL;
    assert_int_equal(shoal_key_from_scalar(&none, zero, NULL), SHOAL_ERR_FORMAT);
    shoal_key_close(key);
}

static void test_random_and_equal(void **state)
{
    (void)state;
    uint8_t a[64];
    uint8_t b[64];
    uint8_t big[5000] = {0};
    assert_int_equal(shoal_random(a, 64, NULL), SHOAL_OK);
    assert_int_equal(shoal_random(b, 64, NULL), SHOAL_OK);
    assert_false(shoal_equal(a, b, 64));
    assert_true(shoal_equal(a, a, 64));
    assert_int_equal(shoal_random(big, sizeof big, NULL), SHOAL_OK);
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof big; i++) {
        zeros += big[i] == 0 ? 1 : 0;
    }
    assert_true(zeros < 100); /* 19.5 expected */
}

/* ---- with and without libcrypto ---- */

/* Deterministic bytes. */
static void fill(uint8_t *out, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        out[i] = (uint8_t)(*seed >> 24);
    }
}

typedef struct answers {
    shoal_status exchange, public, verify;
    uint8_t shared[32], own[32], hash[32];
} answers;

static answers ask(bool libcrypto, const uint8_t secret[32], const uint8_t peer[32],
                   const uint8_t spki[SHOAL_SPKI_BYTES], const uint8_t digest[32],
                   const uint8_t sig[64])
{
    answers a;
    memset(&a, 0, sizeof a);
    shoal_libcrypto_allow(libcrypto);
    a.exchange = shoal_x25519(a.shared, secret, peer, NULL);
    a.public = shoal_x25519_public(a.own, secret, NULL);
    a.verify = shoal_verify(spki, digest, sig, NULL);
    assert_int_equal(shoal_sha256(spki, digest[0] % SHOAL_SPKI_BYTES, a.hash, NULL), SHOAL_OK);
    shoal_libcrypto_allow(true);
    return a;
}

static void spoil(uint8_t *digest, uint8_t *sig, uint8_t *spki, int kind)
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    switch (kind) {
    case 1: digest[31] ^= 1; break;
    case 2: sig[0] ^= 1; break;
    case 3: sig[63] ^= 1; break;
    case 4: memset(sig, 0, 32); break;      /* r = 0 */
    case 5: memset(sig + 32, 0, 32); break; /* s = 0 */
    case 6: memcpy(sig, order, 32); break;  /* r = n */
    case 7: memset(sig, 0xff, 32); break;   /* r > n */
    case 8: spki[90] ^= 1; break;           /* off the curve */
    case 9: spki[26] = 0x06; break;         /* hybrid form */
    case 10: memset(digest, 0, 32); break;
    default: break; /* as it is */
    }
}

/* Both implementations give the same bytes and the same verdicts: right and wrong signatures,
 * values at the edges of their ranges, keys that are not canonical. */
static void test_libcrypto_agrees(void **state)
{
    (void)state;
    if (!shoal_libcrypto_ready()) {
        print_message("no libcrypto here: mbedTLS alone was tested\n");
        skip();
    }
    uint32_t seed = 1;
    size_t accepted = 0;
    for (int i = 0; i < 220; i++) {
        uint8_t secret[32], peer[32], digest[32], sig[64], spki[SHOAL_SPKI_BYTES], scalar[32];
        shoal_key *key = NULL;
        fill(secret, 32, &seed);
        fill(peer, 32, &seed);
        fill(digest, 32, &seed);
        fill(scalar, 32, &seed);
        if (i % 4 == 1) memset(peer, 0xff, 31); /* above p, or with the top bit */
        if (i % 40 == 2) memset(peer, 0, 32);   /* low order */
        assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
        shoal_key_spki(key, spki);
        assert_int_equal(shoal_sign(key, digest, sig, NULL), SHOAL_OK);
        shoal_key_close(key);
        spoil(digest, sig, spki, i % 12);
        answers a = ask(true, secret, peer, spki, digest, sig);
        answers b = ask(false, secret, peer, spki, digest, sig);
        assert_memory_equal(&a, &b, sizeof a);
        accepted += a.verify == SHOAL_OK ? 1 : 0;
        assert_int_equal(a.verify == SHOAL_OK, i % 12 == 0 || i % 12 == 11);
    }
    assert_int_equal(accepted, 37);
}

static int without_libcrypto(void **state)
{
    (void)state;
    shoal_libcrypto_allow(false);
    return 0;
}

static int with_libcrypto(void **state)
{
    (void)state;
    shoal_libcrypto_allow(true);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_hkdf),
        cmocka_unit_test(test_x25519),
        cmocka_unit_test(test_x25519_agreement),
        cmocka_unit_test(test_x25519_many),
        cmocka_unit_test(test_x25519_low_order),
        cmocka_unit_test(test_ecdsa),
        cmocka_unit_test(test_ecdsa_refuses_changes),
        cmocka_unit_test(test_aead),
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_random_and_equal),
    };
    const struct CMUnitTest both[] = {cmocka_unit_test(test_libcrypto_agrees)};
    return cmocka_run_group_tests_name("with libcrypto", tests, with_libcrypto, NULL) +
           cmocka_run_group_tests_name("by mbedTLS alone", tests, without_libcrypto,
                                       with_libcrypto) +
           cmocka_run_group_tests(both, NULL, NULL);
}
