/* x509.c - requests and certificates over mbedTLS's X.509 reader and writer. */
#include "proto/x509.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mbedtls/asn1.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

#include "kernels/base/mem.h"
#include "proto/limits.h"
#include "proto/x509_parse.h"

enum { NAME_MAX_BYTES = 64, DER_MAX = 2048, HOSTS_MAX = 8 };

static shoal_status broken(shoal_error *err, const char *what)
{
    return shoal_fail(err, SHOAL_ERR_INTERNAL, "%s failed", what);
}

static int draw(void *unused, unsigned char *out, size_t n)
{
    (void)unused;
    return shoal_random(out, n, NULL) == SHOAL_OK ? 0 : MBEDTLS_ERR_PK_ALLOC_FAILED;
}

/* ---- keys and names ---- */

static shoal_status load_private(mbedtls_pk_context *pk, const shoal_key *key, shoal_error *err)
{
    shoal_buf der = shoal_buf_init(512);
    shoal_status st = shoal_key_encode_der(key, &der, err);
    if (st == SHOAL_OK) {
#if MBEDTLS_VERSION_MAJOR < 3
        int rc = mbedtls_pk_parse_key(pk, der.data, der.len, NULL, 0);
#else
        int rc = mbedtls_pk_parse_key(pk, der.data, der.len, NULL, 0, draw, NULL);
#endif
        st = rc == 0 ? SHOAL_OK : broken(err, "loading a key");
    }
    shoal_buf_wipe(&der);
    return st;
}

/* SPKI of a parsed key; FORMAT for anything but P-256. */
shoal_status shoal_x509_spki(mbedtls_pk_context *pk, uint8_t spki[SHOAL_SPKI_BYTES],
                             shoal_error *err)
{
    uint8_t der[256];
    if (mbedtls_pk_get_type(pk) != MBEDTLS_PK_ECKEY ||
        mbedtls_pk_ec(*pk)->MBEDTLS_PRIVATE(grp).id != MBEDTLS_ECP_DP_SECP256R1 ||
        mbedtls_pk_write_pubkey_der(pk, der, sizeof der) != SHOAL_SPKI_BYTES) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a certificate or request is not for a P-256 key");
    }
    memcpy(spki, der + sizeof der - SHOAL_SPKI_BYTES, SHOAL_SPKI_BYTES);
    return SHOAL_OK;
}

static shoal_status id_name(const uint8_t spki[SHOAL_SPKI_BYTES], char name[2 * SHOAL_ID_BYTES + 1],
                            shoal_error *err)
{
    uint8_t id[SHOAL_ID_BYTES];
    SHOAL_TRY(shoal_spki_id(spki, id, err));
    shoal_hex_encode(id, sizeof id, name);
    return SHOAL_OK;
}

/* ---- time ---- */

/* Days since 1970-01-01 of a proleptic Gregorian date (Hinnant, "chrono-compatible low-level date
 * algorithms", days_from_civil). */
