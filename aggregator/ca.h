/* ca.h - the certificate authority of a deployment: DIR/ca and what it does.
 *
 *   ca.yaml   settings           ca.key   signs now     next.key  will sign after the next rotation
 *   ca.crt    the bundle, DER    ca.db    invitations, certificates, revocations (ca_db.h)
 *   audit.log what was issued, revoked, rotated (audit.h)
 *
 * It decides alone: whether a token is good, whether a request proves its key, whether attestation
 * suffices, how many certificates there may be in a time, and what stands in a certificate. The
 * aggregator, which talks to the network, only passes requests on (signer.h): it holds neither the
 * key nor the means to make it sign. What a taken-over aggregator can still do is deny service.
 *
 * Whoever can write DIR/ca can invite; that is why it is a directory of its own.
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_CA_H
#define SHOAL_AGGREGATOR_CA_H

#include "aggregator/ca_db.h"
#include "aggregator/config.h"
#include "proto/attest.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_ca shoal_ca;

/* ---- for the operator ---- */

/* Makes DIR/ca with keys, settings and database. server_spki: the only key that will ever get a
 * server certificate. */
SHOAL_MUST_USE shoal_status shoal_ca_make(const char *dir, const shoal_ca_settings *settings,
                                          const uint8_t server_spki[SHOAL_SPKI_BYTES],
                                          int64_t now_s, shoal_error *err);

SHOAL_MUST_USE shoal_status shoal_ca_open(shoal_ca **out, const char *dir, shoal_error *err);
void shoal_ca_close(shoal_ca *ca); /* wipes; NULL is fine */

/* A fresh token, good once until now_s + ttl_s; only its hash is kept. */
SHOAL_MUST_USE shoal_status shoal_ca_invite(const char *dir, int64_t now_s, int64_t ttl_s,
                                            uint8_t token[SHOAL_TOKEN_BYTES], shoal_error *err);
/* No renewals for this device from now on. */
SHOAL_MUST_USE shoal_status shoal_ca_revoke(const char *dir, const uint8_t id[SHOAL_ID_BYTES],
                                            int64_t now_s, shoal_error *err);
/* next.key takes over and names a successor of its own; the certificate before it stays in the
 * bundle, its key is destroyed. A running CA notices. STATE within seven days of the last one,
 * unless forced. */
SHOAL_MUST_USE shoal_status shoal_ca_rotate(const char *dir, int64_t now_s, bool force,
                                            shoal_error *err);

/* ---- for the aggregator, through signer.h ---- */

/* Reads key and bundle again when `ca rotate` wrote them; AGAIN while it does. */
SHOAL_MUST_USE shoal_status shoal_ca_reload(shoal_ca *ca, shoal_error *err);
const shoal_buf *shoal_ca_bundle_of(const shoal_ca *ca);

typedef struct shoal_ca_grant {
    shoal_attestation_level level;
    shoal_wire_der cert;
} shoal_ca_grant;

/* Spec 2.2. DENIED: unknown, used or expired token. */
SHOAL_MUST_USE shoal_status shoal_ca_begin(shoal_ca *ca, const shoal_enrol_begin *q, int64_t now_s,
                                           shoal_enrol_challenge *out, shoal_error *err);
/* Spec 2.2 to 2.6. DENIED as above or when attestation does not suffice, AGAIN when a rate is
 * exceeded, TAMPERED when the request does not prove its key. The same key with the same token gets
 * the same certificate again. */
SHOAL_MUST_USE shoal_status shoal_ca_enrol(shoal_ca *ca, const shoal_enrol_request *q,
                                           int64_t now_s, shoal_ca_grant *out, shoal_error *err);
/* Spec 2.7. `old`: the certificate that the connection was authorised by. */
SHOAL_MUST_USE shoal_status shoal_ca_renew(shoal_ca *ca, const shoal_wire_der *old,
                                           const shoal_renew_request *q, int64_t now_s,
                                           shoal_ca_grant *out, shoal_error *err);
/* A certificate of the one server key for these names. */
SHOAL_MUST_USE shoal_status shoal_ca_server(shoal_ca *ca, const char *const *hosts, size_t n_hosts,
                                            int64_t now_s, shoal_wire_der *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
