/* cohort_internal.h - a session's state, shared by cohort.c (messages), cohort_read.c,
 * cohort_upload.c and cohort_stage.c (stages).
 *
 * Layer: aggregator, private. Threads: the loop's; `sa` also by the lane's worker while a job of
 * this cohort runs.
 */
#ifndef SHOAL_AGGREGATOR_COHORT_INTERNAL_H
#define SHOAL_AGGREGATOR_COHORT_INTERNAL_H

#include "aggregator/cohort.h"
#include "aggregator/upload.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What M2 begins with for every reader. */
typedef struct cohort_opening cohort_opening;

/* A device that waits for what a stage leaves behind. */
typedef struct cohort_waiter {
    struct cohort_waiter *next, **link; /* what points to it */
    shoal_cohort *cohort;
    shoal_http_request *req;
    shoal_sa_stage stage;
    uint8_t id[SHOAL_ID_BYTES];
    shoal_timer *timer;
    bool seen; /* there was nothing for it in the stage last served */
} cohort_waiter;

struct shoal_cohort {
    shoal_cohort_env *env;
    shoal_db_task task;
    shoal_adapter_release from;
    shoal_buf descriptor;
    shoal_sa_server *sa;
    shoal_uploads *uploads; /* touched by jobs only, as `sa` */
    shoal_db_round rec;
    uint64_t stage_began_ms;
    shoal_timer *deadline;
    cohort_waiter *waiters;
    shoal_timer *serving;    /* goes on with waiters in another turn of the loop */
    cohort_opening *opening; /* NULL: nobody has read M2 yet */
    size_t n_waiters;
    shoal_sa_stage served; /* waiters have heard what this stage's opening brought */
    bool served_end;
    size_t jobs;               /* in the lane */
    bool advancing;            /* a job that closes a stage is among them */
    bool due;                  /* the stage's time is up; closed by the end of the job that runs */
    const char *closing;       /* why; NULL: not closing. Freed when jobs is 0. Static text */
    shoal_round_result result; /* once rec.state is DONE */
    shoal_sa_member *members;  /* [n_members] as recorded at the end */
    size_t n_members;
};

static inline bool cohort_over(const shoal_cohort *c)
{
    return c->rec.state != SHOAL_ROUND_OPEN;
}

/* The state of `sa` may be read only while no job of this cohort runs. */
static inline bool cohort_readable(const shoal_cohort *c)
{
    return !shoal_lane_busy(c->env->lane, c);
}

/* cohort.c */
bool cohort_is_member(const shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES]);
/* Answers a refused message of a stage; inside a job's `done`. */
void cohort_refuse(const shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                   shoal_http_request *r, shoal_status st, const shoal_error *err);
void cohort_job_done(shoal_cohort *c); /* accounts for it, serves waiters, frees when closing */

/* cohort_read.c */
/* Answers who waits for what there is now, a few in a turn; inside a job's `done`, or while the
 * cohort is readable. */
void cohort_serve_waiters(shoal_cohort *c);
void cohort_go_on_serving(void *cohort);
void cohort_dismiss_waiters(shoal_cohort *c); /* the session is over: tells them */
void cohort_opening_leave(void *opening);     /* NULL is fine */

/* cohort_stage.c */
void cohort_begin_stage(shoal_cohort *c); /* starts the stage's deadline */
void cohort_maybe_advance(
    shoal_cohort *c); /* after a message: closes the stage when all answered */
void cohort_end(shoal_cohort *c, shoal_round_state state, const char *reason,
                const shoal_adapter_release *made);

#ifdef __cplusplus
}
#endif
#endif
