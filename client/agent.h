/* agent.h - a device at work for a task: check in, train, take part, keep the result, again.
 *
 * The loop survives a server that is away (back-off with jitter) and its own end at any point: what
 * is finished is on disk, what is unfinished is either a checkpoint or was never promised.
 *
 * Layer: client/. Threads: one owner; computes on the engine's pool.
 */
#ifndef SHOAL_CLIENT_AGENT_H
#define SHOAL_CLIENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/data.h"
#include "client/engine.h"
#include "client/store.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_agent_event_kind {
    SHOAL_AGENT_TASK,    /* text: task name; version: adapter held */
    SHOAL_AGENT_WAIT,    /* retry_after_ms, text: the server's reason */
    SHOAL_AGENT_AWAY,    /* retry_after_ms, text: what failed */
    SHOAL_AGENT_DATA,    /* data, ctx: what was read, cut to ctx tokens; version */
    SHOAL_AGENT_STEP,    /* step, total_steps, loss, tokens, version */
    SHOAL_AGENT_TRAINED, /* version, loss, tokens, seconds */
    SHOAL_AGENT_STAGE,   /* text: stage; round, cohort */
    SHOAL_AGENT_STALLED, /* text: stage it waits before (fault tests) */
    SHOAL_AGENT_ROUND,   /* round, version, cohort, survivors, peak_rss_bytes */
    SHOAL_AGENT_DROPPED, /* text: why this device left the round; kept; round unknown */
    SHOAL_AGENT_ENDED    /* text: why the task is over; version */
} shoal_agent_event_kind;

typedef struct shoal_agent_event {
    shoal_agent_event_kind kind;
    uint64_t round, version, step, total_steps, tokens, retry_after_ms, peak_rss_bytes;
    uint64_t cohort, survivors;
    double loss, seconds;
    const shoal_dataset *data; /* with DATA */
    size_t ctx;
    bool kept;        /* the update can go into another session */
    const char *text; /* never NULL */
} shoal_agent_event;

typedef void shoal_agent_event_fn(void *ctx, const shoal_agent_event *e);

typedef struct shoal_agent_options {
    const shoal_store *store;
    const char *data_path;       /* JSONL; never leaves the device */
    const char *task;            /* NULL: the only one that runs */
    shoal_engine_options engine; /* model NULL: the task's base model by name */
    bool once;                   /* one round, then end; AGAIN when there is none to be had now */
    uint32_t min_cohort;         /* for this run; 0: as the device's policy says (policy.h) */
    uint64_t budget_round;       /* bytes, for this run, when given; else as the policy says */
    uint64_t budget_month;
    bool budget_round_given, budget_month_given;
    uint64_t max_ram; /* as `shoal train --max-ram` (train_memory.h) */
    bool max_ram_given;
    const char *stall_before; /* stage before which to wait for ever; NULL normally */
    shoal_agent_event_fn *on_event;
    void *ctx;
    bool (*stop)(void);
} shoal_agent_options;

/* Runs until the task is over (OK), one round is done (once), the policy says no (DENIED),
 * something does not verify (TAMPERED), or `stop` (CANCELLED, with a hint on how to go on). The
 * caller holds the store's lock. */
SHOAL_MUST_USE shoal_status shoal_agent_run(const shoal_agent_options *opt, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
