/* sa_session.h - the server's memory of a session: for each client what it said, in places for its
 * k neighbours. Internal to sa_server.c, sa_members.c and sa_unmask.c.
 *
 * Layer: proto/. Threads: one owner.
 */
#ifndef SHOAL_PROTO_SA_SESSION_H
#define SHOAL_PROTO_SA_SESSION_H

#include "proto/sa_graph.h"
#include "proto/sa_server.h"
#include "proto/sa_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One client of the roster. */
typedef struct shoal_sa_party {
    shoal_sa_entry entry;
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t cert[SHOAL_LIMIT_CERT];
    size_t cert_n;
    uint8_t advert_sig[SHOAL_SIG_BYTES];
    uint8_t seen[SHOAL_SA_STAGES][32]; /* hash of the message accepted in each stage */
    uint8_t survivors_sig[SHOAL_SIG_BYTES];
    /* From the closed roster on, by its place among near. */
    uint16_t *near;          /* [k] indices of its neighbours, ascending */
    shoal_sa_box *boxes;     /* [k] M3, or NULL */
    bool *refused;           /* [k] confirm: that dealer's box did not open; NULL: none */
    uint8_t (*revealed)[32]; /* [k + 1] M8: its share of near's secret; last: of its own; or NULL */
} shoal_sa_party;

struct shoal_sa_server {
    shoal_sa_descriptor d;
    uint8_t ctx[32];
    uint8_t ca[SHOAL_LIMIT_CERT];
    size_t ca_n;
    const shoal_exec *ex;
    shoal_sa_stage stage;

    size_t n;
    shoal_sa_party **party; /* [n_max], n of them, in roster order */
    shoal_sa_graph g;       /* once ADVERTISE is closed */
    uint8_t roster_hash[32];
    shoal_sa_set answered[SHOAL_SA_STAGES]; /* U1 (once closed), dealt, confirmed, U3, signers,
                                               revealers */
    shoal_sa_set kept; /* of those who dealt: with t holders among them; once SHARES is closed */
    shoal_sa_set u2;   /* once CONFIRM is closed */
    shoal_sa_set liars;

    shoal_sa_boxes boxes; /* room to read one M3 into */
    uint32_t *sum;        /* [dim + 1] masked until DONE */
    char reason[200];
};

/* The place of index among a party's k neighbours, or k. */
size_t shoal_sa_place(const shoal_sa_party *p, size_t k, size_t index);

/* Holders of i's secrets that are in the set and, once they confirmed, did not refuse its box. */
size_t shoal_sa_holding(const shoal_sa_server *s, size_t i, const shoal_sa_set *set);

/* The largest part of a set in which everyone keeps t holders, refusals apart. */
shoal_sa_set shoal_sa_sustained(const shoal_sa_server *s, const shoal_sa_set *set);

/* Spec 5.5.4: fixes U2 among those who confirmed, and names who lied about a box. */
void shoal_sa_fix_members(shoal_sa_server *s);

/* Opens the secrets from the revealed shares and takes the masks off the sum. DENIED when a secret
 * cannot be opened. (Spec 5.9.2, 5.10) */
SHOAL_MUST_USE shoal_status shoal_sa_unmask(shoal_sa_server *s, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
