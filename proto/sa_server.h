/* sa_server.h - the aggregator's half of an SA-1 session, as a pure state machine.
 *
 * No socket, no clock, no disk. Masked vectors are added to one running sum as they arrive and are
 * not kept; what can be read at the end is the sum and nothing else.
 *
 *   s = open(signed descriptor)
 *   receive(s, client, message) ...   until ready(s), or the stage's deadline passes
 *   advance(s, deadline_passed)       next stage, DONE, or FAILED with a reason
 *   message(s, client)                what that client reads after the stage was closed
 *
 * A stage goes on when at least n_min clients answered and every secret keeps t holders, otherwise
 * the session fails (PROTOCOL.md 6.1). Memory: what each client said, in proportion to n k, and one
 * vector. advance after UNMASK does the heavy work: it expands masks over the exec's pool.
 *
 * Layer: proto/. Threads: one owner.
 */
#ifndef SHOAL_PROTO_SA_SERVER_H
#define SHOAL_PROTO_SA_SERVER_H

#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_sa_server shoal_sa_server;

typedef struct shoal_sa_server_options {
    const void *ca; /* issuer of all clients' certificates, DER; copied */
    size_t ca_n;
    const uint8_t *task_spki; /* [SHOAL_SPKI_BYTES]; the descriptor must verify under it */
    const shoal_exec *ex;     /* borrowed until close */
} shoal_sa_server_options;

SHOAL_MUST_USE shoal_status shoal_sa_server_open(shoal_sa_server **out,
                                                 const shoal_sa_server_options *opt,
                                                 const void *descriptor, size_t n,
                                                 shoal_error *err);
void shoal_sa_server_close(shoal_sa_server *s); /* wipes */

const shoal_sa_descriptor *shoal_sa_server_descriptor(const shoal_sa_server *s);
/* [32] The hash every value of the session is bound to. */
const uint8_t *shoal_sa_server_context(const shoal_sa_server *s);
shoal_sa_stage shoal_sa_server_stage(const shoal_sa_server *s);

/* One message of the client whose certificate the transport checked, for the stage it belongs to
 * (SHOAL_SA_ADVERTISE: M1, SHARES: M3, CONFIRM: confirm, INPUT: M5, SURVIVORS: M6, UNMASK: M8).
 *   OK        accepted, or exactly the bytes accepted before (also after the stage was closed)
 *   DENIED    not a member, or other bytes than before
 *   STATE     too early, too late (an M1 whose certificate ends too soon, too), or the session is
 *             over
 *   FORMAT, TAMPERED   refused; nothing changed, the client may send a right one */
SHOAL_MUST_USE shoal_status shoal_sa_server_receive(shoal_sa_server *s, shoal_sa_stage stage,
                                                    const uint8_t client_id[SHOAL_ID_BYTES],
                                                    const void *data, size_t n, int64_t now_s,
                                                    shoal_error *err);

/* Takes a client out that has advertised and must not be in the roster after all (it was revoked
 * meanwhile). Nothing when it is not there; STATE once the roster is fixed. */
SHOAL_MUST_USE shoal_status shoal_sa_server_expel(shoal_sa_server *s,
                                                  const uint8_t client_id[SHOAL_ID_BYTES],
                                                  shoal_error *err);

/* Everyone who can still answer in this stage has answered (ADVERTISE: n_target have). */
bool shoal_sa_server_ready(const shoal_sa_server *s);

/* Closes the stage when ready, or when deadline_passed. AGAIN: not yet. OK: in the next stage (or
 * DONE). DENIED: too few, the session is FAILED and err (also shoal_sa_server_reason) says why. */
SHOAL_MUST_USE shoal_status shoal_sa_server_advance(shoal_sa_server *s, bool deadline_passed,
                                                    shoal_error *err);

/* Appends what `client_id` reads once `stage` is closed (ADVERTISE: M2 roster, SHARES: M4 delivery,
 * CONFIRM: M4 members, INPUT: M6 claim, SURVIVORS: M7 request). AGAIN: not yet. DENIED: not among
 * those who go on. STATE: the session failed. */
SHOAL_MUST_USE shoal_status shoal_sa_server_message(const shoal_sa_server *s, shoal_sa_stage stage,
                                                    const uint8_t client_id[SHOAL_ID_BYTES],
                                                    shoal_buf *out, shoal_error *err);

/* The same in two pieces, for thousands of readers: what such a message begins with for every
 * reader alike (of M2 all entries of the roster; otherwise nothing), and the rest for one of them.
 */
SHOAL_MUST_USE shoal_status shoal_sa_server_opening(const shoal_sa_server *s, shoal_sa_stage stage,
                                                    shoal_buf *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_sa_server_rest(const shoal_sa_server *s, shoal_sa_stage stage,
                                                 const uint8_t client_id[SHOAL_ID_BYTES],
                                                 shoal_buf *out, shoal_error *err);

/* The sum of the survivors' words modulo 2^R, [dim + 1]; NULL unless DONE. */
const uint32_t *shoal_sa_server_sum(const shoal_sa_server *s);

/* Why it FAILED, one line; "" otherwise. */
const char *shoal_sa_server_reason(const shoal_sa_server *s);

typedef struct shoal_sa_counts {
    size_t roster;    /* clients in the roster (so far) */
    size_t answered;  /* in the current stage */
    size_t expected;  /* in the current stage */
    size_t threshold; /* t; n_min while advertising */
    size_t survivors; /* in the sum; 0 before INPUT is closed */
    size_t liars;     /* caught with false shares, or lying about boxes */
} shoal_sa_counts;
shoal_sa_counts shoal_sa_server_counts(const shoal_sa_server *s);

/* Per client, for progress and for the record. False when not in the roster. */
typedef struct shoal_sa_member {
    uint8_t id[SHOAL_ID_BYTES];
    bool shared, uploaded, signed_set, unmasked, lied;
    bool masks; /* in U2: its input is waited for. Not recorded */
} shoal_sa_member;
/* i in 0..counts.roster-1, by client id: more may come in between while advertising. */
bool shoal_sa_server_member(const shoal_sa_server *s, size_t i, shoal_sa_member *out);

/* Hash of the roster (zeros while advertising) and of the final sum, for transcript and result. */
void shoal_sa_server_roster_hash(const shoal_sa_server *s, uint8_t out[32]);

#ifdef __cplusplus
}
#endif
#endif
