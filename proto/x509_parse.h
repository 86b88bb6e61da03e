/* x509_parse.h - what x509.c, x509_ca.c and attest_chain.c share of mbedTLS's reader. Internal.
 *
 * Layer: proto/, private. Threads: no shared state.
 */
#ifndef SHOAL_PROTO_X509_PARSE_H
#define SHOAL_PROTO_X509_PARSE_H

#include <stdbool.h>

#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "proto/x509.h"

#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(member) member /* 2.28 has no private members */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One or two certificates into the chain *ca (initialised by the caller, freed by the caller also
 * on failure); FORMAT when anything else stands there. */
SHOAL_MUST_USE shoal_status shoal_x509_parse_bundle(mbedtls_x509_crt *ca, const void *der, size_t n,
                                                    shoal_error *err);

/* SPKI of a parsed key; FORMAT for anything but P-256. */
SHOAL_MUST_USE shoal_status shoal_x509_spki(mbedtls_pk_context *pk, uint8_t spki[SHOAL_SPKI_BYTES],
                                            shoal_error *err);

/* ECDSA with SHA-256 by the issuer's P-256 key. */
bool shoal_x509_signed_by(const mbedtls_x509_crt *leaf, mbedtls_x509_crt *ca);

int64_t shoal_x509_time(const mbedtls_x509_time *t);

#ifdef __cplusplus
}
#endif
#endif
