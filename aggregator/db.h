/* db.h - what an aggregator remembers: devices, tasks, adapter versions, rounds.
 *
 * The interface knows records and verbs, no SQL: store_*.c implement it over SQLite, another
 * database can take their place. Each verb that writes is one transaction: it happened or it did
 * not. Several processes may have the same database open (`run` and the admin commands).
 *
 * A full disk is SHOAL_ERR_FULL, a database locked for longer than five seconds SHOAL_ERR_AGAIN.
 * Times are seconds since 1970, UTC, and come from the caller.
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_DB_H
#define SHOAL_AGGREGATOR_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "proto/sa_server.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_DB_PATH = 1024, SHOAL_DB_REASON = 320 };

typedef struct shoal_db shoal_db;

/* `create` makes the file and its tables; without it a missing file is NOT_FOUND. */
SHOAL_MUST_USE shoal_status shoal_db_open(shoal_db **out, const char *path, bool create,
                                          shoal_error *err);
void shoal_db_close(shoal_db *db);

/* Small facts by name, e.g. the port in use. NOT_FOUND when absent. */
SHOAL_MUST_USE shoal_status shoal_db_fact_set(shoal_db *db, const char *name, const char *value,
                                              shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_fact_get(shoal_db *db, const char *name, char *out, size_t cap,
                                              shoal_error *err);

/* ---- devices ------------------------------------------------------------------
 */

typedef struct shoal_db_cert {
    uint8_t sha256[32]; /* of the DER bytes: what a connection is authorised by */
    uint8_t device_id[SHOAL_ID_BYTES];
    int64_t not_after_s;
} shoal_db_cert;

/* Records a device and the certificate that the CA issued to it. Recording the same again changes
 * nothing: the CA answers a repeated request with the same certificate. */
SHOAL_MUST_USE shoal_status shoal_db_enrol(shoal_db *db, const shoal_db_cert *cert,
                                           const char *software, uint32_t attestation,
                                           int64_t now_s, shoal_error *err);
/* A further certificate of a known device; the same again changes nothing. */
SHOAL_MUST_USE shoal_status shoal_db_cert_add(shoal_db *db, const shoal_db_cert *cert,
                                              int64_t now_s, shoal_error *err);
/* The first certificate of a device's new key: the new id takes the old one's place, which is
 * revoked, so that a renewal never makes two devices of one. */
SHOAL_MUST_USE shoal_status shoal_db_rotate(shoal_db *db, const uint8_t old_id[SHOAL_ID_BYTES],
                                            const shoal_db_cert *cert, int64_t now_s,
                                            shoal_error *err);
/* Whose certificate this is. DENIED when unknown, expired, or the device was revoked. */
SHOAL_MUST_USE shoal_status shoal_db_authorise(shoal_db *db, const uint8_t cert_sha256[32],
                                               int64_t now_s, uint8_t device_id[SHOAL_ID_BYTES],
                                               shoal_error *err);

typedef struct shoal_db_device {
    uint8_t id[SHOAL_ID_BYTES];
    char software[SHOAL_LIMIT_NAME];
    int64_t enrolled_s, last_seen_s, revoked_s; /* 0: never */
    int64_t cert_until_s;
    uint64_t rounds;      /* in whose sum it was */
    uint32_t attestation; /* shoal_attestation_level */
} shoal_db_device;

/* These devices were there, to the minute; one transaction. */
SHOAL_MUST_USE shoal_status shoal_db_devices_seen(shoal_db *db,
                                                  const uint8_t (*ids)[SHOAL_ID_BYTES], size_t n,
                                                  int64_t now_s, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_device_revoked(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES],
                                                    bool *revoked, shoal_error *err);
/* NOT_FOUND for an unknown id. */
SHOAL_MUST_USE shoal_status shoal_db_device_revoke(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES],
                                                   int64_t now_s, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_devices(shoal_db *db,
                                             void (*each)(void *ctx, const shoal_db_device *d),
                                             void *ctx, shoal_error *err);

/* ---- tasks and adapter versions ---------------------------------------------------------------
 */

typedef struct shoal_db_task {
    uint8_t id[SHOAL_SA_TASK_BYTES];
    char name[SHOAL_LIMIT_NAME];
    shoal_task_state state;
    char model_path[SHOAL_DB_PATH];
    uint8_t base_sha256[32];
    shoal_train_spec train; /* with base_name */
    shoal_codec codec;
    uint32_t n_min, n_target;
    uint32_t degree, threshold, committee; /* of its sessions, as in shoal_sa_descriptor */
    uint32_t deadline_ms[SHOAL_SA_STAGES];
    uint64_t rounds_done, rounds_total; /* total 0: without end */
    uint64_t last_round;                /* number given to the newest session */
    uint64_t version;                   /* newest adapter version */
    int64_t created_s;
} shoal_db_task;

typedef struct shoal_db_release {
    shoal_adapter_release r;
    int64_t created_s;
} shoal_db_release;

/* The task with its version 0. DENIED when the name is taken. */
SHOAL_MUST_USE shoal_status shoal_db_task_add(shoal_db *db, const shoal_db_task *t,
                                              const shoal_adapter_release *first, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_task_by_name(shoal_db *db, const char *name,
                                                  shoal_db_task *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_task_by_id(shoal_db *db, const uint8_t id[SHOAL_SA_TASK_BYTES],
                                                shoal_db_task *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_task_set_state(shoal_db *db,
                                                    const uint8_t id[SHOAL_SA_TASK_BYTES],
                                                    shoal_task_state state, shoal_error *err);
/* Oldest first. */
SHOAL_MUST_USE shoal_status shoal_db_tasks(shoal_db *db,
                                           void (*each)(void *ctx, const shoal_db_task *t),
                                           void *ctx, shoal_error *err);

SHOAL_MUST_USE shoal_status shoal_db_release_get(shoal_db *db,
                                                 const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                                                 uint64_t version, shoal_db_release *out,
                                                 shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_releases(shoal_db *db,
                                              const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                                              void (*each)(void *ctx, const shoal_db_release *r),
                                              void *ctx, shoal_error *err);
/* Is this blob an adapter of any task? */
SHOAL_MUST_USE shoal_status shoal_db_blob_known(shoal_db *db, const uint8_t sha256[32], bool *known,
                                                shoal_error *err);

/* ---- rounds -----------------------------------------------------------------------------------
 */

typedef enum shoal_round_state {
    SHOAL_ROUND_OPEN = 1,
    SHOAL_ROUND_DONE = 2,
    SHOAL_ROUND_FAILED = 3,
    SHOAL_ROUND_ABANDONED = 4 /* the aggregator stopped in the middle */
} shoal_round_state;

typedef struct shoal_db_round {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    uint64_t round;
    uint8_t session_id[SHOAL_SA_SESSION_BYTES];
    shoal_round_state state;
    shoal_sa_stage stage;              /* reached; where it failed */
    uint64_t from_version, to_version; /* to: only when DONE */
    int64_t opened_s, closed_s;
    uint32_t roster, survivors, threshold, liars;
    uint64_t weight_sum;
    double update_norm; /* L2 norm of the averaged update */
    uint8_t roster_hash[32];
    char reason[SHOAL_DB_REASON]; /* why it did not succeed; "" when it did */
} shoal_db_round;

/* One stage that was closed. */
typedef struct shoal_db_stage {
    shoal_sa_stage stage;
    uint32_t answered, expected;
    uint64_t took_ms;
    bool deadline; /* closed by the deadline, not by the last answer */
} shoal_db_stage;

/* Gives the session the task's next number and records it as OPEN; r->round is set. */
SHOAL_MUST_USE shoal_status shoal_db_round_open(shoal_db *db, shoal_db_round *r, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_round_stage(shoal_db *db, const shoal_db_round *r,
                                                 const shoal_db_stage *s, shoal_error *err);

/* The end of a round, in one transaction: the record, its members and, when `made` is not NULL, the
 * new version, which becomes the task's newest and counts as a round done (the last of them
 * finishes the task). STATE when the task moved on to another version meanwhile. */
SHOAL_MUST_USE shoal_status shoal_db_round_close(shoal_db *db, const shoal_db_round *r,
                                                 const shoal_sa_member *members, size_t n_members,
                                                 const shoal_adapter_release *made,
                                                 shoal_error *err);
/* Rounds left OPEN by a process that ended become ABANDONED with this reason; how many. */
SHOAL_MUST_USE shoal_status shoal_db_rounds_abandon(shoal_db *db, const char *reason, int64_t now_s,
                                                    size_t *n, shoal_error *err);

SHOAL_MUST_USE shoal_status shoal_db_round_get(shoal_db *db,
                                               const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                                               uint64_t round, shoal_db_round *out,
                                               shoal_error *err);
SHOAL_MUST_USE shoal_status
shoal_db_round_by_session(shoal_db *db, const uint8_t session_id[SHOAL_SA_SESSION_BYTES],
                          shoal_db_round *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_rounds(shoal_db *db,
                                            const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                                            void (*each)(void *ctx, const shoal_db_round *r),
                                            void *ctx, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_round_stages(shoal_db *db, const shoal_db_round *r,
                                                  void (*each)(void *ctx, const shoal_db_stage *s),
                                                  void *ctx, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_db_round_members(shoal_db *db, const shoal_db_round *r,
                                                   void (*each)(void *ctx,
                                                                const shoal_sa_member *m),
                                                   void *ctx, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
