/* demo_devices.c - the demo's devices: agents started, watched, one killed and brought back. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/demo_internal.h"
#include "client/json.h"

enum { FEDERATION_TIMEOUT_S = 900, POLL_MS = 100 };

shoal_status demo_devices_join(demo *d, shoal_error *err)
{
    for (size_t i = 0; i < d->opt->clients; i++) {
        demo_device *v = &d->device[i];
        char out[SHOAL_PATH_MAX];
        SHOAL_TRY(demo_path(d, out, err, "device-%zu/join.out", i + 1));
        const char *argv[] = {d->shoal, "join", v->link, NULL};
        SHOAL_TRY(demo_run(d, argv, v->home, out, err));
        memset(v->link, 0, sizeof v->link); /* used up */
    }
    return SHOAL_OK;
}

/* ---- the one that is killed -------------------------------------------------------------------
 */

static bool is_victim(const demo *d, size_t i)
{
    return i + 1 == d->opt->clients;
}

/* The victim takes part in round 1 like the others (when there are several rounds), then in one in
 * which it stops before its upload and is killed, and afterwards it is a device like any other. */
static bool stalls_now(const demo *d, size_t i)
{
    return is_victim(d, i) && d->device[i].starts == (d->opt->rounds > 1 ? 1u : 0u);
}

static bool once_now(const demo *d, size_t i)
{
    return is_victim(d, i) && d->opt->rounds > 1 && d->device[i].starts == 0;
}

static shoal_status start_agent(demo *d, size_t i, shoal_error *err)
{
    demo_device *v = &d->device[i];
    char out[SHOAL_PATH_MAX];
    SHOAL_TRY(demo_path(d, out, err, "device-%zu/events-%u.jsonl", i + 1, v->starts + 1));
    const char *argv[20] = {d->shoal, "agent",     "-m", d->out->model,  "-d", v->data,
                            "--json", "--threads", "1",  "--min-cohort", "3"};
    size_t n = 11;
    if (once_now(d, i)) argv[n++] = "--once";
    if (stalls_now(d, i)) {
        argv[n++] = "--stall-before";
        argv[n++] = "input";
    }
    SHOAL_TRY(demo_start(d, &v->child, argv, v->home, out, err));
    if (!shoal_tail_open(&v->events, out)) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the demo's directory has too long a name");
    }
    v->starts++;
    return SHOAL_OK;
}

static shoal_status kill_and_restart(demo *d, size_t i, uint64_t round, shoal_error *err)
{
    demo_device *v = &d->device[i];
    demo_say(d, "round %" PRIu64 ": %s has shared its keys; killed before its upload (SIGKILL)",
             round, v->name);
    shoal_child_signal(&v->child, SIGKILL);
    SHOAL_TRY(shoal_child_wait(&v->child, 10, NULL, NULL, NULL, err));
    d->out->killed_round = (size_t)round;
    return start_agent(d, i, err);
}

/* ---- watching ---------------------------------------------------------------------------------
 */

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(o, key));
    return v > 0 ? (uint64_t)v : 0;
}

/* The first device to report a round speaks for all. */
static void on_round(demo *d, demo_device *v, const json_t *o)
{
    uint64_t round = number(o, "round");
    v->rounds++;
    if (number(o, "peak_rss_bytes") > v->peak_rss_bytes) {
        v->peak_rss_bytes = number(o, "peak_rss_bytes");
    }
    if (round == d->out->killed_round) d->out->survivors = (size_t)number(o, "survivors");
    if (v->rounds <= d->out->rounds_done) return;
    d->out->rounds_done = (size_t)v->rounds;
    demo_say(d,
             "round %zu of %zu: the sum of %" PRIu64 " of %" PRIu64
             " devices made adapter version %" PRIu64,
             d->out->rounds_done, d->opt->rounds, number(o, "survivors"), number(o, "cohort"),
             number(o, "version"));
}

static shoal_status on_event(demo *d, size_t i, const json_t *o, shoal_error *err)
{
    demo_device *v = &d->device[i];
    const char *event = json_string_value(json_object_get(o, "event"));
    if (event == NULL) return SHOAL_OK;
    v->summing = strcmp(event, "stage") == 0 || strcmp(event, "stalled") == 0;
    if (strcmp(event, "step") == 0) v->step = number(o, "step");
    if (strcmp(event, "trained") == 0) {
        v->trainings++;
        v->step = 0;
        v->tokens += number(o, "tokens");
    }
    if (strcmp(event, "round") == 0) on_round(d, v, o);
    if (strcmp(event, "dropped") == 0) {
        const char *why = json_string_value(json_object_get(o, "reason"));
        demo_say(d, "%s left a round: %s", v->name, why != NULL ? why : "");
    }
    if (strcmp(event, "stalled") == 0) return kill_and_restart(d, i, number(o, "round"), err);
    return SHOAL_OK;
}

