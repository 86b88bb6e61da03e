/* cmd_agent.c - shoal agent: take part in a task's rounds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/agent.h"
#include "client/command.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/store.h"
#include "client/train_memory.h"
#include "kernels/base/process.h"
#include "kernels/base/term.h"
#include "proto/limits.h"

static const shoal_usage usage = {
    .synopsis = "shoal agent -d DATA.jsonl [--once] [options]",
    .about =
        "Takes part in the rounds of a task: fetches the adapter, trains it on local data that\n"
        "never leaves this device, and adds the change to a sum that nobody can look into. Each "
        "new\n"
        "version is kept under $SHOAL_HOME/adapters. Goes on until the task is over; a server that "
        "is\n"
        "away is tried again with back-off. Ctrl-C stops; the same command goes on.\n"
        "--once takes part in one round; exit code 3 says that there is none to be had now.",
    .example = "  shoal agent -d notes.jsonl --once\n"
               "  shoal agent -m smollm2-135m -d notes.jsonl --threads 2"};

typedef struct output {
    bool json;
    shoal_progress bar;
    bool bar_open;
} output;

/* ---- for a program ----------------------------------------------------------------------------
 */

static const char *kind_name(shoal_agent_event_kind kind)
{
    switch (kind) {
    case SHOAL_AGENT_TASK: return "task";
    case SHOAL_AGENT_WAIT: return "wait";
    case SHOAL_AGENT_AWAY: return "away";
    case SHOAL_AGENT_DATA: return "data";
    case SHOAL_AGENT_STEP: return "step";
    case SHOAL_AGENT_TRAINED: return "trained";
    case SHOAL_AGENT_STAGE: return "stage";
    case SHOAL_AGENT_STALLED: return "stalled";
    case SHOAL_AGENT_ROUND: return "round";
    case SHOAL_AGENT_DROPPED: return "dropped";
    case SHOAL_AGENT_ENDED: return "ended";
    }
    return "";
}

static void add_int(json_t *o, const char *key, uint64_t v)
{
    (void)json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void add_text(json_t *o, const char *key, const char *text)
{
    (void)json_object_set_new(o, key, shoal_json_from_text(text, strlen(text)));
}

/* The members that belong to the kind, besides "event". */
static void add_members(json_t *o, const shoal_agent_event *e)
{
    switch (e->kind) {
    case SHOAL_AGENT_TASK:
    case SHOAL_AGENT_ENDED:
        add_text(o, e->kind == SHOAL_AGENT_TASK ? "task" : "reason", e->text);
        add_int(o, "version", e->version);
        break;
    case SHOAL_AGENT_WAIT:
    case SHOAL_AGENT_AWAY:
        add_text(o, "reason", e->text);
        add_int(o, "retry_after_ms", e->retry_after_ms);
        break;
    case SHOAL_AGENT_DATA:
        add_int(o, "samples", e->data->n);
        add_int(o, "tokens", e->data->n_tokens);
        add_int(o, "split", e->data->n_split);
        add_int(o, "left_out", e->data->n_left_out);
        break;
    case SHOAL_AGENT_STEP:
        add_int(o, "step", e->step);
        add_int(o, "total_steps", e->total_steps);
        (void)json_object_set_new(o, "loss", json_real(e->loss));
        add_int(o, "tokens", e->tokens);
        break;
    case SHOAL_AGENT_TRAINED:
        add_int(o, "version", e->version);
        add_int(o, "tokens", e->tokens);
        (void)json_object_set_new(o, "loss", json_real(e->loss));
        (void)json_object_set_new(o, "seconds", json_real(e->seconds));
        break;
    case SHOAL_AGENT_STAGE:
    case SHOAL_AGENT_STALLED:
        add_text(o, "stage", e->text);
        add_int(o, "round", e->round);
        add_int(o, "cohort", e->cohort);
        break;
    case SHOAL_AGENT_ROUND:
        add_int(o, "round", e->round);
        add_int(o, "version", e->version);
        add_int(o, "cohort", e->cohort);
        add_int(o, "survivors", e->survivors);
        add_int(o, "peak_rss_bytes", e->peak_rss_bytes);
        break;
    case SHOAL_AGENT_DROPPED:
        add_text(o, "reason", e->text);
        (void)json_object_set_new(o, "kept", json_boolean(e->kept));
        break;
    }
}

static void print_json(const shoal_agent_event *e)
{
    json_t *o = json_object();
    add_text(o, "event", kind_name(e->kind));
    add_members(o, e);
    /* A reader that went away does not stop the round. */
    shoal_status ignored = shoal_json_print(stdout, o, NULL);
    (void)ignored;
}

/* ---- for a person -----------------------------------------------------------------------------
 */

static void show_step(output *out, const shoal_agent_event *e)
{
    char detail[64];
    if (!out->bar_open) {
        shoal_progress_begin(&out->bar, "training", e->total_steps, e->step - 1, out->json);
        out->bar_open = true;
    }
    (void)snprintf(detail, sizeof detail, "step %" PRIu64 "/%" PRIu64 "  loss %.3f", e->step,
                   e->total_steps, e->loss);
    shoal_progress_update(&out->bar, e->step, detail);
    if (e->step == e->total_steps) {
        shoal_progress_end(&out->bar, detail);
        out->bar_open = false;
    }
}

static void show_round(const shoal_agent_event *e)
{
    char rss[24];
    shoal_format_bytes(e->peak_rss_bytes, rss, sizeof rss);
    shoal_term_note("round %" PRIu64 ": %" PRIu64 " of %" PRIu64
                    " devices in the sum; adapter version %" PRIu64 " kept; peak memory %s",
                    e->round, e->survivors, e->cohort, e->version, rss);
}

static void show(output *out, const shoal_agent_event *e)
{
    if (e->kind == SHOAL_AGENT_STEP) {
        show_step(out, e);
        return;
    }
    switch (e->kind) {
    case SHOAL_AGENT_TASK:
        shoal_term_note("task %s, adapter version %" PRIu64 " on this device", e->text, e->version);
        break;
    case SHOAL_AGENT_WAIT:
        shoal_term_note("waiting %.1f s: %s", (double)e->retry_after_ms / 1e3, e->text);
        break;
    case SHOAL_AGENT_AWAY:
        shoal_term_note("%s; trying again in %.1f s", e->text, (double)e->retry_after_ms / 1e3);
        break;
    case SHOAL_AGENT_TRAINED:
        shoal_term_note("trained version %" PRIu64 " on %" PRIu64 " tokens in %.1f s, loss %.3f",
                        e->version, e->tokens, e->seconds, e->loss);
        break;
    case SHOAL_AGENT_STAGE: shoal_term_note("round %" PRIu64 ": %s", e->round, e->text); break;
    case SHOAL_AGENT_STALLED:
        shoal_term_note("round %" PRIu64 ": waiting before %s, as asked", e->round, e->text);
        break;
    case SHOAL_AGENT_ROUND: show_round(e); break;
    case SHOAL_AGENT_DROPPED:
        shoal_term_note("left the round: %s; the update %s", e->text,
                        e->kept ? "is kept" : "was sent once and is made anew");
        break;
    case SHOAL_AGENT_ENDED:
        shoal_term_note("%s; adapter version %" PRIu64 " is the newest here", e->text, e->version);
        break;
    case SHOAL_AGENT_DATA: /* on_event has warned */
    case SHOAL_AGENT_STEP: break;
    }
}

static void on_event(void *ctx, const shoal_agent_event *e)
{
    output *out = ctx;
    if (e->kind == SHOAL_AGENT_DATA) shoal_dataset_warn_long(e->data, e->ctx);
    if (out->json)
        print_json(e);
    else
        show(out, e);
}

/* ---- the command ------------------------------------------------------------------------------
 */

static shoal_status run(shoal_agent_options *o, shoal_error *err)
{
    shoal_store store;
    shoal_store_lock lock;
    if (o->data_path == NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "-d DATA.jsonl is needed: what to train on");
    }
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    SHOAL_TRY(shoal_store_lock_take(&store, &lock, err));
    o->store = &store;
    shoal_interrupt_install();
    shoal_status st = shoal_agent_run(o, err);
    shoal_store_lock_release(&lock);
    return st;
}