static int64_t days_from_date(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

int64_t shoal_x509_time(const mbedtls_x509_time *t)
{
    return days_from_date(t->year, t->mon, t->day) * 86400 + t->hour * 3600 + t->min * 60 + t->sec;
}

/* "YYYYMMDDhhmmss", as mbedTLS's writer wants it. */
static bool write_time(int64_t s, char out[16])
{
    time_t when = (time_t)s;
    struct tm tm;
    return s >= 0 && gmtime_r(&when, &tm) != NULL && tm.tm_year < 8000 &&
           strftime(out, 16, "%Y%m%d%H%M%S", &tm) == 14;
}

/* ---- requests ---- */

shoal_status shoal_csr_create(const shoal_key *key, shoal_buf *out, shoal_error *err)
{
    uint8_t der[DER_MAX];
    mbedtls_pk_context pk;
    mbedtls_x509write_csr csr;
    mbedtls_pk_init(&pk);
    mbedtls_x509write_csr_init(&csr);
    shoal_status st = load_private(&pk, key, err);
    if (st == SHOAL_OK) {
        mbedtls_x509write_csr_set_key(&csr, &pk);
        mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
        int rc = mbedtls_x509write_csr_set_subject_name(&csr, "CN=shoal device");
        if (rc == 0) rc = mbedtls_x509write_csr_der(&csr, der, sizeof der, draw, NULL);
        if (rc < 0) {
            st = broken(err, "writing a certificate request");
        } else {
            (void)shoal_buf_put(out, der + sizeof der - (size_t)rc, (size_t)rc);
            st = shoal_buf_status(out, err);
        }
    }
    mbedtls_x509write_csr_free(&csr);
    mbedtls_pk_free(&pk);
    return st;
}

/* Whether the request's own key signed it (Spec 2.4). */
static bool csr_signature_right(mbedtls_x509_csr *csr)
{
    uint8_t hash[32];
    return csr->MBEDTLS_PRIVATE(sig_md) == MBEDTLS_MD_SHA256 &&
           csr->MBEDTLS_PRIVATE(sig_pk) == MBEDTLS_PK_ECDSA &&
           shoal_sha256(csr->cri.p, csr->cri.len, hash, NULL) == SHOAL_OK &&
           mbedtls_pk_verify(&csr->pk, MBEDTLS_MD_SHA256, hash, sizeof hash,
                             csr->MBEDTLS_PRIVATE(sig).p, csr->MBEDTLS_PRIVATE(sig).len) == 0;
}

shoal_status shoal_csr_check(const void *der, size_t n, uint8_t spki[SHOAL_SPKI_BYTES],
                             shoal_error *err)
{
    if (n > SHOAL_LIMIT_CSR) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a certificate request of %zu bytes", n);
    }
    mbedtls_x509_csr csr;
    mbedtls_x509_csr_init(&csr);
    shoal_status st = SHOAL_OK;
    if (mbedtls_x509_csr_parse_der(&csr, der, n) != 0 || csr.raw.len != n) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "not a certificate request");
    } else {
        st = shoal_x509_spki(&csr.pk, spki, err);
    }
    if (st == SHOAL_OK && !csr_signature_right(&csr)) {
        st = shoal_fail(err, SHOAL_ERR_TAMPERED, "a certificate request is not signed by its key");
    }
    mbedtls_x509_csr_free(&csr);
    return st;
}

/* ---- issuing ---- */

/* Everything one certificate is written from. */
typedef struct cert_plan {
    const char *subject, *issuer; /* "CN=..." */
    mbedtls_pk_context *subject_key, *issuer_key;
    int64_t not_before_s, not_after_s;
    uint8_t serial[SHOAL_SERIAL_BYTES];
    bool ca;
    uint8_t usage;        /* last arc of the extended key usage OID; 0 for a CA */
    const shoal_buf *san; /* GeneralNames contents; NULL for none */
} cert_plan;

/* 2.5.29.37 = SEQUENCE OF id-kp-clientAuth (..3.2) or id-kp-serverAuth (..3.1) (RFC 5280 4.2.1.12)
 */
static int write_usage(mbedtls_x509write_cert *w, uint8_t usage)
{
    uint8_t eku[12] = {0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, usage};
    return mbedtls_x509write_crt_set_extension(w, MBEDTLS_OID_EXTENDED_KEY_USAGE,
                                               MBEDTLS_OID_SIZE(MBEDTLS_OID_EXTENDED_KEY_USAGE), 1,
                                               eku, sizeof eku);
}

static int write_san(mbedtls_x509write_cert *w, const shoal_buf *names)
{
    uint8_t san[4 + HOSTS_MAX * 258];
    size_t n = names->len;
    san[0] = 0x30;
    san[1] = 0x82;
    san[2] = (uint8_t)(n >> 8);
    san[3] = (uint8_t)n;
    memcpy(san + 4, names->data, n);
    /* DER wants the shortest length form. */
    uint8_t *start = san;
    if (n < 0x80) {
        start = san + 2;
        start[0] = 0x30;
        start[1] = (uint8_t)n;
    } else if (n < 0x100) {
        start = san + 1;
        start[0] = 0x30;
        start[1] = 0x81;
    }
    return mbedtls_x509write_crt_set_extension(w, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                               MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0,
                                               start, n + 4 - (size_t)(start - san));
}

static int write_serial(mbedtls_x509write_cert *w, const uint8_t serial[SHOAL_SERIAL_BYTES])
{
    mbedtls_mpi v;
    mbedtls_mpi_init(&v);
    int rc = mbedtls_mpi_read_binary(&v, serial, SHOAL_SERIAL_BYTES);
    if (rc == 0) rc = mbedtls_x509write_crt_set_serial(w, &v);
    mbedtls_mpi_free(&v);
    return rc;
}

