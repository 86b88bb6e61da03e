/* enrol.h - how a device becomes a member: key, certificate, and what it pins.
 *
 * The identity key is made on the device and stays there (identity/key.der, 0600). The record
 * `enrolment` is written last: a device with that file is enrolled, one without it is not, whatever
 * else lies in identity/.
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_ENROL_H
#define SHOAL_CLIENT_ENROL_H

#include <stdbool.h>
#include <stdint.h>

#include "client/net.h"
#include "client/store.h"
#include "proto/crypto.h"
#include "proto/enrol.h"
#include "proto/join_link.h"
#include "proto/limits.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_enrolment {
    char server_url[SHOAL_LIMIT_HOST + 32]; /* "https://host:port" */
    uint8_t pin[32];                        /* of the server's TLS key */
    uint8_t task_spki[SHOAL_SPKI_BYTES];    /* signs descriptors and releases */
    char deployment[SHOAL_LIMIT_NAME];
    uint8_t id[SHOAL_ID_BYTES];
    int64_t enrolled_at_s;
    int64_t not_before_s, not_after_s; /* of the certificate */
    shoal_wire_der cert, ca;
    shoal_key *key; /* owned */
    char cert_path[SHOAL_PATH_MAX];
    char key_path[SHOAL_PATH_MAX];
} shoal_enrolment;

/* How a device shows what it is (PROTOCOL.md 2.9). A host fills this in: an app on Android has a
 * key made with the challenge and hands its certificate chain over as evidence. Appends evidence
 * (proto/attest.h) to `out`, at most SHOAL_LIMIT_ATTESTATION bytes. */
typedef struct shoal_attester {
    shoal_attestation_kind kind;
    shoal_status (*attest)(void *ctx, const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                           shoal_buf *out, shoal_error *err);
    void *ctx;
} shoal_attester;

/* Enrols with a join link. attester NULL: this device can show nothing, and a deployment that asks
 * for an attestation refuses it (DENIED). Refused with STATE and a hint when the device is enrolled
 * already. Nothing is left behind on failure. now_s: seconds since 1970. */
SHOAL_MUST_USE shoal_status shoal_enrol(const shoal_store *s, const shoal_join_link *link,
                                        const shoal_attester *attester, int64_t now_s,
                                        bool (*stop)(void), shoal_enrolment *out, shoal_error *err);

/* Reads what shoal_enrol wrote; NOT_FOUND with a hint when this device has not joined. */
SHOAL_MUST_USE shoal_status shoal_enrolment_load(const shoal_store *s, shoal_enrolment *out,
                                                 shoal_error *err);
void shoal_enrolment_clear(shoal_enrolment *e); /* wipes the key; a zeroed one is fine */

/* A connection that speaks mutual TLS as this device. */
SHOAL_MUST_USE shoal_status shoal_enrolment_connect(const shoal_enrolment *e, bool (*stop)(void),
                                                    shoal_net **net, shoal_error *err);

/* True once two thirds of the certificate's life are over (PROTOCOL.md 2.7). */
bool shoal_enrolment_due(const shoal_enrolment *e, int64_t now_s);

/* Asks for a new certificate over `net` and replaces the old one; the connection should be opened
 * anew afterwards. The CA's certificates that come along are taken as below. */
SHOAL_MUST_USE shoal_status shoal_enrolment_renew(const shoal_store *s, shoal_enrolment *e,
                                                  shoal_net *net, int64_t now_s, shoal_error *err);

/* The CA may have changed: takes over what the server says are its certificates when they follow
 * from the pinned ones, TAMPERED otherwise (PROTOCOL.md 2.8). */
SHOAL_MUST_USE shoal_status shoal_enrolment_refresh_ca(const shoal_store *s, shoal_enrolment *e,
                                                       shoal_net *net, int64_t now_s,
                                                       shoal_error *err);

/* Forgets the membership: enrolment first, then key and certificates. Models and adapters stay. */
SHOAL_MUST_USE shoal_status shoal_enrolment_forget(const shoal_store *s, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
