/* x509_attest.c - Android key attestation: a chain of certificates against pinned roots. */
#include "proto/x509_attest.h"

#include <string.h>

#include "proto/der.h"
#include "proto/x509_parse.h"

enum { ROOTS_MAX = 16, MIN_RSA_BITS = 2048 };

/* 1.3.6.1.4.1.11129.2.1.17 */
static const uint8_t KEY_DESCRIPTION[] = {0x2b, 0x06, 0x01, 0x04, 0x01,
                                          0xd6, 0x79, 0x02, 0x01, 0x11};

/* What vendors sign with; SHA-1 and short keys are out. */
static const mbedtls_x509_crt_profile PROFILE = {
    .allowed_mds = MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA256) |
                   MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA384) |
                   MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA512),
    .allowed_pks = 0xFFFFFFFu,
    .allowed_curves = MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP256R1) |
                      MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP384R1) |
                      MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP521R1),
    .rsa_min_bitlen = MIN_RSA_BITS};

static shoal_status unreadable(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "the attestation's certificates cannot be read");
}

static shoal_status parse_chain(mbedtls_x509_crt *chain, shoal_cursor *c, shoal_error *err)
{
    unsigned n = shoal_cursor_u8(c);
    if (c->failed || n < 1 || n > SHOAL_ATTEST_CHAIN_MAX) return unreadable(err);
    mbedtls_x509_crt *last = chain;
    for (unsigned i = 0; i < n; i++) {
        uint16_t size = shoal_cursor_u16(c);
        const uint8_t *der = shoal_cursor_bytes(c, size);
        if (der == NULL || size == 0 || size > SHOAL_ATTEST_CERT_MAX ||
            mbedtls_x509_crt_parse_der(chain, der, size) != 0) {
            return unreadable(err);
        }
        last = i > 0 ? last->next : last;
        if (last == NULL || last->raw.len != size) return unreadable(err);
    }
    return shoal_cursor_done(c) ? SHOAL_OK : unreadable(err);
}

static shoal_status parse_roots(mbedtls_x509_crt *roots, const uint8_t *p, size_t n,
                                shoal_error *err)
{
    mbedtls_x509_crt *last = roots;
    for (int i = 0; n > 0; i++) {
        if (i == ROOTS_MAX || mbedtls_x509_crt_parse_der(roots, p, n) != 0) {
            return shoal_fail(err, SHOAL_ERR_INTERNAL, "the attestation roots cannot be read");
        }
        while (last->next != NULL) {
            last = last->next;
        }
        p += last->raw.len;
        n -= last->raw.len;
    }
    return roots->version != 0
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_ERR_INTERNAL, "there are no attestation roots");
}

/* The value of the extension, NULL when the certificate has none; twice is refused. */
static shoal_status find_extension(const mbedtls_x509_crt *crt, const uint8_t **out, size_t *n,
                                   shoal_error *err)
{
    *out = NULL;
    *n = 0;
    if (crt->v3_ext.len == 0) return SHOAL_OK;
    shoal_der all = shoal_der_init(crt->v3_ext.p, crt->v3_ext.len);
    shoal_der list = shoal_der_enter(&all, SHOAL_DER_SEQUENCE);
    while (list.left > 0 && !list.failed) {
        size_t oid_n;
        shoal_der_item value;
        shoal_der one = shoal_der_enter(&list, SHOAL_DER_SEQUENCE);
        const uint8_t *oid = shoal_der_take(&one, SHOAL_DER_OID, &oid_n);
        if (shoal_der_next(&one, &value) && value.tag == SHOAL_DER_BOOLEAN) {
            (void)shoal_der_next(&one, &value); /* critical */
        }
        if (one.failed || one.left > 0 || value.tag != SHOAL_DER_OCTETS) return unreadable(err);
        if (oid_n != sizeof KEY_DESCRIPTION || memcmp(oid, KEY_DESCRIPTION, oid_n) != 0) continue;
        if (*out != NULL) return unreadable(err);
        *out = value.p;
        *n = value.n;
    }
    return list.failed || all.failed ? unreadable(err) : SHOAL_OK;
}

/* Signed up to a root; who is valid when is judged by the caller's clock, below. */
static shoal_status check_signatures(mbedtls_x509_crt *chain, mbedtls_x509_crt *roots,
                                     shoal_error *err)
{
    uint32_t flags = 0;
    int rc = mbedtls_x509_crt_verify_with_profile(chain, roots, NULL, &PROFILE, NULL, &flags, NULL,
                                                  NULL);
    if (rc != 0 && rc != MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) flags = MBEDTLS_X509_BADCERT_OTHER;
    flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
    return flags == 0 ? SHOAL_OK
                      : shoal_fail(err, SHOAL_ERR_TAMPERED,
                                   "the attestation was not signed by a trusted root");
}

