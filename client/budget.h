/* budget.h - what rounds may cost this device in bytes, and what they did cost.
 *
 * $SHOAL_HOME/traffic holds the bytes sent and received in the current month (UTC), both ways, with
 * TLS and HTTP around them. It is written ahead: before a request leaves, the file covers what the
 * request may cost at most, so that a crash counts too much rather than too little. It never goes
 * back: not by a crash, and not by a clock that was set back to a month before.
 *
 * The owner's bounds come from `shoal policy` or flags of `shoal agent` (policy.h); 0 is no bound.
 *
 * Layer: client/. Threads: one owner; the store's lock is held.
 */
#ifndef SHOAL_CLIENT_BUDGET_H
#define SHOAL_CLIENT_BUDGET_H

#include "client/net.h"
#include "client/store.h"
#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_budget_limits {
    uint64_t round, month; /* bytes; 0: no bound */
} shoal_budget_limits;

typedef struct shoal_budget {
    const shoal_store *store;
    shoal_budget_limits limits;
    uint64_t month;          /* year * 12 + month of the year, from 0 */
    uint64_t sent, received; /* in that month */
    uint64_t covered;        /* of sent + received, what the file already counts */
    uint64_t round_bytes;    /* the last estimate of a round; 0: none in this month */
    uint64_t round_began;    /* sent + received then; of a round in progress */
    bool in_round;
    int64_t (*now_s)(void); /* the clock */
} shoal_budget;

/* Months since the year 0, UTC. */
uint64_t shoal_month_of(int64_t now_s);
/* Seconds until the next month begins. */
uint64_t shoal_month_left_s(int64_t now_s);

/* Reads the file; FORMAT when it is damaged (a damaged account is not an empty one). `now_s` is
 * asked whenever time matters. */
SHOAL_MUST_USE shoal_status shoal_budget_open(shoal_budget *b, const shoal_store *store,
                                              const shoal_budget_limits *limits,
                                              int64_t (*now_s)(void), shoal_error *err);
/* Writes what was really used; when that fails, what was written ahead goes on counting. */
shoal_status shoal_budget_close(shoal_budget *b, shoal_error *err);

/* May a round that costs `bytes` begin now? DENIED, with what stands against it, otherwise. With 0
 * the last estimate is taken. Nothing is sent or counted; the estimate is kept for the next start.
 */
SHOAL_MUST_USE shoal_status shoal_budget_check(shoal_budget *b, uint64_t bytes, shoal_error *err);
/* Is the month the reason, so that waiting helps? */
bool shoal_budget_is_later(shoal_budget *b);

/* From here to the end a round's bound counts. */
void shoal_budget_begin_round(shoal_budget *b);
void shoal_budget_end_round(shoal_budget *b);

/* What net.h asks before a request and tells after it. */
shoal_net_meter shoal_budget_meter(shoal_budget *b);

/* What a round may cost at most: M1 to M8 and polling, the input of these words, the next version
 * whole. `peers` is how many others' certificates and shares come along. */
typedef struct shoal_round_size {
    uint64_t words;
    uint32_t ring_bits;
    uint64_t cohort, peers;
    uint64_t adapter_bytes; /* of a file */
    uint64_t downloads;     /* how many of those */
} shoal_round_size;
uint64_t shoal_round_bytes(const shoal_round_size *s);

#ifdef __cplusplus
}
#endif
#endif