static int fill_cert(mbedtls_x509write_cert *w, const cert_plan *p)
{
    char from[16];
    char to[16];
    if (!write_time(p->not_before_s, from) || !write_time(p->not_after_s, to)) return -1;
    mbedtls_x509write_crt_set_version(w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(w, p->subject_key);
    mbedtls_x509write_crt_set_issuer_key(w, p->issuer_key);
    int rc = mbedtls_x509write_crt_set_subject_name(w, p->subject);
    if (rc == 0) rc = mbedtls_x509write_crt_set_issuer_name(w, p->issuer);
    if (rc == 0) rc = write_serial(w, p->serial);
    if (rc == 0) rc = mbedtls_x509write_crt_set_validity(w, from, to);
    if (rc == 0) rc = mbedtls_x509write_crt_set_basic_constraints(w, p->ca, p->ca ? 0 : -1);
    if (rc == 0) rc = mbedtls_x509write_crt_set_subject_key_identifier(w);
    if (rc == 0) rc = mbedtls_x509write_crt_set_authority_key_identifier(w);
    if (rc == 0) {
        rc = mbedtls_x509write_crt_set_key_usage(w, p->ca ? MBEDTLS_X509_KU_KEY_CERT_SIGN |
                                                                MBEDTLS_X509_KU_CRL_SIGN
                                                          : MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    }
    if (rc == 0 && p->usage != 0) rc = write_usage(w, p->usage);
    if (rc == 0 && p->san != NULL) rc = write_san(w, p->san);
    return rc;
}

static shoal_status write_cert(const cert_plan *p, shoal_buf *out, shoal_error *err)
{
    uint8_t der[DER_MAX + HOSTS_MAX * 258];
    mbedtls_x509write_cert w;
    mbedtls_x509write_crt_init(&w);
    int rc = fill_cert(&w, p);
    if (rc == 0) rc = mbedtls_x509write_crt_der(&w, der, sizeof der, draw, NULL);
    mbedtls_x509write_crt_free(&w);
    if (rc < 0) return broken(err, "writing a certificate");
    if (rc > SHOAL_LIMIT_CERT) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the certificate would have %d bytes", rc);
    }
    (void)shoal_buf_put(out, der + sizeof der - (size_t)rc, (size_t)rc);
    return shoal_buf_status(out, err);
}

/* 127 random bits, positive and never zero (RFC 5280 4.1.2.2). */
static shoal_status make_serial(const shoal_entropy *entropy, uint8_t serial[SHOAL_SERIAL_BYTES],
                                shoal_error *err)
{
    SHOAL_TRY(shoal_entropy_fill(entropy, serial, SHOAL_SERIAL_BYTES, err));
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40);
    return SHOAL_OK;
}

static bool name_is_plain(const char *s)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -";
    size_t n = strlen(s);
    return n > 0 && n < NAME_MAX_BYTES - 3 && strspn(s, allowed) == n;
}

shoal_status shoal_ca_create(const shoal_key *key, const char *name, int64_t not_before_s,
                             int64_t not_after_s, const shoal_entropy *entropy, shoal_buf *out,
                             shoal_error *err)
{
    char dn[NAME_MAX_BYTES + 4];
    if (!name_is_plain(name)) {
        return shoal_fail(err, SHOAL_ERR_ARG,
                          "a CA's name is 1..60 letters, digits, spaces and hyphens");
    }
    (void)snprintf(dn, sizeof dn, "CN=%s", name);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    cert_plan p = {.subject = dn,
                   .issuer = dn,
                   .subject_key = &pk,
                   .issuer_key = &pk,
                   .ca = true,
                   .not_before_s = not_before_s,
                   .not_after_s = not_after_s};
    shoal_status st = make_serial(entropy, p.serial, err);
    if (st == SHOAL_OK) st = load_private(&pk, key, err);
    if (st == SHOAL_OK) st = write_cert(&p, out, err);
    mbedtls_pk_free(&pk);
    return st;
}

static bool host_is_plain(const char *s)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    size_t n = strlen(s);
    return n > 0 && n < 128 && strspn(s, allowed) == n;
}

/* One GeneralName (RFC 5280 4.2.1.6): iPAddress [7] or dNSName [2]. */
static bool put_host(shoal_buf *names, const char *host)
{
    uint8_t ip[16];
    const void *value = host;
    size_t n = strlen(host);
    uint8_t tag = 0x82;
    if (inet_pton(AF_INET, host, ip) == 1) {
        value = ip;
        n = 4;
        tag = 0x87;
    } else if (inet_pton(AF_INET6, host, ip) == 1) {
        value = ip;
        n = 16;
        tag = 0x87;
    } else if (!host_is_plain(host)) {
        return false;
    }
    return shoal_buf_put_u8(names, tag) && shoal_buf_put_u8(names, (uint8_t)n) &&
           shoal_buf_put(names, value, n);
}

