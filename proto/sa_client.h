/* sa_client.h - the device's half of an SA-1 session, as a pure state machine.
 *
 * No socket, no clock, no disk: bytes in, bytes out. Each call is one one-way transition; calling
 * out of order gives SHOAL_ERR_STATE and changes nothing; any other failure ends the session, wipes
 * its secrets, and no share is ever revealed afterwards. TIMEOUT is the failure that speaks against
 * nobody: what another device brought does not hold now, the next session's may. The caller keeps
 * the bytes of each message and sends exactly the same ones again when it has to retry.
 *
 *   open(descriptor) -> advertise -> roster -> delivery -> members -> input -> [claim] -> request
 *   -> close
 *
 * Before it sends the first message the caller persists descriptor.round as the task's last round,
 * and before it sends M5 the fact that this session has an input: after a crash it never masks
 * another vector for the same session (PROTOCOL.md 6.4).
 *
 * Layer: proto/. Threads: one owner.
 */
#ifndef SHOAL_PROTO_SA_CLIENT_H
#define SHOAL_PROTO_SA_CLIENT_H

#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the device's owner demands, whatever the server asks. */
typedef struct shoal_sa_policy {
    uint32_t n_min;         /* smallest cohort and smallest survivor set */
    uint32_t ring_bits_min; /* 16..32 */
    uint32_t dim;           /* exactly this many coordinates: those of the adapter trained on */
    double clip_norm_max;   /* > 0 */
    uint32_t weight_max;    /* >= 1 */
    uint32_t committee_min; /* signers of a survivor set, when there are so many */
    /* A k-regular graph must keep the promises of PROTOCOL.md 7 against these, see sa_params.h;
     * and is not taken where n_max is at most SHOAL_LIMIT_COMPLETE; security_bits 0: no demand,
     * which is for tests. */
    double corrupt, dropout;
    uint32_t security_bits;
    /* Of the certificates a roster shows, at most so many percent may be younger than new_s; 100:
     * any. Devices made up for one round have new certificates; so have honest ones that just
     * joined or renewed. */
    uint32_t new_percent_max, new_s;
} shoal_sa_policy;

/* n_min 32, ring 16..32, committee 128, 5 % corrupt and 10 % gone at 40 bits, certificates of
 * any age; set dim yourself. */
shoal_sa_policy shoal_sa_policy_default(void);

typedef struct shoal_sa_client_options {
    /* identity, borrowed until close */
    const shoal_key *key;
    const void *cert; /* own leaf, DER */
    size_t cert_n;
    const void *ca; /* CA pinned at enrolment, DER */
    size_t ca_n;
    const uint8_t *task_spki; /* [SHOAL_SPKI_BYTES] pinned task key */

    /* what this device knows */
    shoal_sa_policy policy;
    uint64_t last_round; /* persisted; the session's round must be greater */
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    uint8_t base_model_hash[32]; /* of the files actually used in training */
    uint8_t adapter_hash[32];

    const shoal_exec *ex;         /* borrowed */
    const shoal_entropy *entropy; /* NULL: the system */
} shoal_sa_client_options;

typedef struct shoal_sa_client shoal_sa_client;

/* M0. DENIED with a reason when the policy says no, TAMPERED when the signature is wrong. */
SHOAL_MUST_USE shoal_status shoal_sa_client_open(shoal_sa_client **out,
                                                 const shoal_sa_client_options *opt,
                                                 const void *descriptor, size_t n,
                                                 shoal_error *err);
void shoal_sa_client_close(shoal_sa_client *c); /* wipes */

const shoal_sa_descriptor *shoal_sa_client_descriptor(const shoal_sa_client *c);
/* [32] The hash every value of the session is bound to. */
const uint8_t *shoal_sa_client_context(const shoal_sa_client *c);
/* The stage whose answer is awaited next; FAILED after a failure, DONE after request. */
shoal_sa_stage shoal_sa_client_stage(const shoal_sa_client *c);
/* Size of the roster; 0 before it is known. */
size_t shoal_sa_client_cohort(const shoal_sa_client *c);

/* Appends M1. */
SHOAL_MUST_USE shoal_status shoal_sa_client_advertise(shoal_sa_client *c, shoal_buf *out,
                                                      shoal_error *err);
/* Checks M2, appends M3. now_s, here and below: seconds since 1970 at this moment and not at the
 * session's beginning, since a certificate may have been issued meanwhile. */
SHOAL_MUST_USE shoal_status shoal_sa_client_roster(shoal_sa_client *c, const void *m2, size_t n,
                                                   int64_t now_s, shoal_buf *out, shoal_error *err);
/* Checks and keeps M4, appends the confirmation. A box that does not open is named there and its
 * dealer's shares are not held; that is no failure. */
SHOAL_MUST_USE shoal_status shoal_sa_client_delivery(shoal_sa_client *c, const void *m4, size_t n,
                                                     shoal_buf *out, shoal_error *err);
/* Checks and keeps U2, the members whose masks the input will carry. */
SHOAL_MUST_USE shoal_status shoal_sa_client_members(shoal_sa_client *c, const void *m, size_t n,
                                                    shoal_error *err);
/* Masks words [dim + 1] in place and appends M5 (header || packed words) for PUT .../input. */
SHOAL_MUST_USE shoal_status shoal_sa_client_input(shoal_sa_client *c, uint32_t *words,
                                                  shoal_buf *out, shoal_error *err);
/* Whether this device is on the committee, known from the roster on. The others skip the claim. */
bool shoal_sa_client_signs(const shoal_sa_client *c);
/* Checks the claimed survivor set, appends the signature message. At most once a session; STATE
 * when the device is not on the committee. */
SHOAL_MUST_USE shoal_status shoal_sa_client_claim(shoal_sa_client *c, const void *m6, size_t n,
                                                  shoal_buf *out, shoal_error *err);
/* Checks M7 (certificate of the set this client signed, or, when it never saw the claim, of any
 * set that holds it), appends M8. At most once a session. */
SHOAL_MUST_USE shoal_status shoal_sa_client_request(shoal_sa_client *c, const void *m7, size_t n,
                                                    int64_t now_s, shoal_buf *out,
                                                    shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
