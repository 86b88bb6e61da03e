/* service_internal.h - the state behind the routes, shared by service.c, routes*.c, admission.c.
 *
 * Layer: aggregator, private. Threads: the loop's.
 */
#ifndef SHOAL_AGGREGATOR_SERVICE_INTERNAL_H
#define SHOAL_AGGREGATOR_SERVICE_INTERNAL_H

#include "aggregator/blob_cache.h"
#include "aggregator/ca_link.h"
#include "aggregator/cohort.h"
#include "aggregator/config.h"
#include "aggregator/quota.h"
#include "aggregator/seen.h"
#include "aggregator/service.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FAILS_TRACKED = 256 };

/* Wrong invitations from one address in the current minute, and those the CA is looking at. */
typedef struct admission_fails {
    uint8_t peer[SHOAL_HTTP_PEER_KEY];
    uint64_t since_ms;
    unsigned n, asked;
} admission_fails;

struct shoal_service {
    char dir[SHOAL_DIR_PATH];
    char scratch[SHOAL_DIR_PATH];
    char host[SHOAL_LIMIT_HOST];
    shoal_config_file config;
    shoal_keyring keys;
    shoal_db *db;
    shoal_loop *loop;
    shoal_lane *lane;
    shoal_pool *pool;
    shoal_exec exec;
    shoal_tls_context *tls;
    shoal_http_server *http;
    shoal_blob_cache *blobs;
    shoal_timer *tick;
    shoal_seen *seen;
    shoal_quota *quota;
    shoal_cohort_env env;
    shoal_cohort *cohorts[SHOAL_LIMIT_TASKS]; /* at most one a task: going on, or the last one */
    size_t n_cohorts;
    admission_fails fails[FAILS_TRACKED];
    uint64_t tries_since_ms; /* of all addresses together */
    unsigned tries;
    shoal_ca_link *ca;
    int ca_fd; /* until the link takes it over; -1 */
    bool asking_bundle;
    bool stopping;
};

/* What a request asks for. */
typedef enum route_kind {
    ROUTE_NONE,
    ROUTE_BEGIN,
    ROUTE_ENROL,
    ROUTE_RENEW,
    ROUTE_CA,
    ROUTE_TASKS,
    ROUTE_CHECKIN,
    ROUTE_BLOB,
    ROUTE_DELTA,
    ROUTE_MESSAGE, /* POST of a session's stage */
    ROUTE_UPLOAD,  /* a chunk of M5, or the state of the upload */
    ROUTE_READ     /* GET of a session */
} route_kind;

typedef struct route {
    route_kind kind;
    bool wrong_method;
    shoal_sa_stage stage; /* MESSAGE, READ (UNMASK: the result) */
    uint8_t hash[32];     /* blob, or session id */
    uint8_t from[32];     /* DELTA: the blob to start from */
} route;

/* routes.c */
shoal_http_handler routes_handler(shoal_service *s);
route route_match(const char *method, const char *path);
/* Finds out whose request this is; answers it when nobody's. */
bool routes_authorise(shoal_service *s, shoal_http_request *r, uint8_t id[SHOAL_ID_BYTES]);

/* admission.c */
void admission_begin(shoal_service *s, shoal_http_request *r);
void admission_enrol(shoal_service *s, shoal_http_request *r);
void admission_renew(shoal_service *s, shoal_http_request *r, const uint8_t id[SHOAL_ID_BYTES]);
void admission_ca(shoal_service *s, shoal_http_request *r);
/* Asks the CA for its certificates; a new one is accepted from then on. */
void admission_look_for_rotation(shoal_service *s);

/* routes_task.c */
void routes_tasks(shoal_service *s, shoal_http_request *r);
void routes_checkin(shoal_service *s, shoal_http_request *r, const uint8_t id[SHOAL_ID_BYTES]);
void routes_blob(shoal_service *s, shoal_http_request *r, const route *rt); /* BLOB, DELTA */

/* routes_session.c */
void routes_session_headers(shoal_service *s, shoal_http_request *r, const route *rt,
                            shoal_http_accept *accept);
void routes_session(shoal_service *s, shoal_http_request *r, const route *rt);

/* service.c */
shoal_cohort *service_cohort_of_task(shoal_service *s, const uint8_t task_id[SHOAL_SA_TASK_BYTES]);
shoal_cohort *service_cohort_by_session(shoal_service *s,
                                        const uint8_t session_id[SHOAL_SA_SESSION_BYTES]);
/* Opens a session for the task in the place of its last one. */
SHOAL_MUST_USE shoal_status service_open_cohort(shoal_service *s, const shoal_db_task *task,
                                                shoal_cohort **out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
