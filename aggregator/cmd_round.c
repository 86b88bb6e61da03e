/* cmd_round.c - shoal-aggregator round: what happened, and why. Ids and counters only. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "aggregator/cmd.h"

enum { ID_TEXT = 2 * SHOAL_ID_BYTES + 1 };

typedef struct round_options {
    cmd_common common;
    const char *task;
} round_options;

static void print_json(json_t *j)
{
    (void)json_dumpf(j, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(j);
}

static json_t *round_json(const shoal_db_round *r, const char *task)
{
    char session[65], roster[65];
    shoal_hex_encode(r->session_id, 32, session);
    shoal_hex_encode(r->roster_hash, 32, roster);
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f,"
                     " s:s, s:s}",
                     "task", task, "round", (json_int_t)r->round, "session", session, "state",
                     cmd_round_state(r->state), "stage", shoal_sa_stage_name(r->stage),
                     "from_version", (json_int_t)r->from_version, "to_version",
                     (json_int_t)r->to_version, "opened_s", (json_int_t)r->opened_s, "closed_s",
                     (json_int_t)r->closed_s, "roster", (json_int_t)r->roster, "survivors",
                     (json_int_t)r->survivors, "threshold", (json_int_t)r->threshold, "liars",
                     (json_int_t)r->liars, "weight_sum", (json_int_t)r->weight_sum, "update_norm",
                     r->update_norm, "roster_hash", roster, "reason", r->reason);
}

/* ---- list -------------------------------------------------------------------------------------
 */

typedef struct round_listing {
    bool json;
    const char *task;
} round_listing;

static void print_round(void *ctx, const shoal_db_round *r)
{
    const round_listing *l = ctx;
    char opened[CMD_TIME_TEXT], devices[32], version[32];
    if (l->json) {
        print_json(round_json(r, l->task));
        return;
    }
    cmd_time_text(r->opened_s, opened);
    (void)snprintf(devices, sizeof devices, "%u of %u", r->survivors, r->roster);
    if (r->state == SHOAL_ROUND_DONE) {
        (void)snprintf(version, sizeof version, "%llu", (unsigned long long)r->to_version);
    } else {
        (void)snprintf(version, sizeof version, "-");
    }
    (void)printf("%5llu  %-9s  %-19s  %-8s  %7s  %s\n", (unsigned long long)r->round,
                 cmd_round_state(r->state), opened, devices, version, r->reason);
}