static shoal_status read_events(demo *d, size_t i, shoal_error *err)
{
    demo_device *v = &d->device[i];
    unsigned starts = v->starts;
    for (const char *line = shoal_tail_next(&v->events); line != NULL;
         line = shoal_tail_next(&v->events)) {
        json_t *o = NULL;
        if (shoal_json_object(&o, line, strlen(line), "event", false, NULL) != SHOAL_OK) continue;
        shoal_status st = on_event(d, i, o, err);
        json_decref(o);
        if (st != SHOAL_OK || v->starts != starts) return st;
    }
    return SHOAL_OK;
}

/* An agent that ended: the victim's planned ends lead to its next start, others must end well. */
static shoal_status on_end(demo *d, size_t i, shoal_error *err)
{
    demo_device *v = &d->device[i];
    SHOAL_TRY(read_events(d, i, err)); /* what it said last */
    if (v->child.pid != 0) return SHOAL_OK;
    if (v->child.exit_code != 0) return demo_fail(v->name, v->events.path, err);
    if (is_victim(d, i) && v->starts == 1 && d->opt->rounds > 1) return start_agent(d, i, err);
    v->done = true;
    return SHOAL_OK;
}

static void show(demo *d)
{
    uint64_t done = 0;
    char detail[64];
    for (size_t i = 0; i < d->opt->clients; i++) {
        done += d->device[i].trainings * d->opt->steps + d->device[i].step;
    }
    uint64_t total = d->bar.total;
    size_t round = d->out->rounds_done < d->opt->rounds ? d->out->rounds_done + 1 : d->opt->rounds;
    bool summing = false;
    for (size_t i = 0; i < d->opt->clients; i++)
        summing = summing || d->device[i].summing;
    (void)snprintf(detail, sizeof detail, "round %zu of %zu, %s", round, d->opt->rounds,
                   summing ? "devices sum in secret" : "devices train");
    shoal_progress_update(&d->bar, done < total ? done : total, detail);
}

static shoal_status check_server(demo *d, shoal_error *err)
{
    char out[SHOAL_PATH_MAX];
    if (shoal_child_running(&d->server)) return SHOAL_OK;
    SHOAL_TRY(demo_path(d, out, err, "server.out"));
    return demo_fail("the aggregator", out, err);
}

static shoal_status watch(demo *d, shoal_error *err)
{
    double end = shoal_clock_s() + FEDERATION_TIMEOUT_S;
    for (size_t running = 1; running > 0;) {
        running = 0;
        for (size_t i = 0; i < d->opt->clients; i++) {
            demo_device *v = &d->device[i];
            if (v->done) continue;
            SHOAL_TRY(read_events(d, i, err));
            if (!shoal_child_running(&v->child)) SHOAL_TRY(on_end(d, i, err));
            if (!v->done) running++;
        }
        SHOAL_TRY(check_server(d, err));
        show(d);
        if (d->opt->stop != NULL && d->opt->stop()) {
            return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        }
        if (shoal_clock_s() > end) {
            return shoal_fail(err, SHOAL_ERR_TIMEOUT, "the rounds take too long");
        }
        struct timespec t = {0, POLL_MS * 1000000L};
        (void)nanosleep(&t, NULL);
    }
    return SHOAL_OK;
}

shoal_status demo_devices_run(demo *d, shoal_error *err)
{
    double begun = shoal_clock_s();
    uint64_t steps = (uint64_t)d->opt->clients * d->opt->rounds * d->opt->steps;
    for (size_t i = 0; i < d->opt->clients; i++)
        SHOAL_TRY(start_agent(d, i, err));
    shoal_progress_begin(&d->bar, "federated", steps, 0, d->opt->quiet);
    d->bar_open = true;
    shoal_status st = watch(d, err);
    d->bar_open = false;
    shoal_progress_end(&d->bar, st == SHOAL_OK ? "done" : "stopped");
    for (size_t i = 0; i < d->opt->clients; i++) {
        const demo_device *v = &d->device[i];
        d->out->tokens += v->tokens / d->opt->clients;
        if (v->peak_rss_bytes > d->out->peak_rss_bytes) d->out->peak_rss_bytes = v->peak_rss_bytes;
    }
    d->out->federated_s = shoal_clock_s() - begun;
    return st;
}

void demo_devices_end(demo *d)
{
    for (size_t i = 0; i < d->opt->clients; i++)
        shoal_child_signal(&d->device[i].child, SIGTERM);
    for (size_t i = 0; i < d->opt->clients; i++)
        shoal_child_end(&d->device[i].child, 3.0);
}
