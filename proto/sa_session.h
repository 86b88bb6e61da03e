/* sa_session.h - the server's memory of a session. Internal to sa_server.c and sa_unmask.c.
 *
 * Layer: proto/. Threads: one owner.
 */
#ifndef SHOAL_PROTO_SA_SESSION_H
#define SHOAL_PROTO_SA_SESSION_H

#include "proto/sa_server.h"
#include "proto/sa_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_SA_STAGES = 5 };

/* One client of the roster. */
typedef struct shoal_sa_party {
    shoal_sa_entry entry;
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t cert[SHOAL_LIMIT_CERT];
    size_t cert_n;
    uint8_t advert_sig[SHOAL_SIG_BYTES];
    uint8_t seen[SHOAL_SA_STAGES][32]; /* hash of the message accepted in each stage */
    shoal_sa_boxes boxes;              /* M3 */
    uint8_t survivors_sig[SHOAL_SIG_BYTES];
    uint8_t revealed[SHOAL_LIMIT_COHORT_MAX][32]; /* M8: its share of j's secret, at j - 1 */
} shoal_sa_party;

struct shoal_sa_server {
    shoal_sa_descriptor d;
    uint8_t ctx[32];
    uint8_t ca[SHOAL_LIMIT_CERT];
    size_t ca_n;
    const shoal_exec *ex;
    shoal_sa_stage stage;

    size_t n, t;
    shoal_sa_party *party[SHOAL_LIMIT_COHORT_MAX]; /* in roster order once ADVERTISE is closed */
    uint8_t roster_hash[32];
    shoal_sa_set answered[SHOAL_SA_STAGES]; /* U1 (once closed), U2, U3, signers, revealers */
    shoal_sa_set liars;

    uint32_t *sum; /* [dim + 1] masked until DONE */
    char reason[200];
};

/* Opens the secrets from the revealed shares and takes the masks off the sum. DENIED when a secret
 * cannot be opened. (Spec 5.9.2, 5.10) */
SHOAL_MUST_USE shoal_status shoal_sa_unmask(shoal_sa_server *s, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