static shoal_status check_one(const shoal_attest_policy *p, const mbedtls_x509_crt *crt,
                              int64_t now_s, shoal_error *err)
{
    const uint8_t *serial = crt->serial.p;
    size_t n = crt->serial.len;
    while (n > 0 && *serial == 0) {
        serial++;
        n--;
    }
    if (now_s < shoal_x509_time(&crt->valid_from) || now_s > shoal_x509_time(&crt->valid_to)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "an attestation certificate is not valid now");
    }
    if (p->revoked != NULL && p->revoked(p->ctx, serial, n)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "an attestation key was revoked");
    }
    return SHOAL_OK;
}

/* The leaf alone carries the description: a certificate that an attested key signed itself would
 * say whatever its owner likes. */
static shoal_status find_description(const mbedtls_x509_crt *chain, const uint8_t **out, size_t *n,
                                     shoal_error *err)
{
    const uint8_t *other;
    size_t other_n;
    SHOAL_TRY(find_extension(chain, out, n, err));
    for (const mbedtls_x509_crt *up = chain->next; up != NULL; up = up->next) {
        SHOAL_TRY(find_extension(up, &other, &other_n, err));
        if (other != NULL) {
            return shoal_fail(err, SHOAL_ERR_DENIED,
                              "the attestation was signed by an attested key");
        }
    }
    return *out != NULL ? SHOAL_OK
                        : shoal_fail(err, SHOAL_ERR_DENIED, "the certificate attests nothing");
}

static shoal_status judge(const shoal_attest_policy *p, const shoal_key_description *d,
                          const uint8_t *challenge, shoal_attestation_level *level,
                          shoal_error *err)
{
    int32_t weakest =
        d->attestation_level < d->keymint_level ? d->attestation_level : d->keymint_level;
    if (d->challenge_n != SHOAL_CHALLENGE_BYTES ||
        !shoal_equal(d->challenge, challenge, SHOAL_CHALLENGE_BYTES)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the attestation answers another challenge");
    }
    if (weakest < 1 || d->attestation_level > 2 || d->keymint_level > 2) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the attested key is not held by hardware");
    }
    if (!d->has_root_of_trust || !d->device_locked || d->boot_state != 0) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the device did not boot what its maker signed");
    }
    if (d->app == NULL) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the attestation names no app");
    }
    *level = weakest == 2 ? SHOAL_LEVEL_STRONGBOX : SHOAL_LEVEL_TEE;
    return shoal_application_id_check(d->app, d->app_n, p->package, p->signer, err);
}

static shoal_status verify(const shoal_attest_policy *p, const uint8_t *challenge,
                           mbedtls_x509_crt *chain, mbedtls_x509_crt *roots, int64_t now_s,
                           shoal_attestation_level *level, shoal_error *err)
{
    const uint8_t *value;
    size_t n;
    shoal_key_description d;
    SHOAL_TRY(check_signatures(chain, roots, err));
    for (const mbedtls_x509_crt *c = chain; c != NULL; c = c->next) {
        SHOAL_TRY(check_one(p, c, now_s, err));
    }
    SHOAL_TRY(find_description(chain, &value, &n, err));
    SHOAL_TRY(shoal_key_description_read(value, n, &d, err));
    return judge(p, &d, challenge, level, err);
}

shoal_status shoal_x509_attest(const shoal_attest_policy *p,
                               const uint8_t challenge[SHOAL_CHALLENGE_BYTES], shoal_cursor *c,
                               int64_t now_s, shoal_attestation_level *level, shoal_error *err)
{
    shoal_attestation_level found = SHOAL_LEVEL_NONE;
    mbedtls_x509_crt chain;
    mbedtls_x509_crt roots;
    mbedtls_x509_crt_init(&chain);
    mbedtls_x509_crt_init(&roots);
    shoal_status st = parse_chain(&chain, c, err);
    if (st == SHOAL_OK) st = parse_roots(&roots, p->roots, p->roots_n, err);
    if (st == SHOAL_OK) st = verify(p, challenge, &chain, &roots, now_s, &found, err);
    if (st == SHOAL_OK) *level = found;
    mbedtls_x509_crt_free(&roots);
    mbedtls_x509_crt_free(&chain);
    return st;
}
