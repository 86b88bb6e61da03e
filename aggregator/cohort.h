/* cohort.h - one session from its first device to the new adapter version or to the reason why not.
 *
 * Around proto/sa_server it puts what that has none of: requests that wait, deadlines, worker
 * threads, the record in the database. Messages are checked and added by jobs of the lane, one at a
 * time; devices that ask for something that is not there yet wait until a stage closes.
 *
 * Layer: aggregator. Threads: the loop's.
 */
#ifndef SHOAL_AGGREGATOR_COHORT_H
#define SHOAL_AGGREGATOR_COHORT_H

#include "aggregator/db.h"
#include "aggregator/keyring.h"
#include "aggregator/lane.h"
#include "aggregator/quota.h"
#include "proto/net/http_server.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_cohort shoal_cohort;

/* What all cohorts of a running aggregator share; outlives them. */
typedef struct shoal_cohort_env {
    shoal_loop *loop;
    shoal_lane *lane;
    shoal_db *db;
    const char *dir;
    const char *scratch; /* directory for files without a name; DIR itself cannot be written */
    const shoal_keyring *keys;
    const shoal_exec *exec;
    shoal_quota *quota;
    size_t upload_max, upload_used; /* bytes of chunks of M5 in memory now */
} shoal_cohort_env;

/* Opens a session for the task's newest version and records it. */
SHOAL_MUST_USE shoal_status shoal_cohort_open(shoal_cohort **out, shoal_cohort_env *env,
                                              const shoal_db_task *task, shoal_error *err);
/* Ends it with this reason (static text) if it is still going on, answers who waits, and frees it
 * once no job of it is in the lane. NULL is fine. */
void shoal_cohort_close(shoal_cohort *c, const char *reason);

/* The signed descriptor, for JOIN. */
const shoal_buf *shoal_cohort_descriptor(const shoal_cohort *c);
/* Task, session id, round, stage as last recorded; state OPEN while it goes on. */
const shoal_db_round *shoal_cohort_record(const shoal_cohort *c);
const shoal_adapter_release *shoal_cohort_from(const shoal_cohort *c);
/* False also while that cannot be told without waiting for a job. */
bool shoal_cohort_has(const shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES]);

/* Bytes of an M5 of this session. */
size_t shoal_cohort_input_bytes(const shoal_cohort *c);

/* A message of a stage other than INPUT: takes the request's body, answers when it was checked. */
void shoal_cohort_receive(shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                          shoal_http_request *r);

/* A chunk of an M5. upload_bytes were added to env->upload_used for it and are given back. */
typedef struct shoal_upload_place {
    uint64_t offset;
    uint8_t hash[32]; /* running hash behind it */
    size_t upload_bytes;
} shoal_upload_place;

/* Takes the request's body, answers with the upload's state when it was checked. */
void shoal_cohort_upload(shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES], shoal_http_request *r,
                         const shoal_upload_place *at);
/* Answers with the state. */
void shoal_cohort_upload_state(shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES],
                               shoal_http_request *r);

/* What a device reads after a stage (SHOAL_SA_UNMASK: the result): answers now, or within wait_ms
 * when it comes, or 202 afterwards. */
void shoal_cohort_read(shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                       shoal_http_request *r, uint64_t wait_ms);

#ifdef __cplusplus
}
#endif
#endif