static shoal_status collect_hosts(const shoal_cert_template *t, shoal_buf *names, shoal_error *err)
{
    if (t->kind == SHOAL_CERT_SERVER && (t->n_hosts == 0 || t->n_hosts > HOSTS_MAX)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a server certificate needs 1..%d host names",
                          HOSTS_MAX);
    }
    for (size_t i = 0; t->kind == SHOAL_CERT_SERVER && i < t->n_hosts; i++) {
        if (!put_host(names, t->hosts[i])) {
            return shoal_fail(err, SHOAL_ERR_ARG, "'%s' is not a host name or address",
                              t->hosts[i]);
        }
    }
    return SHOAL_OK;
}

/* The CA's CN, which our own template wrote. */
static shoal_status ca_name(const void *ca_der, size_t ca_n, char dn[NAME_MAX_BYTES + 4],
                            shoal_error *err)
{
    mbedtls_x509_crt ca;
    mbedtls_x509_crt_init(&ca);
    shoal_status st = shoal_x509_parse_bundle(&ca, ca_der, ca_n, err);
    if (st != SHOAL_OK || mbedtls_x509_dn_gets(dn, NAME_MAX_BYTES + 4, &ca.subject) <= 3 ||
        memcmp(dn, "CN=", 3) != 0 || !name_is_plain(dn + 3)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "not a CA certificate of this project");
    }
    mbedtls_x509_crt_free(&ca);
    return st;
}

shoal_status shoal_cert_issue(const shoal_key *ca_key, const void *ca_der, size_t ca_n,
                              const shoal_cert_template *t, shoal_buf *out, shoal_error *err)
{
    char subject[3 + 2 * SHOAL_ID_BYTES + 1] = "CN=";
    char issuer[NAME_MAX_BYTES + 4];
    mbedtls_pk_context subject_key;
    mbedtls_pk_context issuer_key;
    mbedtls_pk_init(&subject_key);
    mbedtls_pk_init(&issuer_key);
    shoal_buf names = shoal_buf_init(HOSTS_MAX * 258);
    cert_plan p = {.subject = subject,
                   .issuer = issuer,
                   .subject_key = &subject_key,
                   .issuer_key = &issuer_key,
                   .not_before_s = t->not_before_s,
                   .not_after_s = t->not_after_s,
                   .usage = t->kind == SHOAL_CERT_CLIENT ? 2 : 1,
                   .san = t->kind == SHOAL_CERT_SERVER ? &names : NULL};
    shoal_status st = collect_hosts(t, &names, err);
    if (st == SHOAL_OK) st = ca_name(ca_der, ca_n, issuer, err);
    if (st == SHOAL_OK) st = id_name(t->spki, subject + 3, err);
    if (st == SHOAL_OK) st = make_serial(t->entropy, p.serial, err);
    if (st == SHOAL_OK &&
        mbedtls_pk_parse_public_key(&subject_key, t->spki, SHOAL_SPKI_BYTES) != 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "not a P-256 public key");
    }
    if (st == SHOAL_OK) st = load_private(&issuer_key, ca_key, err);
    if (st == SHOAL_OK) st = write_cert(&p, out, err);
    shoal_buf_clear(&names);
    mbedtls_pk_free(&issuer_key);
    mbedtls_pk_free(&subject_key);
    return st;
}

/* ---- checking ---- */

static shoal_status parse_cert(mbedtls_x509_crt *crt, const void *der, size_t n, shoal_error *err)
{
    if (n == 0 || n > SHOAL_LIMIT_CERT || mbedtls_x509_crt_parse_der(crt, der, n) != 0 ||
        crt->raw.len != n) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "not a certificate");
    }
    return SHOAL_OK;
}

static shoal_status fill_info(mbedtls_x509_crt *crt, shoal_cert_info *out, shoal_error *err)
{
    const uint8_t *serial = crt->serial.p;
    size_t n = crt->serial.len;
    while (n > 0 && *serial == 0) {
        serial++;
        n--;
    }
    if (n > SHOAL_SERIAL_BYTES) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a certificate's serial number is too long");
    }
    memset(out, 0, sizeof *out);
    memcpy(out->serial + SHOAL_SERIAL_BYTES - n, serial, n);
    out->not_before_s = shoal_x509_time(&crt->valid_from);
    out->not_after_s = shoal_x509_time(&crt->valid_to);
    SHOAL_TRY(shoal_x509_spki(&crt->pk, out->spki, err));
    return shoal_spki_id(out->spki, out->id, err);
}

