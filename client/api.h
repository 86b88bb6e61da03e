/* api.h - the aggregator's HTTP interface as typed calls (proto/PROTOCOL.md, section 3).
 *
 * What the server says no to becomes a status whose text is the server's own message and hint:
 * FORBIDDEN and UNAUTHORISED are DENIED; GONE and CONFLICT are STATE (the session is over for us);
 * TOO_EARLY, BUSY and INTERNAL are AGAIN, with `retry_after_ms` set when the server named a time.
 * A server that cannot be reached is IO or TIMEOUT (shoal_net_is_away).
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_API_H
#define SHOAL_CLIENT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/net.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_api {
    shoal_net *net; /* borrowed */
    bool (*stop)(void);
    uint32_t retry_after_ms; /* of the last refusal; 0 when it named no time */
} shoal_api;

SHOAL_MUST_USE shoal_status shoal_api_begin(shoal_api *a, const shoal_enrol_begin *rq,
                                            shoal_enrol_challenge *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_api_enrol(shoal_api *a, const shoal_enrol_request *rq,
                                            shoal_enrol_response *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_api_renew(shoal_api *a, const shoal_renew_request *rq,
                                            shoal_renew_response *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_api_ca(shoal_api *a, shoal_ca_bundle *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_api_tasks(shoal_api *a, shoal_task_list *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_api_checkin(shoal_api *a, const shoal_checkin_request *rq,
                                              shoal_checkin_response *out, shoal_error *err);

/* Bytes [at, at + n) of what a path holds, appended to *out; fewer where it ends (there 0 when `at`
 * is the end). NOT_FOUND when there is no such thing. */
SHOAL_MUST_USE shoal_status shoal_api_range(shoal_api *a, const char *path, uint64_t at, size_t n,
                                            shoal_buf *out, shoal_error *err);

/* One message of a session: POST of exactly these bytes, repeated with back-off while the server is
 * away, up to give_up_s on shoal_clock_s. */
SHOAL_MUST_USE shoal_status shoal_api_session_send(shoal_api *a, const char *session_hex,
                                                   const char *what, const shoal_buf *body,
                                                   double give_up_s, shoal_error *err);

/* M5 in chunks, going on behind what the server acknowledged after every failure that passes, up to
 * give_up_s. *sent (may be NULL): bytes of chunks handed to the network, repeats included. STATE
 * when the server holds other bytes than these, or makes no progress. */
SHOAL_MUST_USE shoal_status shoal_api_session_upload(shoal_api *a, const char *session_hex,
                                                     const shoal_buf *m5, double give_up_s,
                                                     uint64_t *sent, shoal_error *err);

/* Long-polls for a message of a session until it is there, the session is over, or give_up_s. `out`
 * is emptied first and its max is the cap. */
SHOAL_MUST_USE shoal_status shoal_api_session_wait(shoal_api *a, const char *session_hex,
                                                   const char *what, double give_up_s,
                                                   shoal_buf *out, shoal_error *err);

/* Milliseconds to wait before attempt `attempt` (0-based) is repeated: doubling from 500 ms to
 * max_ms, times a random factor in [0.5, 1.5) so that devices do not come back in step. */
uint64_t shoal_backoff_ms(unsigned attempt, uint64_t max_ms);

/* Sleeps in short pieces; CANCELLED as soon as stop (may be NULL) says so. */
SHOAL_MUST_USE shoal_status shoal_pause_ms(uint64_t ms, bool (*stop)(void), shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
