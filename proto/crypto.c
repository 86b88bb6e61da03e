/* crypto.c - primitives over mbedTLS; the only file that names them. Three of them go to libcrypto
 * where there is one (crypto_libcrypto.h). */
#include "proto/crypto.h"

#include <pthread.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <mbedtls/chachapoly.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#include "kernels/base/mem.h"
#include "kernels/base/secret.h"
#include "proto/crypto_libcrypto.h"

/* 3.x dropped the suffix; in 2.28 the plain names are the deprecated void ones. */
#if MBEDTLS_VERSION_MAJOR < 3
#define sha256_starts mbedtls_sha256_starts_ret
#define sha256_update mbedtls_sha256_update_ret
#define sha256_finish mbedtls_sha256_finish_ret
#else
#define sha256_starts mbedtls_sha256_starts
#define sha256_update mbedtls_sha256_update
#define sha256_finish mbedtls_sha256_finish
#endif
#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(member) member
#endif

enum { POINT_BYTES = 65, SCALAR_BYTES = 32, SPKI_HEAD = SHOAL_SPKI_BYTES - POINT_BYTES };

/* SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING (RFC 5480 2) up to the point. */
static const uint8_t spki_head[SPKI_HEAD] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                             0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                             0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

struct shoal_key {
    uint8_t scalar[SCALAR_BYTES]; /* big-endian, 1 <= d < n */
    uint8_t point[POINT_BYTES];   /* 04 || x || y */
};

static shoal_status broken(shoal_error *err, const char *what)
{
    return shoal_fail(err, SHOAL_ERR_INTERNAL, "%s failed", what);
}

/* ---- random ---- */

static pthread_mutex_t g_random_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    bool seeded;
    pid_t owner; /* a forked child must not repeat its parent's stream */
} g_random;

/* Call with the lock held. Seeding also runs AES once, before any thread can race its detection of
 * the processor (CVE-2025-52496). */
static int seed_random(void)
{
    static const unsigned char person[] = "shoal";
    if (!g_random.seeded) {
        mbedtls_entropy_init(&g_random.entropy);
        mbedtls_ctr_drbg_init(&g_random.drbg);
        int rc = mbedtls_ctr_drbg_seed(&g_random.drbg, mbedtls_entropy_func, &g_random.entropy,
                                       person, sizeof person - 1);
        if (rc != 0) {
            mbedtls_ctr_drbg_free(&g_random.drbg);
            mbedtls_entropy_free(&g_random.entropy);
            return rc;
        }
        g_random.seeded = true;
        g_random.owner = getpid();
        return 0;
    }
    if (g_random.owner == getpid()) return 0;
    pid_t self = getpid();
    int rc = mbedtls_ctr_drbg_reseed(&g_random.drbg, (const unsigned char *)&self, sizeof self);
    if (rc == 0) {
        g_random.owner = self;
    }
    return rc;
}

/* mbedTLS's random callback. */
static int draw(void *unused, unsigned char *out, size_t n)
{
    (void)unused;
    if (pthread_mutex_lock(&g_random_lock) != 0) return MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
    int rc = seed_random();
    while (rc == 0 && n > 0) {
        size_t part = n < MBEDTLS_CTR_DRBG_MAX_REQUEST ? n : MBEDTLS_CTR_DRBG_MAX_REQUEST;
        rc = mbedtls_ctr_drbg_random(&g_random.drbg, out, part);
        out += part;
        n -= part;
    }
    (void)pthread_mutex_unlock(&g_random_lock);
    return rc;
}

shoal_status shoal_random(void *out, size_t n, shoal_error *err)
{
    if (draw(NULL, out, n) != 0) {
        return shoal_fail(err, SHOAL_ERR_IO, "the system gives no random bytes");
    }
    return SHOAL_OK;
}

