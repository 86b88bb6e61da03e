/* checkin.h - what a device that asks is told: wait, train, or join. PROTOCOL.md section 4.
 *
 * Layer: aggregator. Threads: pure function.
 */
#ifndef SHOAL_AGGREGATOR_CHECKIN_H
#define SHOAL_AGGREGATOR_CHECKIN_H

#include "aggregator/db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The task as it stands, and its session if one is going on. */
typedef struct shoal_checkin_view {
    const shoal_db_task *task;
    bool session;   /* one is going on */
    bool gathering; /* and still takes devices */
    bool member;    /* the device is in it already */
    uint64_t session_round;
    uint32_t quota_ms; /* until the device may join another session; 0: now */
    uint32_t poll_ms;  /* how soon to ask again when something is about to happen */
} shoal_checkin_view;

typedef enum shoal_checkin_answer {
    SHOAL_ANSWER_WAIT,
    SHOAL_ANSWER_TRAIN,
    SHOAL_ANSWER_JOIN, /* the session going on */
    SHOAL_ANSWER_OPEN  /* a new session, then join it */
} shoal_checkin_answer;

/* For WAIT also when to ask again and why, for a person. */
typedef struct shoal_checkin_decision {
    shoal_checkin_answer answer;
    uint32_t retry_after_ms;
    const char *reason;
} shoal_checkin_decision;

shoal_checkin_decision shoal_checkin_decide(const shoal_checkin_view *v,
                                            const shoal_checkin_request *q);

#ifdef __cplusplus
}
#endif
#endif
