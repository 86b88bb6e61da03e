/* cheap_crypto.c - the interfaces of crypto.h and x509.h without any security, so that a fuzzer
 * plays thousands of whole sessions a second. Everything holds that honest parties rely on: two
 * sides agree on a key, changed bytes do not verify, a changed box does not open, a certificate
 * binds a key. Nothing resists anyone: whoever has a public key can sign for it, which a fuzz
 * target uses to play devices that collude. Linked in the place of crypto.c and x509.c, by targets
 * of tests/fuzz only. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/x509.h"

/* ---- random, hashes ---- */

shoal_status shoal_random(void *out, size_t n, shoal_error *err)
{
    static uint64_t counter;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        counter = counter * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(counter >> 56);
    }
    return SHOAL_OK;
}

shoal_status shoal_entropy_fill(const shoal_entropy *src, void *out, size_t n, shoal_error *err)
{
    return src == NULL ? shoal_random(out, n, err) : src->fill(src->ctx, out, n, err);
}

void shoal_sha256_init(shoal_sha256_ctx *c)
{
    c->opaque[0] = SHOAL_FNV64_INIT;
}

void shoal_sha256_update(shoal_sha256_ctx *c, const void *data, size_t n)
{
    if (n > 0) c->opaque[0] = shoal_fnv64(c->opaque[0], data, n);
}

shoal_status shoal_sha256_final(shoal_sha256_ctx *c, uint8_t out[32], shoal_error *err)
{
    (void)err;
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t v = (c->opaque[0] + i) * 0x9e3779b97f4a7c15u;
        v = (v ^ v >> 29) * 0xbf58476d1ce4e5b9u;
        v ^= v >> 32;
        memcpy(out + 8 * i, &v, 8);
    }
    return SHOAL_OK;
}

shoal_status shoal_sha256(const void *data, size_t n, uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx c;
    shoal_sha256_init(&c);
    shoal_sha256_update(&c, data, n);
    return shoal_sha256_final(&c, out, err);
}

/* Hash of up to three pieces. */
static void mix(const char *label, const void *a, size_t a_n, const void *b, size_t b_n,
                uint8_t out[32])
{
    shoal_sha256_ctx c;
    shoal_sha256_init(&c);
    shoal_sha256_update(&c, label, strlen(label));
    shoal_sha256_update(&c, a, a_n);
    shoal_sha256_update(&c, b, b_n);
    if (shoal_sha256_final(&c, out, NULL) != SHOAL_OK) abort();
}

shoal_status shoal_hkdf(const void *salt, size_t salt_n, const void *ikm, size_t ikm_n,
                        const void *info, size_t info_n, void *out, size_t out_n, shoal_error *err)
{
    uint8_t key[32], block[32];
    (void)err;
    mix("extract", salt, salt_n, ikm, ikm_n, key);
    for (size_t at = 0; at < out_n; at += 32) {
        uint8_t counted[40];
        memcpy(counted, key, 32);
        memcpy(counted + 32, &at, 8);
        mix("expand", counted, sizeof counted, info, info_n, block);
        memcpy((uint8_t *)out + at, block, out_n - at < 32 ? out_n - at : 32);
    }
    return SHOAL_OK;
}

bool shoal_equal(const void *a, const void *b, size_t n)
{
    return memcmp(a, b, n) == 0;
}

/* ---- key agreement: xor, which commutes ---- */

shoal_status shoal_x25519_public(uint8_t out[32], const uint8_t secret[32], shoal_error *err)
{
    (void)err;
    for (size_t i = 0; i < 32; i++) {
        out[i] = secret[i] ^ 0x5a;
    }
    out[31] &= 0x7f; /* canonical */
    return SHOAL_OK;
}

shoal_status shoal_x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t peer[32],
                          shoal_error *err)
{
    static const uint8_t zero[32] = {0};
    uint8_t sum[32];
    if (memcmp(peer, zero, 32) == 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a public key is not usable");
    }
    for (size_t i = 0; i < 32; i++) {
        sum[i] = secret[i] ^ peer[i];
    }
    sum[31] &= 0x7f;
    mix("agreed", sum, 32, NULL, 0, out);
    return SHOAL_OK;
}

shoal_status shoal_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                               const uint8_t *const *peers, size_t n, shoal_error *err)
{
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(shoal_x25519(out[i], secret, peers[i], err));
    }
    return SHOAL_OK;
}

/* ---- signatures: a hash that anyone can make ---- */

struct shoal_key {
    uint8_t spki[SHOAL_SPKI_BYTES];
};

shoal_status shoal_key_from_scalar(shoal_key **out, const uint8_t scalar[32], shoal_error *err)
{
    *out = shoal_calloc(1, sizeof **out);
    if (*out == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a key");
    memset((*out)->spki, 0x30, sizeof(*out)->spki);
    mix("point", scalar, 32, NULL, 0, (*out)->spki + 27);
    return SHOAL_OK;
}

void shoal_key_close(shoal_key *key)
{
    shoal_free(key);
}

void shoal_key_spki(const shoal_key *key, uint8_t out[SHOAL_SPKI_BYTES])
{
    memcpy(out, key->spki, SHOAL_SPKI_BYTES);
}

shoal_status shoal_spki_id(const uint8_t spki[SHOAL_SPKI_BYTES], uint8_t id[SHOAL_ID_BYTES],
                           shoal_error *err)
{
    uint8_t hash[32];
    SHOAL_TRY(shoal_sha256(spki, SHOAL_SPKI_BYTES, hash, err));
    memcpy(id, hash, SHOAL_ID_BYTES);
    return SHOAL_OK;
}

static void signature_of(const uint8_t *spki, const uint8_t *digest, uint8_t sig[SHOAL_SIG_BYTES])
{
    mix("r", spki, SHOAL_SPKI_BYTES, digest, 32, sig);
    mix("s", spki, SHOAL_SPKI_BYTES, digest, 32, sig + 32);
}

shoal_status shoal_sign(const shoal_key *key, const uint8_t digest[32],
                        uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    (void)err;
    signature_of(key->spki, digest, sig);
    return SHOAL_OK;
}

shoal_status shoal_verify(const uint8_t spki[SHOAL_SPKI_BYTES], const uint8_t digest[32],
                          const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    uint8_t right[SHOAL_SIG_BYTES];
    signature_of(spki, digest, right);
    if (memcmp(right, sig, sizeof right) == 0) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "a signature does not verify");
}