shoal_status shoal_entropy_fill(const shoal_entropy *src, void *out, size_t n, shoal_error *err)
{
    return src == NULL ? shoal_random(out, n, err) : src->fill(src->ctx, out, n, err);
}

/* ---- hashes ---- */

typedef struct sha256_state {
    union {
        mbedtls_sha256_context mbed;
        uint64_t libcrypto[SHOAL_LIBCRYPTO_SHA256_BYTES / 8];
    } u;
    bool by_libcrypto;
    bool failed;
} sha256_state;

_Static_assert(sizeof(sha256_state) <= sizeof(shoal_sha256_ctx), "opaque room for a SHA-256");

void shoal_sha256_init(shoal_sha256_ctx *c)
{
    sha256_state *s = (sha256_state *)(void *)c->opaque;
    s->by_libcrypto = shoal_libcrypto_ready();
    if (s->by_libcrypto) {
        s->failed = !shoal_libcrypto_sha256_init(s->u.libcrypto);
        return;
    }
    mbedtls_sha256_init(&s->u.mbed);
    s->failed = sha256_starts(&s->u.mbed, 0) != 0;
}

void shoal_sha256_update(shoal_sha256_ctx *c, const void *data, size_t n)
{
    sha256_state *s = (sha256_state *)(void *)c->opaque;
    if (n == 0) return;
    bool ok = s->by_libcrypto ? shoal_libcrypto_sha256_update(s->u.libcrypto, data, n)
                              : sha256_update(&s->u.mbed, data, n) == 0;
    s->failed = s->failed || !ok;
}

shoal_status shoal_sha256_final(shoal_sha256_ctx *c, uint8_t out[32], shoal_error *err)
{
    sha256_state *s = (sha256_state *)(void *)c->opaque;
    bool ok = false;
    if (s->by_libcrypto) {
        ok = shoal_libcrypto_sha256_final(s->u.libcrypto, out);
    } else {
        ok = sha256_finish(&s->u.mbed, out) == 0;
        mbedtls_sha256_free(&s->u.mbed);
    }
    return ok && !s->failed ? SHOAL_OK : broken(err, "SHA-256");
}

shoal_status shoal_sha256(const void *data, size_t n, uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx c;
    shoal_sha256_init(&c);
    shoal_sha256_update(&c, data, n);
    return shoal_sha256_final(&c, out, err);
}

shoal_status shoal_hkdf(const void *salt, size_t salt_n, const void *ikm, size_t ikm_n,
                        const void *info, size_t info_n, void *out, size_t out_n, shoal_error *err)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    if (mbedtls_hkdf(md, salt, salt_n, ikm, ikm_n, info, info_n, out, out_n) != 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "HKDF refuses %zu bytes of output", out_n);
    }
    return SHOAL_OK;
}

bool shoal_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *pa = a;
    const volatile uint8_t *pb = b;
    uint8_t diff = 0;
    for (size_t i = 0; i < n; i++) {
        diff |= (uint8_t)(pa[i] ^ pb[i]);
    }
    SHOAL_PUBLIC(&diff, sizeof diff); /* the verdict; where they differ stays unknown */
    return diff == 0;
}

/* ---- X25519 ---- */

/* out = clamp(secret) * point, point NULL for the base point (RFC 7748 5). Both libraries clamp,
 * mask the peer's top bit, and fail on an all-zero result. */
static int montgomery(uint8_t out[32], const uint8_t secret[32], const uint8_t *point)
{
    mbedtls_ecp_keypair key;
    mbedtls_ecp_point peer;
    mbedtls_ecp_point result;
    mbedtls_ecp_keypair_init(&key);
    mbedtls_ecp_point_init(&peer);
    mbedtls_ecp_point_init(&result);
    mbedtls_ecp_group *grp = &key.MBEDTLS_PRIVATE(grp);
    int rc = mbedtls_ecp_read_key(MBEDTLS_ECP_DP_CURVE25519, &key, secret, 32);
    if (rc == 0 && point != NULL) {
        rc = mbedtls_ecp_point_read_binary(grp, &peer, point, 32);
    }
    if (rc == 0) {
        rc = mbedtls_ecp_mul(grp, &result, &key.MBEDTLS_PRIVATE(d), point != NULL ? &peer : &grp->G,
                             draw, NULL);
    }
    if (rc == 0) {
        rc = mbedtls_mpi_write_binary_le(&result.MBEDTLS_PRIVATE(X), out, 32);
    }
    mbedtls_ecp_point_free(&result);
    mbedtls_ecp_point_free(&peer);
    mbedtls_ecp_keypair_free(&key);
    return rc;
}

