/* sa_cohort.h - a whole secure-aggregation deployment in one process: a CA, a task key, devices
 * with certificates, and a session between their real state machines and the real server.
 *
 * Everything is deterministic for a seed. Update of device c: cohort_update.
 */
#ifndef SHOAL_TESTS_SUPPORT_SA_COHORT_H
#define SHOAL_TESTS_SUPPORT_SA_COHORT_H

#include "proto/sa_client.h"
#include "proto/sa_server.h"

enum { COHORT_NOW = 1790000000 };

/* Deterministic bytes: SHA-256 of seed and counter. */
typedef struct test_entropy {
    uint64_t seed, counter;
    shoal_entropy source;
} test_entropy;
void test_entropy_init(test_entropy *e, uint64_t seed);

typedef struct device {
    shoal_key *key;
    shoal_buf cert;
    uint8_t id[SHOAL_ID_BYTES];
    test_entropy entropy;
    shoal_sa_client *client;
    uint32_t *plain;               /* encoded update before masking, [dim + 1] */
    shoal_buf sent[SHOAL_SA_DONE]; /* its message of each stage: what the server saw */
} device;

typedef struct cohort {
    shoal_exec ex;
    shoal_key *ca_key, *task_key;
    uint8_t task_spki[SHOAL_SPKI_BYTES];
    shoal_buf ca;
    size_t n;
    device *dev; /* [n] */
    shoal_sa_descriptor d;
    shoal_buf descriptor;
    shoal_sa_server *server;
    int64_t now_s; /* everyone's clock: COHORT_NOW at first */
    shoal_error err;
} cohort;

/* Keys, certificates and a default descriptor (dim, ring 24, n_min 3, n_target n, n_max 8,
 * complete). */
void cohort_open(cohort *c, size_t n, uint32_t dim, uint64_t seed);
void cohort_close(cohort *c);

/* Another certificate for a device's key, for the next start. */
void cohort_certify(cohort *c, size_t device_index, int64_t from_s, int64_t until_s);
/* Appends a second certificate for its key: by the CA, or by one that is not. */
void cohort_other_cert(cohort *c, size_t i, bool foreign, shoal_buf *out);

/* Signs c->d and opens the server and all clients (closing those of a session before). */
void cohort_start(cohort *c);
/* Closes the server and all clients; keys and certificates stay. */
void cohort_end(cohort *c);
shoal_sa_client_options cohort_options(cohort *c, size_t device_index);

/* One device's part of a stage, its message kept in sent[stage]. ADVERTISE: M1. SHARES: reads M2,
 * writes M3. CONFIRM: reads M4, confirms. INPUT: reads the members, encodes, masks, writes M5.
 * SURVIVORS: reads and signs the claim; nothing, when it is not on the committee.
 * UNMASK: reads M7, writes M8. */
shoal_status cohort_answer(cohort *c, size_t device_index, shoal_sa_stage stage);
/* The same with another message in place of the server's (NULL for ADVERTISE). */
shoal_status cohort_feed(cohort *c, size_t device_index, shoal_sa_stage stage, const shoal_buf *in);
/* Hands sent[stage] to the server. */
shoal_status cohort_send(cohort *c, size_t device_index, shoal_sa_stage stage);
/* Both. */
shoal_status cohort_act(cohort *c, size_t device_index, shoal_sa_stage stage);

/* What the server says to a device after a stage; asserts OK. The caller clears. */
shoal_buf cohort_message(cohort *c, size_t device_index, shoal_sa_stage stage);

/* All devices act in all stages up to and including `last`; the server advances after each. */
void cohort_run(cohort *c, shoal_sa_stage last);

/* Whether the server's sum is, bit for bit, that of exactly these devices (bit i = device i). */
bool cohort_sum_right(const cohort *c, unsigned devices);

/* Asserts that the server's sum is that of exactly these devices (bit i = device i). */
void cohort_check_sum(cohort *c, unsigned devices);

/* Coordinate of a device's update before encoding. */
float cohort_update(size_t device_index, size_t coordinate);

#endif
