/* x509_attest.h - Android key attestation: the chain. Internal to attest.c.
 *
 * Layer: proto/, private. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_X509_ATTEST_H
#define SHOAL_PROTO_X509_ATTEST_H

#include "proto/attest.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What stands behind the kind byte of evidence; the whole of it is read. */
SHOAL_MUST_USE shoal_status shoal_x509_attest(const shoal_attest_policy *p,
                                              const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                                              shoal_cursor *c, int64_t now_s,
                                              shoal_attestation_level *level, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