shoal_status shoal_x25519_public(uint8_t out[32], const uint8_t secret[32], shoal_error *err)
{
    bool ok = shoal_libcrypto_ready() ? shoal_libcrypto_x25519(out, secret, NULL)
                                      : montgomery(out, secret, NULL) == 0;
    if (!ok) return broken(err, "X25519");
    SHOAL_PUBLIC(out, 32);
    return SHOAL_OK;
}

static bool exchange_all(uint8_t (*out)[32], const uint8_t secret[32], const uint8_t *const *peers,
                         size_t n)
{
    static const uint8_t zero[32] = {0};
    bool ok = true;
    if (shoal_libcrypto_ready()) {
        ok = shoal_libcrypto_x25519_many(out, secret, peers, n);
    } else {
        for (size_t i = 0; ok && i < n; i++) {
            ok = montgomery(out[i], secret, peers[i]) == 0;
        }
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = !shoal_equal(out[i], zero, 32);
    }
    return ok;
}

/* Spec 1.2: an all-zero result is a failed check. */
shoal_status shoal_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                               const uint8_t *const *peers, size_t n, shoal_error *err)
{
    if (exchange_all(out, secret, peers, n)) return SHOAL_OK;
    shoal_wipe(out, n * 32);
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "a public key is not usable");
}

shoal_status shoal_x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t peer[32],
                          shoal_error *err)
{
    return shoal_x25519_many((uint8_t(*)[32])out, secret, &peer, 1, err);
}

/* ---- ECDSA P-256 ---- */

/* Fills key->point from key->scalar. A private group each time: mbedTLS caches tables in it, which
 * must not happen from two threads. */
static int derive_point(shoal_key *key)
{
    mbedtls_ecp_keypair pair;
    mbedtls_ecp_keypair_init(&pair);
    mbedtls_ecp_group *grp = &pair.MBEDTLS_PRIVATE(grp);
    mbedtls_mpi *d = &pair.MBEDTLS_PRIVATE(d);
    mbedtls_ecp_point *q = &pair.MBEDTLS_PRIVATE(Q);
    size_t len = 0;
    int rc = mbedtls_ecp_group_load(grp, MBEDTLS_ECP_DP_SECP256R1);
    if (rc == 0) rc = mbedtls_mpi_read_binary(d, key->scalar, SCALAR_BYTES);
    if (rc == 0) rc = mbedtls_ecp_check_privkey(grp, d);
    if (rc == 0) rc = mbedtls_ecp_mul(grp, q, d, &grp->G, draw, NULL);
    if (rc == 0) {
        rc = mbedtls_ecp_point_write_binary(grp, q, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, key->point,
                                            sizeof key->point);
    }
    mbedtls_ecp_keypair_free(&pair);
    SHOAL_PUBLIC(key->point, sizeof key->point);
    return rc;
}

