/* sa.h - SA-1, secure aggregation: what both roles share.
 *
 * Stages and messages of a session (PROTOCOL.md section 5):
 *
 *   server stage   client sends        server answers
 *   ADVERTISE      M1 advertise        M2 roster
 *   SHARES         M3 shares           M4 delivery
 *   CONFIRM        M4 confirm          M4 members
 *   INPUT          M5 masked input     M6 survivors claim
 *   SURVIVORS      M6 signature        M7 unmask request
 *   UNMASK         M8 unmask           (result)
 *   DONE / FAILED
 *
 * Session indices are ranks in the roster sorted by client id, from 1. Sets of clients are bitmaps
 * over those indices. Who is next to whom: sa_graph.h.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_SA_H
#define SHOAL_PROTO_SA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/codec.h"
#include "proto/crypto.h"
#include "proto/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_SA_VERSION = 1,
    SHOAL_SA_SUITE = 1, /* X25519, HKDF-SHA256, ChaCha20(-Poly1305), ECDSA P-256, GF(2^8) Shamir */
    SHOAL_SA_SESSION_BYTES = 32,
    SHOAL_SA_TASK_BYTES = 16
};

typedef enum shoal_sa_stage {
    SHOAL_SA_ADVERTISE = 0,
    SHOAL_SA_SHARES = 1,
    SHOAL_SA_CONFIRM = 2,
    SHOAL_SA_INPUT = 3,
    SHOAL_SA_SURVIVORS = 4,
    SHOAL_SA_UNMASK = 5,
    SHOAL_SA_DONE = 6,
    SHOAL_SA_FAILED = 7
} shoal_sa_stage;

enum { SHOAL_SA_STAGES = 6 }; /* ADVERTISE..UNMASK */

/* "advertise", "shares", ...; never NULL. */
const char *shoal_sa_stage_name(shoal_sa_stage s);

/* M0: everything a session is bound to. Its hash goes into every key and signature, so a client
 * that was given another model, adapter or parameter derives masks that cancel with nobody's. */
typedef struct shoal_sa_descriptor {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    uint64_t round; /* rises by at least 1 with every session of the task */
    uint8_t session_id[SHOAL_SA_SESSION_BYTES];
    uint8_t base_model_hash[32];
    uint8_t adapter_hash[32]; /* SHA-256 of the adapter file this cohort starts from */
    shoal_codec codec; /* dim, R, scale, clip norm, weight_max, rotation; n_max = largest cohort */
    uint32_t noise_num, noise_den; /* differential privacy: sigma as a rational; 0/1 = none */
    uint32_t noise_parties;        /* n_noise; 0 = none */
    uint32_t n_min, n_target;      /* COHORT_MIN <= n_min <= n_target <= codec.n_max */
    uint32_t degree;               /* k of the neighbour graph, even; 0: complete, n_max <= 64 */
    uint32_t threshold;            /* t of the k-regular graph; 0 with degree 0 */
    uint32_t committee;            /* survivor sets are signed by min(n, this) clients */
    uint32_t deadline_ms[SHOAL_SA_STAGES]; /* each from its stage's opening */
} shoal_sa_descriptor;

/* Refuses a descriptor that is impossible whatever one's policy (ranges, overflow proof). */
SHOAL_MUST_USE shoal_status shoal_sa_descriptor_check(const shoal_sa_descriptor *d,
                                                      shoal_error *err);
/* Appends canonical bytes || signature by the task key. */
SHOAL_MUST_USE shoal_status shoal_sa_descriptor_sign(const shoal_sa_descriptor *d,
                                                     const shoal_key *task_key, shoal_buf *out,
                                                     shoal_error *err);
/* Verifies under the pinned task key, decodes, checks; ctx = hash every later value is bound to. */
SHOAL_MUST_USE shoal_status shoal_sa_descriptor_open(const void *signed_bytes, size_t n,
                                                     const uint8_t task_spki[SHOAL_SPKI_BYTES],
                                                     shoal_sa_descriptor *out, uint8_t ctx[32],
                                                     shoal_error *err);

/* Key of the signs of the session's rotation (rotate.h), public. */
SHOAL_MUST_USE shoal_status shoal_sa_rotation_key(const uint8_t ctx[32], uint8_t key[32],
                                                  shoal_error *err);

/* A set of session indices 1..n. */
typedef struct shoal_sa_set {
    uint64_t w[(SHOAL_LIMIT_COHORT_MAX + 63) / 64];
} shoal_sa_set;

bool shoal_sa_set_has(const shoal_sa_set *s, size_t index);
void shoal_sa_set_add(shoal_sa_set *s, size_t index);
void shoal_sa_set_remove(shoal_sa_set *s, size_t index);
size_t shoal_sa_set_count(const shoal_sa_set *s);
bool shoal_sa_set_subset(const shoal_sa_set *inner, const shoal_sa_set *outer);
bool shoal_sa_set_equal(const shoal_sa_set *a, const shoal_sa_set *b);

/* floor(2n/3) + 1: of n holders, so many that two sets of them share more than n/3. It is t in the
 * complete graph and q of a committee of n. */
size_t shoal_sa_threshold(size_t n);

#ifdef __cplusplus
}
#endif
#endif
