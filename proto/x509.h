/* x509.h - certificate requests and certificates, DER, from fixed templates.
 *
 * A deployment has one self-signed CA, or two while it changes from one to the next: a *bundle* is
 * one or two CA certificates one behind the other, newest first. Every leaf is issued directly by
 * it: P-256 key, ECDSA with SHA-256, CN = hex of the key's identity, CA:FALSE, one extended key
 * usage. Nothing that a stranger wrote is copied into a certificate except the public key of a
 * verified request. Time is an argument: seconds since 1970, UTC.
 *
 * x509.c: requests and leaves. x509_ca.c: bundles and how they follow each other.
 *
 * Layer: proto/. Threads: no shared state.
 */
#ifndef SHOAL_PROTO_X509_H
#define SHOAL_PROTO_X509_H

#include "kernels/base/buf.h"
#include "proto/crypto.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_SERIAL_BYTES = 16 };

typedef enum shoal_cert_kind {
    SHOAL_CERT_CLIENT = 1, /* EKU clientAuth */
    SHOAL_CERT_SERVER = 2  /* EKU serverAuth, subjectAltName = host */
} shoal_cert_kind;

/* What a checked leaf says. */
typedef struct shoal_cert_info {
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t id[SHOAL_ID_BYTES];         /* from the key, never self-declared */
    uint8_t serial[SHOAL_SERIAL_BYTES]; /* big-endian, left-padded with zeros */
    int64_t not_before_s, not_after_s;
} shoal_cert_info;

typedef struct shoal_cert_template {
    shoal_cert_kind kind;
    const uint8_t *spki;      /* [SHOAL_SPKI_BYTES] of the subject */
    const char *const *hosts; /* server only: IPv4/IPv6 literals or DNS names */
    size_t n_hosts;           /* 0..8 */
    int64_t not_before_s, not_after_s;
    const shoal_entropy *entropy; /* of the serial number; NULL: the system */
} shoal_cert_template;

/* Appends a PKCS#10 request (DER), signed by the key it asks for. */
SHOAL_MUST_USE shoal_status shoal_csr_create(const shoal_key *key, shoal_buf *out,
                                             shoal_error *err);
/* The public key of a request whose signature (proof of possession) is right. */
SHOAL_MUST_USE shoal_status shoal_csr_check(const void *der, size_t n,
                                            uint8_t spki[SHOAL_SPKI_BYTES], shoal_error *err);

/* Appends a self-signed CA certificate (DER), CA:TRUE, pathlen 0. CN = `name`, [A-Za-z0-9 -]. */
SHOAL_MUST_USE shoal_status shoal_ca_create(const shoal_key *key, const char *name,
                                            int64_t not_before_s, int64_t not_after_s,
                                            const shoal_entropy *entropy, shoal_buf *out,
                                            shoal_error *err);

/* What a CA certificate says. */
typedef struct shoal_ca_info {
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t id[SHOAL_ID_BYTES];
    uint8_t next_id[SHOAL_ID_BYTES]; /* identity of the key that will follow; zeros: not named */
    uint32_t generation;             /* 1 is the first; 0: not named */
    int64_t not_before_s, not_after_s;
    size_t size; /* bytes of this certificate */
} shoal_ca_info;

/* The name of a CA of generation g whose successor's key has the given identity: "Shoal CA 2
 * 00112233445566778899aabbccddeeff". (Spec 2.8) */
enum { SHOAL_CA_NAME = 64 };
void shoal_ca_name(uint32_t generation, const uint8_t next_id[SHOAL_ID_BYTES],
                   char out[SHOAL_CA_NAME]);

/* Certificate `i` of a bundle, its own signature checked; NOT_FOUND behind the last. */
SHOAL_MUST_USE shoal_status shoal_ca_read(const void *bundle, size_t n, size_t i,
                                          shoal_ca_info *out, shoal_error *err);

/* May `offered` take the place of the bundle that is pinned? Each of its certificates must be
 * pinned, or valid now and made by the key that one accepted before it names as its successor; and
 * the newest may not be older than the newest pinned one. TAMPERED otherwise. (Spec 2.8) */
SHOAL_MUST_USE shoal_status shoal_ca_follow(const void *pinned, size_t pinned_n,
                                            const void *offered, size_t offered_n, int64_t now_s,
                                            shoal_error *err);

/* Appends a leaf (DER) issued by the CA whose certificate is the first of the bundle. */
SHOAL_MUST_USE shoal_status shoal_cert_issue(const shoal_key *ca_key, const void *ca_der,
                                             size_t ca_n, const shoal_cert_template *t,
                                             shoal_buf *out, shoal_error *err);

/* Checks one leaf: exactly one DER certificate, issued directly by a CA of the bundle, of this
 * kind, CA:FALSE, P-256, CN = hex id, valid at now_s. DENIED when expired or not yet valid,
 * TAMPERED otherwise. */
SHOAL_MUST_USE shoal_status shoal_cert_check(const void *ca_der, size_t ca_n, const void *leaf_der,
                                             size_t leaf_n, shoal_cert_kind kind, int64_t now_s,
                                             shoal_cert_info *out, shoal_error *err);

/* Reads a leaf without judging it (its own certificate on disk: when to renew). */
SHOAL_MUST_USE shoal_status shoal_cert_read(const void *der, size_t n, shoal_cert_info *out,
                                            shoal_error *err);

/* Appends PEM text of one certificate (for libraries that want PEM). */
SHOAL_MUST_USE shoal_status shoal_cert_encode_pem(const void *der, size_t n, shoal_buf *out,
                                                  shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