shoal_status shoal_key_from_scalar(shoal_key **out, const uint8_t scalar[32], shoal_error *err)
{
    shoal_key *key = shoal_calloc(1, sizeof *key);
    *out = NULL;
    if (key == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a key");
    memcpy(key->scalar, scalar, SCALAR_BYTES);
    if (derive_point(key) != 0) {
        shoal_key_close(key);
        return shoal_fail(err, SHOAL_ERR_FORMAT, "not a P-256 private key");
    }
    *out = key;
    return SHOAL_OK;
}

shoal_status shoal_key_generate(shoal_key **out, shoal_error *err)
{
    /* Rejection sampling: a scalar outside [1, n) has probability 2^-32. */
    for (int attempt = 0; attempt < 4; attempt++) {
        uint8_t scalar[SCALAR_BYTES];
        SHOAL_TRY(shoal_random(scalar, sizeof scalar, err));
        shoal_status st = shoal_key_from_scalar(out, scalar, err);
        shoal_wipe(scalar, sizeof scalar);
        if (st != SHOAL_ERR_FORMAT) return st;
    }
    return broken(err, "making a P-256 key");
}

void shoal_key_close(shoal_key *key)
{
    if (key == NULL) return;
    shoal_wipe(key, sizeof *key);
    shoal_free(key);
}

static int parse_private(mbedtls_pk_context *pk, const unsigned char *bytes, size_t n)
{
#if MBEDTLS_VERSION_MAJOR < 3
    return mbedtls_pk_parse_key(pk, bytes, n, NULL, 0);
#else
    return mbedtls_pk_parse_key(pk, bytes, n, NULL, 0, draw, NULL);
#endif
}

static shoal_status key_from_pk(shoal_key **out, mbedtls_pk_context *pk, shoal_error *err)
{
    uint8_t scalar[SCALAR_BYTES];
    mbedtls_ecp_keypair *pair =
        mbedtls_pk_get_type(pk) == MBEDTLS_PK_ECKEY ? mbedtls_pk_ec(*pk) : NULL;
    if (pair == NULL || pair->MBEDTLS_PRIVATE(grp).id != MBEDTLS_ECP_DP_SECP256R1 ||
        mbedtls_mpi_write_binary(&pair->MBEDTLS_PRIVATE(d), scalar, sizeof scalar) != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "not a P-256 private key");
    }
    shoal_status st = shoal_key_from_scalar(out, scalar, err);
    shoal_wipe(scalar, sizeof scalar);
    return st;
}

shoal_status shoal_key_load(shoal_key **out, const void *bytes, size_t n, shoal_error *err)
{
    *out = NULL;
    if (n > 4096) return shoal_fail(err, SHOAL_ERR_FORMAT, "a private key of %zu bytes", n);
    /* mbedTLS wants PEM with its terminating zero counted, and DER without. */
    bool pem = n > 10 && memcmp(bytes, "-----BEGIN", 10) == 0;
    shoal_buf copy = shoal_buf_init(4097);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    shoal_status st = SHOAL_OK;
    if (!shoal_buf_put(&copy, bytes, n)) {
        st = shoal_buf_status(&copy, err);
    } else if (parse_private(&pk, copy.data, pem ? n + 1 : n) != 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "not a private key");
    } else {
        st = key_from_pk(out, &pk, err);
    }
    mbedtls_pk_free(&pk);
    shoal_buf_wipe(&copy);
    return st;
}