static int round_list(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {
        "shoal-aggregator round list [TASK] [options]",
        "The rounds of a task: how many of the roster's devices are in the sum, the version that\n"
        "was made, and for those that failed, why. Times are UTC.",
        "shoal-aggregator round list", 0, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_db_task t;
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        st = cmd_find_task(&d, args.n > 0 ? args.items[0] : NULL, &t, &err);
    }
    if (st == SHOAL_OK) {
        round_listing l = {c.json, t.name};
        if (!c.json) {
            (void)printf("%5s  %-9s  %-19s  %-8s  %7s  %s\n", "ROUND", "STATE", "OPENED", "DEVICES",
                         "VERSION", "REASON");
        }
        st = shoal_db_rounds(d.db, t.id, print_round, &l, &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

/* ---- explain ----------------------------------------------------------------------------------
 */

/* How far a device went, in words. */
static const char *story(const shoal_db_round *r, const shoal_sa_member *m)
{
    if (m->lied) {
        return "gave false shares: left out of the unmasking";
    }
    if (r->roster_hash[0] == 0 && r->stage == SHOAL_SA_ADVERTISE) {
        return "advertised; the round ended before the roster was fixed";
    }
    if (!m->shared) {
        return "dropped out before sharing its keys: not in the round";
    }
    if (!m->uploaded) {
        return r->stage > SHOAL_SA_INPUT
                   ? "dropped out before its upload: the others took its masks off"
                   : "shared its keys";
    }
    if (!m->unmasked) {
        return "uploaded, then left: its update counts all the same";
    }
    return "took part to the end";
}

typedef struct explanation {
    const shoal_db_round *r;
    json_t *list; /* NULL: text */
} explanation;

static void explain_stage(void *ctx, const shoal_db_stage *g)
{
    const explanation *x = ctx;
    if (x->list != NULL) {
        (void)json_array_append_new(
            x->list,
            json_pack("{s:s, s:I, s:I, s:I, s:b}", "stage", shoal_sa_stage_name(g->stage),
                      "answered", (json_int_t)g->answered, "expected", (json_int_t)g->expected,
                      "took_ms", (json_int_t)g->took_ms, "deadline", g->deadline));
        return;
    }
    (void)printf("  %-10s  %3u of %-3u answered  %8.1f s  closed by %s\n",
                 shoal_sa_stage_name(g->stage), g->answered, g->expected,
                 (double)g->took_ms / 1000.0, g->deadline ? "its deadline" : "the last answer");
}

static void explain_member(void *ctx, const shoal_sa_member *m)
{
    const explanation *x = ctx;
    char id[ID_TEXT];
    shoal_hex_encode(m->id, SHOAL_ID_BYTES, id);
    if (x->list != NULL) {
        (void)json_array_append_new(
            x->list, json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:s}", "device", id, "shared",
                               m->shared, "uploaded", m->uploaded, "signed", m->signed_set,
                               "unmasked", m->unmasked, "lied", m->lied, "story", story(x->r, m)));
        return;
    }
    (void)printf("  %s  %s\n", id, story(x->r, m));
}

static void explain_head(const shoal_db_round *r, const char *task)
{
    char opened[CMD_TIME_TEXT], session[17];
    cmd_time_text(r->opened_s, opened);
    shoal_hex_encode(r->session_id, 8, session);
    (void)printf("round %llu of %s: %s\n", (unsigned long long)r->round, task,
                 cmd_round_state(r->state));
    (void)printf("session %s..., opened %s UTC", session, opened);
    if (r->closed_s != 0) {
        (void)printf(", took %lld s", (long long)(r->closed_s - r->opened_s));
    }
    (void)printf(", from version %llu\n", (unsigned long long)r->from_version);
    if (r->state == SHOAL_ROUND_DONE) {
        (void)printf("%u of %u devices are in the sum (at least %u were needed); weights %llu, "
                     "norm of the mean update %.4g\nversion %llu was made\n",
                     r->survivors, r->roster, r->threshold, (unsigned long long)r->weight_sum,
                     r->update_norm, (unsigned long long)r->to_version);
    } else if (r->reason[0] != '\0') {
        (void)printf(
            "it ended in stage %s: %s\nnothing was lost: devices keep their updates, and a "
            "new session starts when they check in\n",
            shoal_sa_stage_name(r->stage), r->reason);
    }
}

static shoal_status explain_json(shoal_deployment *d, const shoal_db_task *t,
                                 const shoal_db_round *r, shoal_error *err)
{
    json_t *stages = json_array();
    json_t *members = json_array();
    explanation xs = {r, stages}, xm = {r, members};
    shoal_status st = shoal_db_round_stages(d->db, r, explain_stage, &xs, err);
    if (st == SHOAL_OK) {
        st = shoal_db_round_members(d->db, r, explain_member, &xm, err);
    }
    json_t *j = round_json(r, t->name);
    (void)json_object_set_new(j, "stages", stages);
    (void)json_object_set_new(j, "devices", members);
    if (st == SHOAL_OK) {
        print_json(j);
    } else {
        json_decref(j);
    }
    return st;
}

static shoal_status explain_text(shoal_deployment *d, const shoal_db_task *t,
                                 const shoal_db_round *r, shoal_error *err)
{
    explanation x = {r, NULL};
    explain_head(r, t->name);
    (void)printf("stages\n");
    SHOAL_TRY(shoal_db_round_stages(d->db, r, explain_stage, &x, err));
    (void)printf("devices\n");
    return shoal_db_round_members(d->db, r, explain_member, &x, err);
}

static shoal_status explain(const round_options *o, const char *number, shoal_error *err)
{
    uint64_t n = 0;
    shoal_deployment d = {0};
    shoal_db_task t;
    shoal_db_round r;
    if (!shoal_parse_u64(number, &n) || n > INT64_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "\"%.40s\" is not the number of a round", number);
    }
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&o->common), err);
    if (st == SHOAL_OK) {
        st = cmd_find_task(&d, o->task, &t, err);
    }
    if (st == SHOAL_OK) {
        st = shoal_db_round_get(d.db, t.id, n, &r, err);
    }
    if (st == SHOAL_OK) {
        st = o->common.json ? explain_json(&d, &t, &r, err) : explain_text(&d, &t, &r, err);
    }
    shoal_deployment_close(&d);
    return st;
}

static int round_explain(int argc, char **argv)
{
    round_options o = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_option own[] = {
        SHOAL_STRING("task", 0, &o.task, "NAME", "of which task (default: the only one)")};
    const shoal_usage usage = {
        "shoal-aggregator round explain N [--task NAME] [options]",
        "Tells how round N went: its stages, who took part, who dropped out where, and why it\n"
        "succeeded or failed. It knows ids and counters: updates are never seen by anyone.",
        "shoal-aggregator round explain 3", 1, 1};
    if (!cmd_begin(&usage, &o.common, own, 1, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_status st = explain(&o, args.items[0], &err);
    return shoal_command_end(st, &err);
}

int cmd_round(int argc, char **argv)
{
    static const shoal_command TABLE[] = {
        {"list", round_list, "all rounds of a task"},
        {"explain", round_explain, "how one round went, and why"},
    };
    return shoal_command_dispatch("shoal-aggregator round", "What happened.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