/* ---- AEAD ---- */

static void tag_of(const shoal_aead_in *in, const uint8_t *sealed, size_t n, uint8_t tag[32])
{
    uint8_t first[32];
    mix("tag", in->key, 32, in->nonce, 12, first);
    mix("tag", first, 32, in->aad, in->aad_n, first);
    mix("tag", first, 32, sealed, n, tag);
}

static void cipher(const shoal_aead_in *in, const uint8_t *from, size_t n, uint8_t *to)
{
    uint8_t pad[32];
    mix("pad", in->key, 32, in->nonce, 12, pad);
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)(from[i] ^ pad[i % 32] ^ i);
    }
}

shoal_status shoal_aead_seal(const shoal_aead_in *in, const void *plain, size_t n, uint8_t *out,
                             shoal_error *err)
{
    uint8_t tag[32];
    (void)err;
    cipher(in, plain, n, out);
    tag_of(in, out, n, tag);
    memcpy(out + n, tag, SHOAL_AEAD_TAG_BYTES);
    return SHOAL_OK;
}

shoal_status shoal_aead_open(const shoal_aead_in *in, const uint8_t *sealed, size_t n, uint8_t *out,
                             shoal_error *err)
{
    uint8_t tag[32];
    if (n >= SHOAL_AEAD_TAG_BYTES) {
        tag_of(in, sealed, n - SHOAL_AEAD_TAG_BYTES, tag);
        if (memcmp(tag, sealed + n - SHOAL_AEAD_TAG_BYTES, SHOAL_AEAD_TAG_BYTES) == 0) {
            cipher(in, sealed, n - SHOAL_AEAD_TAG_BYTES, out);
            return SHOAL_OK;
        }
        memset(out, 0, n - SHOAL_AEAD_TAG_BYTES);
    }
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "a sealed message does not open");
}

/* ---- certificates: kind, times, key, the issuer's signature ---- */

enum { CERT_BODY = 1 + 16 + SHOAL_SPKI_BYTES, CERT_BYTES = CERT_BODY + SHOAL_SIG_BYTES };

static void put_cert(uint8_t kind, const uint8_t *spki, const int64_t times[2],
                     const uint8_t *issuer, uint8_t out[CERT_BYTES])
{
    uint8_t digest[32];
    out[0] = kind;
    memcpy(out + 1, times, 16);
    memcpy(out + 17, spki, SHOAL_SPKI_BYTES);
    mix("cert", out, CERT_BODY, NULL, 0, digest);
    signature_of(issuer, digest, out + CERT_BODY);
}

shoal_status shoal_ca_create(const shoal_key *key, const char *name, int64_t not_before_s,
                             int64_t not_after_s, const shoal_entropy *entropy, shoal_buf *out,
                             shoal_error *err)
{
    uint8_t cert[CERT_BYTES];
    const int64_t times[2] = {not_before_s, not_after_s};
    (void)name;
    (void)entropy;
    put_cert(0, key->spki, times, key->spki, cert);
    (void)shoal_buf_put(out, cert, sizeof cert);
    return shoal_buf_status(out, err);
}

shoal_status shoal_cert_issue(const shoal_key *ca_key, const void *ca_der, size_t ca_n,
                              const shoal_cert_template *t, shoal_buf *out, shoal_error *err)
{
    uint8_t cert[CERT_BYTES];
    const int64_t times[2] = {t->not_before_s, t->not_after_s};
    (void)ca_der;
    (void)ca_n;
    put_cert((uint8_t)t->kind, t->spki, times, ca_key->spki, cert);
    (void)shoal_buf_put(out, cert, sizeof cert);
    return shoal_buf_status(out, err);
}

shoal_status shoal_cert_check(const void *ca_der, size_t ca_n, const void *leaf_der, size_t leaf_n,
                              shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                              shoal_error *err)
{
    const uint8_t *ca = ca_der, *leaf = leaf_der;
    uint8_t right[CERT_BYTES];
    int64_t times[2];
    if (ca_n != CERT_BYTES || leaf_n != CERT_BYTES || leaf[0] != (uint8_t)kind) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "not a certificate");
    }
    memcpy(times, leaf + 1, 16);
    put_cert(leaf[0], leaf + 17, times, ca + 17, right);
    if (memcmp(right, leaf, CERT_BYTES) != 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "not issued here");
    }
    if (now_s < times[0] || now_s > times[1]) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "not valid now");
    }
    memset(out, 0, sizeof *out);
    memcpy(out->spki, leaf + 17, SHOAL_SPKI_BYTES);
    out->not_before_s = times[0];
    out->not_after_s = times[1];
    return shoal_spki_id(out->spki, out->id, err);
}