/* Fills a context for mbedTLS's writers. */
static int pk_from_key(mbedtls_pk_context *pk, const shoal_key *key)
{
    int rc = mbedtls_pk_setup(pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    if (rc != 0) return rc;
    mbedtls_ecp_keypair *pair = mbedtls_pk_ec(*pk);
    mbedtls_ecp_group *grp = &pair->MBEDTLS_PRIVATE(grp);
    rc = mbedtls_ecp_group_load(grp, MBEDTLS_ECP_DP_SECP256R1);
    if (rc == 0) rc = mbedtls_mpi_read_binary(&pair->MBEDTLS_PRIVATE(d), key->scalar, SCALAR_BYTES);
    if (rc == 0) {
        rc = mbedtls_ecp_point_read_binary(grp, &pair->MBEDTLS_PRIVATE(Q), key->point, POINT_BYTES);
    }
    return rc;
}

/* Up to the terminator; where a text ends is no secret. */
static size_t pem_length(const uint8_t *text, size_t max)
{
    size_t n = 0;
    uint8_t c = 1;
    while (n < max && c != 0) {
        c = text[n++];
        SHOAL_PUBLIC(&c, 1);
    }
    return c == 0 ? n - 1 : n;
}

static shoal_status encode_key(const shoal_key *key, bool pem, shoal_buf *out, shoal_error *err)
{
    uint8_t text[512] = {0};
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    int rc = pk_from_key(&pk, key);
    shoal_status st = SHOAL_OK;
    if (rc == 0) {
        rc = pem ? mbedtls_pk_write_key_pem(&pk, text, sizeof text)
                 : mbedtls_pk_write_key_der(&pk, text, sizeof text);
    }
    if (rc < 0) {
        st = broken(err, "writing a key");
    } else if (pem) {
        (void)shoal_buf_put(out, text, pem_length(text, sizeof text));
        st = shoal_buf_status(out, err);
    } else {
        (void)shoal_buf_put(out, text + sizeof text - (size_t)rc, (size_t)rc);
        st = shoal_buf_status(out, err);
    }
    shoal_wipe(text, sizeof text);
    mbedtls_pk_free(&pk);
    return st;
}

shoal_status shoal_key_encode_pem(const shoal_key *key, shoal_buf *out, shoal_error *err)
{
    return encode_key(key, true, out, err);
}

shoal_status shoal_key_encode_der(const shoal_key *key, shoal_buf *out, shoal_error *err)
{
    return encode_key(key, false, out, err);
}

void shoal_key_spki(const shoal_key *key, uint8_t out[SHOAL_SPKI_BYTES])
{
    memcpy(out, spki_head, SPKI_HEAD);
    memcpy(out + SPKI_HEAD, key->point, POINT_BYTES);
}

shoal_status shoal_spki_id(const uint8_t spki[SHOAL_SPKI_BYTES], uint8_t id[SHOAL_ID_BYTES],
                           shoal_error *err)
{
    uint8_t hash[32];
    SHOAL_TRY(shoal_sha256(spki, SHOAL_SPKI_BYTES, hash, err));
    memcpy(id, hash, SHOAL_ID_BYTES);
    return SHOAL_OK;
}

/* s = min(s, n - s): one signature, one encoding. */
static int lower_s(const mbedtls_ecp_group *grp, mbedtls_mpi *s)
{
    mbedtls_mpi other;
    mbedtls_mpi_init(&other);
    int rc = mbedtls_mpi_sub_mpi(&other, &grp->N, s);
    if (rc == 0 && mbedtls_mpi_cmp_mpi(s, &other) > 0) {
        rc = mbedtls_mpi_copy(s, &other);
    }
    mbedtls_mpi_free(&other);
    return rc;
}

shoal_status shoal_sign(const shoal_key *key, const uint8_t digest[32],
                        uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    mbedtls_ecp_group grp;
    mbedtls_mpi d;
    mbedtls_mpi r;
    mbedtls_mpi s;
    mbedtls_ecp_group_init(&grp);
    mbedtls_mpi_init(&d);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    int rc = mbedtls_ecp_group_load(&grp, MBEDTLS_ECP_DP_SECP256R1);
    if (rc == 0) rc = mbedtls_mpi_read_binary(&d, key->scalar, SCALAR_BYTES);
    if (rc == 0) {
        rc =
            mbedtls_ecdsa_sign_det_ext(&grp, &r, &s, &d, digest, 32, MBEDTLS_MD_SHA256, draw, NULL);
    }
    if (rc == 0) rc = lower_s(&grp, &s);
    if (rc == 0) rc = mbedtls_mpi_write_binary(&r, sig, 32);
    if (rc == 0) rc = mbedtls_mpi_write_binary(&s, sig + 32, 32);
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&d);
    mbedtls_ecp_group_free(&grp);
    SHOAL_PUBLIC(sig, SHOAL_SIG_BYTES);
    return rc == 0 ? SHOAL_OK : broken(err, "signing");
}