int shoal_cmd_agent(int argc, char **argv)
{
    output out = {0};
    shoal_agent_options o = {.max_ram = SHOAL_TRAIN_RAM_USUAL,
                             .on_event = on_event,
                             .ctx = &out,
                             .stop = shoal_interrupted};
    uint64_t min_cohort = 0;
    shoal_process_no_core();
    const shoal_option table[] = {
        SHOAL_STRING("data", 'd', &o.data_path, "FILE",
                     "JSONL conversations; they never leave this device"),
        SHOAL_STRING("model", 'm', &o.engine.model, "MODEL",
                     "base model (default: the task's, by name)"),
        SHOAL_STRING("task", 0, &o.task, "NAME", "which task, when several run"),
        SHOAL_FLAG("once", 0, &o.once, "one round, then end"),
        SHOAL_COUNT("min-cohort", 0, &min_cohort, "N",
                    "smallest sum to hide in, for this run (default: `shoal policy`, 32)", 3,
                    SHOAL_LIMIT_COHORT_MAX),
        SHOAL_SIZE("max-ram", 0, &o.max_ram, "SIZE",
                   "memory that training stays under, as in `shoal train` (235 MB)",
                   &o.max_ram_given),
        SHOAL_SIZE("budget-round", 0, &o.budget_round, "SIZE",
                   "most traffic of a round, for this run (default: `shoal policy`, any)",
                   &o.budget_round_given),
        SHOAL_SIZE("budget-month", 0, &o.budget_month, "SIZE",
                   "most traffic in a month, for this run (default: `shoal policy`, any)",
                   &o.budget_month_given),
        SHOAL_STRING("stall-before", 0, &o.stall_before, "STAGE",
                     "wait for ever before sending this message (to test drop-outs)"),
        SHOAL_FLAG("json", 0, &out.json, "print one event a line, {\"event\":...}")};
    shoal_option engine[SHOAL_ENGINE_N_OPTIONS];
    shoal_engine_option_table(&o.engine, engine);
    const shoal_option_group groups[] = {{"options", table, SHOAL_OPTION_COUNT_OF(table)},
                                         {"computing", engine, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 2, argc, argv, NULL, &code)) return code;
    o.min_cohort = (uint32_t)min_cohort;
    shoal_error err = {0};
    shoal_status st = run(&o, &err);
    return shoal_command_end(st, &err);
}
