/* round.h - the device's half of one round: a finished update into a secure sum.
 *
 * Drives proto/sa_client over client/api, message by message (PROTOCOL.md, section 5). Every
 * failure only takes this device out of the round: the others finish without it. Before M5 the
 * update stays good for the next session of the same adapter version; from then on it is spent:
 * two sums that hold the same update could be subtracted.
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_ROUND_H
#define SHOAL_CLIENT_ROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/api.h"
#include "client/enrol.h"
#include "client/taskstate.h"
#include "proto/sa_client.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called before each message is sent: "advertise", "shares", "input", "survivors", "unmask", and
 * "result" while the sum is awaited. A status other than OK leaves the round. */
typedef shoal_status shoal_round_stage_fn(void *ctx, const char *stage, uint64_t round,
                                          size_t cohort, shoal_error *err);

typedef struct shoal_round_job {
    shoal_api *api;
    const shoal_enrolment *enrolment;
    const shoal_store *store;
    shoal_task_record *record; /* its counters are persisted on the way */
    const shoal_update *update;
    const shoal_exec *exec;
    shoal_sa_policy policy; /* dim is set here */
    uint8_t base_hash[32];  /* of the model file trained on */
    const void *descriptor; /* M0 */
    size_t descriptor_n;
    int64_t (*now_s)(void); /* the clock: a round lasts, and certificates are judged as they come */
    shoal_round_stage_fn *on_stage; /* may be NULL */
    void *ctx;
} shoal_round_job;

/* DENIED when the device's own policy refuses, TAMPERED when something does not verify, STATE when
 * the session ended without a result, TIMEOUT when another device's part in it does not hold now.
 * *out is checked: of this session, signed, made from the adapter that was trained on. */
SHOAL_MUST_USE shoal_status shoal_round_run(const shoal_round_job *job, shoal_round_result *out,
                                            shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