/* Spec 1.3: s <= n / 2, so that a signature has one encoding. Public values: no constant time. */
static bool has_low_s(const uint8_t sig[SHOAL_SIG_BYTES])
{
    static const uint8_t half[32] = {0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00,
                                     0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42,
                                     0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8};
    return memcmp(sig + 32, half, sizeof half) <= 0;
}

static bool verify_by_mbedtls(const uint8_t *point, const uint8_t *digest, const uint8_t *sig)
{
    mbedtls_ecp_group grp;
    mbedtls_ecp_point q;
    mbedtls_mpi r;
    mbedtls_mpi s;
    mbedtls_ecp_group_init(&grp);
    mbedtls_ecp_point_init(&q);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    int rc = mbedtls_ecp_group_load(&grp, MBEDTLS_ECP_DP_SECP256R1);
    if (rc == 0) rc = mbedtls_ecp_point_read_binary(&grp, &q, point, POINT_BYTES);
    if (rc == 0) rc = mbedtls_ecp_check_pubkey(&grp, &q);
    if (rc == 0) rc = mbedtls_mpi_read_binary(&r, sig, 32);
    if (rc == 0) rc = mbedtls_mpi_read_binary(&s, sig + 32, 32);
    if (rc == 0) rc = mbedtls_ecdsa_verify(&grp, digest, 32, &q, &r, &s);
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&grp);
    return rc == 0;
}

static bool signature_right(const uint8_t *point, const uint8_t *digest, const uint8_t *sig)
{
    if (!has_low_s(sig)) return false;
    return shoal_libcrypto_ready() ? shoal_libcrypto_verify(point, digest, sig)
                                   : verify_by_mbedtls(point, digest, sig);
}

shoal_status shoal_verify(const uint8_t spki[SHOAL_SPKI_BYTES], const uint8_t digest[32],
                          const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    if (memcmp(spki, spki_head, SPKI_HEAD) != 0 ||
        !signature_right(spki + SPKI_HEAD, digest, sig)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a signature does not verify");
    }
    return SHOAL_OK;
}

/* ---- AEAD ---- */

shoal_status shoal_aead_seal(const shoal_aead_in *in, const void *plain, size_t n, uint8_t *out,
                             shoal_error *err)
{
    mbedtls_chachapoly_context c;
    mbedtls_chachapoly_init(&c);
    int rc = mbedtls_chachapoly_setkey(&c, in->key);
    if (rc == 0) {
        rc = mbedtls_chachapoly_encrypt_and_tag(&c, n, in->nonce, in->aad, in->aad_n, plain, out,
                                                out + n);
    }
    mbedtls_chachapoly_free(&c);
    return rc == 0 ? SHOAL_OK : broken(err, "sealing");
}

shoal_status shoal_aead_open(const shoal_aead_in *in, const uint8_t *sealed, size_t n, uint8_t *out,
                             shoal_error *err)
{
    if (n < SHOAL_AEAD_TAG_BYTES) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a sealed message does not open");
    }
    size_t plain_n = n - SHOAL_AEAD_TAG_BYTES;
    mbedtls_chachapoly_context c;
    mbedtls_chachapoly_init(&c);
    int rc = mbedtls_chachapoly_setkey(&c, in->key);
    if (rc == 0) {
        rc = mbedtls_chachapoly_auth_decrypt(&c, plain_n, in->nonce, in->aad, in->aad_n,
                                             sealed + plain_n, sealed, out);
    }
    mbedtls_chachapoly_free(&c);
    SHOAL_PUBLIC(&rc, sizeof rc); /* whether the tag was right */
    if (rc != 0) {
        shoal_wipe(out, plain_n);
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a sealed message does not open");
    }
    return SHOAL_OK;
}