/* CN must be the hex id of the key: exactly one name part, and that one. */
static bool names_its_key(const mbedtls_x509_crt *crt, const shoal_cert_info *info)
{
    char hex[2 * SHOAL_ID_BYTES + 1];
    shoal_hex_encode(info->id, SHOAL_ID_BYTES, hex);
    return crt->subject.next == NULL && crt->subject.val.len == 2 * SHOAL_ID_BYTES &&
           crt->subject.oid.len == MBEDTLS_OID_SIZE(MBEDTLS_OID_AT_CN) &&
           memcmp(crt->subject.oid.p, MBEDTLS_OID_AT_CN, crt->subject.oid.len) == 0 &&
           memcmp(crt->subject.val.p, hex, crt->subject.val.len) == 0;
}

/* Spec 2.6: the template to the letter. What signs more, serves more or lives longer was not made
 * from it. */
static bool is_leaf_of_kind(const mbedtls_x509_crt *crt, shoal_cert_kind kind,
                            const shoal_cert_info *info)
{
    enum {
        EXTENSIONS = MBEDTLS_X509_EXT_BASIC_CONSTRAINTS | MBEDTLS_X509_EXT_KEY_USAGE |
                     MBEDTLS_X509_EXT_EXTENDED_KEY_USAGE
    };
    const char *eku = kind == SHOAL_CERT_CLIENT ? MBEDTLS_OID_CLIENT_AUTH : MBEDTLS_OID_SERVER_AUTH;
    const mbedtls_x509_sequence *uses = &crt->ext_key_usage;
    return crt->version == 3 && crt->MBEDTLS_PRIVATE(ca_istrue) == 0 &&
           (crt->MBEDTLS_PRIVATE(ext_types) & EXTENSIONS) == EXTENSIONS &&
           crt->MBEDTLS_PRIVATE(key_usage) == MBEDTLS_X509_KU_DIGITAL_SIGNATURE &&
           uses->next == NULL && uses->buf.len == strlen(eku) &&
           memcmp(uses->buf.p, eku, uses->buf.len) == 0 &&
           (kind == SHOAL_CERT_SERVER ||
            info->not_after_s - info->not_before_s <= SHOAL_LIMIT_CERT_S);
}

/* SEQUENCE { r INTEGER, s INTEGER } to r || s with the lower of s and n - s, which is a signature
 * of the same digest: certificates may carry either. */
static bool read_signature(const mbedtls_x509_buf *der, uint8_t sig[SHOAL_SIG_BYTES])
{
    unsigned char *p = der->p;
    const unsigned char *end = der->p + der->len;
    size_t len = 0;
    mbedtls_ecp_group grp;
    mbedtls_mpi r, s, other;
    mbedtls_ecp_group_init(&grp);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    mbedtls_mpi_init(&other);
    int rc = mbedtls_asn1_get_tag(&p, end, &len, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE);
    if (rc == 0 && len != (size_t)(end - p)) rc = -1;
    if (rc == 0) rc = mbedtls_asn1_get_mpi(&p, end, &r);
    if (rc == 0) rc = mbedtls_asn1_get_mpi(&p, end, &s);
    if (rc == 0 && p != end) rc = -1;
    if (rc == 0) rc = mbedtls_ecp_group_load(&grp, MBEDTLS_ECP_DP_SECP256R1);
    if (rc == 0) rc = mbedtls_mpi_sub_mpi(&other, &grp.N, &s);
    if (rc == 0 && mbedtls_mpi_cmp_int(&other, 0) > 0 && mbedtls_mpi_cmp_mpi(&s, &other) > 0) {
        rc = mbedtls_mpi_copy(&s, &other);
    }
    if (rc == 0 && (mbedtls_mpi_cmp_int(&r, 0) <= 0 || mbedtls_mpi_cmp_int(&s, 0) <= 0)) rc = -1;
    if (rc == 0) rc = mbedtls_mpi_write_binary(&r, sig, 32);
    if (rc == 0) rc = mbedtls_mpi_write_binary(&s, sig + 32, 32);
    mbedtls_mpi_free(&other);
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_ecp_group_free(&grp);
    return rc == 0;
}

