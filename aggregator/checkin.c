/* checkin.c - the decision table of a check-in.
 *
 *   task not running                       WAIT, long
 *   device remembers a later round         WAIT, long (this database was set back)
 *   device in the session already          WAIT
 *   device has had its sessions of the day WAIT
 *   update ready for the newest version:   no session  OPEN
 *                                          gathering   JOIN (unless it saw that round before)
 *                                          later       WAIT
 *   no update ready:                       no session or gathering  TRAIN
 *                                          later       WAIT: a newer version is about to come
 */
#include "aggregator/checkin.h"

enum { LONG_WAIT_MS = 10 * 60 * 1000 };

static shoal_checkin_decision wait_for(uint32_t ms, const char *reason)
{
    return (shoal_checkin_decision){SHOAL_ANSWER_WAIT, ms, reason};
}

static shoal_checkin_decision answer(shoal_checkin_answer a)
{
    return (shoal_checkin_decision){.answer = a, .reason = ""};
}

static shoal_checkin_decision decide_ready(const shoal_checkin_view *v,
                                           const shoal_checkin_request *q)
{
    if (!v->session) {
        return answer(SHOAL_ANSWER_OPEN);
    }
    if (!v->gathering) {
        return wait_for(v->poll_ms, "a round is being summed; the next one follows");
    }
    if (q->last_round >= v->session_round) {
        return wait_for(v->poll_ms, "this device left the round that is gathering");
    }
    return answer(SHOAL_ANSWER_JOIN);
}

shoal_checkin_decision shoal_checkin_decide(const shoal_checkin_view *v,
                                            const shoal_checkin_request *q)
{
    const shoal_db_task *t = v->task;
    if (t->state == SHOAL_TASK_FINISHED) {
        return wait_for(LONG_WAIT_MS, "all rounds of the task are done");
    }
    if (t->state != SHOAL_TASK_RUNNING) {
        return wait_for(LONG_WAIT_MS, "the task is stopped");
    }
    if (q->last_round > t->last_round) {
        return wait_for(LONG_WAIT_MS, "this device has seen later rounds than the aggregator");
    }
    if (v->session && v->member) {
        return wait_for(v->poll_ms, "this device is in the running round");
    }
    if (v->quota_ms > 0) {
        return wait_for(v->quota_ms, "this device has joined as many rounds as it may in a day");
    }
    if (q->trained && q->adapter_version == t->version) {
        return decide_ready(v, q);
    }
    if (v->session && !v->gathering) {
        return wait_for(v->poll_ms, "a round is being summed; a newer version follows");
    }
    return answer(SHOAL_ANSWER_TRAIN);
}