/* ECDSA with SHA-256 by the CA's P-256 key, through the project's own verification. */
bool shoal_x509_signed_by(const mbedtls_x509_crt *leaf, mbedtls_x509_crt *ca)
{
    uint8_t hash[32];
    uint8_t sig[SHOAL_SIG_BYTES];
    uint8_t spki[SHOAL_SPKI_BYTES];
    return leaf->MBEDTLS_PRIVATE(sig_md) == MBEDTLS_MD_SHA256 &&
           leaf->MBEDTLS_PRIVATE(sig_pk) == MBEDTLS_PK_ECDSA &&
           shoal_x509_spki(&ca->pk, spki, NULL) == SHOAL_OK &&
           read_signature(&leaf->MBEDTLS_PRIVATE(sig), sig) &&
           shoal_sha256(leaf->tbs.p, leaf->tbs.len, hash, NULL) == SHOAL_OK &&
           shoal_verify(spki, hash, sig, NULL) == SHOAL_OK;
}

/* Spec 2.6: issued directly, a chain has length 1, so RFC 5280 6.1 comes down to this: the CA may
 * sign certificates, its name is the leaf's issuer, its key made the signature. Time is judged by
 * the caller's clock. */
static bool issued_by(const mbedtls_x509_crt *leaf, mbedtls_x509_crt *ca)
{
    return ca->version == 3 && ca->MBEDTLS_PRIVATE(ca_istrue) != 0 &&
           mbedtls_x509_crt_check_key_usage(ca, MBEDTLS_X509_KU_KEY_CERT_SIGN) == 0 &&
           leaf->issuer_raw.len == ca->subject_raw.len &&
           memcmp(leaf->issuer_raw.p, ca->subject_raw.p, ca->subject_raw.len) == 0 &&
           shoal_x509_signed_by(leaf, ca);
}

static bool issued_by_any(const mbedtls_x509_crt *leaf, mbedtls_x509_crt *ca)
{
    for (; ca != NULL; ca = ca->next) {
        if (issued_by(leaf, ca)) return true;
    }
    return false;
}

static shoal_status judge(mbedtls_x509_crt *leaf, mbedtls_x509_crt *ca, shoal_cert_kind kind,
                          int64_t now_s, const shoal_cert_info *info, shoal_error *err)
{
    if (!is_leaf_of_kind(leaf, kind, info) || !names_its_key(leaf, info) ||
        !issued_by_any(leaf, ca)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED,
                          "a certificate was not issued by this deployment");
    }
    if (now_s < info->not_before_s || now_s > info->not_after_s) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "a certificate is %s",
                          now_s < info->not_before_s ? "not valid yet" : "expired");
    }
    return SHOAL_OK;
}

shoal_status shoal_cert_check(const void *ca_der, size_t ca_n, const void *leaf_der, size_t leaf_n,
                              shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                              shoal_error *err)
{
    mbedtls_x509_crt ca;
    mbedtls_x509_crt leaf;
    mbedtls_x509_crt_init(&ca);
    mbedtls_x509_crt_init(&leaf);
    shoal_status st = shoal_x509_parse_bundle(&ca, ca_der, ca_n, err);
    if (st == SHOAL_OK) st = parse_cert(&leaf, leaf_der, leaf_n, err);
    if (st == SHOAL_OK) st = fill_info(&leaf, out, err);
    if (st == SHOAL_OK) st = judge(&leaf, &ca, kind, now_s, out, err);
    mbedtls_x509_crt_free(&leaf);
    mbedtls_x509_crt_free(&ca);
    return st;
}

shoal_status shoal_cert_read(const void *der, size_t n, shoal_cert_info *out, shoal_error *err)
{
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    shoal_status st = parse_cert(&crt, der, n, err);
    if (st == SHOAL_OK) st = fill_info(&crt, out, err);
    mbedtls_x509_crt_free(&crt);
    return st;
}

shoal_status shoal_cert_encode_pem(const void *der, size_t n, shoal_buf *out, shoal_error *err)
{
    uint8_t text[2 * SHOAL_LIMIT_CERT];
    size_t len = 0;
    if (n > SHOAL_LIMIT_CERT ||
        mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n",
                                 der, n, text, sizeof text, &len) != 0) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a certificate of %zu bytes", n);
    }
    (void)shoal_buf_put_str(out, (const char *)text);
    return shoal_buf_status(out, err);
}
