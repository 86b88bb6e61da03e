/* cmd_status.c - shoal status: what this device is a member of and what it has done. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/budget.h"
#include "client/command.h"
#include "client/enrol.h"
#include "client/json.h"
#include "client/policy.h"
#include "client/store.h"
#include "client/taskstate.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"

static const shoal_usage usage = {
    .synopsis = "shoal status [--json]",
    .about = "Says which deployment this device has joined, and for each task the last round, the\n"
             "adapter it holds and how much local data was used. Asks nobody: it reads the disk.",
    .example = "  shoal status"};

typedef struct report {
    json_t *tasks; /* NULL when printing for a person */
    const shoal_store *store;
} report;

static void date_of(int64_t s, char *out, size_t n)
{
    time_t t = (time_t)s;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || strftime(out, n, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        out[0] = '\0';
}

static void on_task(void *ctx, const shoal_task_record *r)
{
    report *rep = ctx;
    if (rep->tasks == NULL) {
        (void)printf("\ntask          %s\n", r->name);
        (void)printf("last round    %" PRIu64 " (%" PRIu64 " completed here)\n", r->last_round,
                     r->rounds_completed);
        (void)printf("adapter       version %" PRIu64 ", %s/adapters/%s/latest.gguf\n", r->version,
                     rep->store->root, r->dir);
        (void)printf("data used     %" PRIu64 " samples, %" PRIu64 " tokens; kept on this device\n",
                     r->samples, r->tokens);
        (void)printf("sent          %" PRIu64 " masked updates, in sums of at least %" PRIu64 "\n",
                     r->inputs, r->cohort_min);
        if (r->cohort_min != 0) shoal_policy_warn(r->cohort_min);
        return;
    }
    char hex[33];
    shoal_hex_encode(r->task_id, sizeof r->task_id, hex);
    (void)json_array_append_new(
        rep->tasks,
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", r->name, "task_id",
                  hex, "dir", r->dir, "last_round", (json_int_t)r->last_round, "rounds_completed",
                  (json_int_t)r->rounds_completed, "version", (json_int_t)r->version, "samples",
                  (json_int_t)r->samples, "tokens", (json_int_t)r->tokens, "inputs",
                  (json_int_t)r->inputs, "min_cohort", (json_int_t)r->cohort_min));
}

static void print_member(const shoal_enrolment *e)
{
    char id[2 * SHOAL_ID_BYTES + 1];
    char since[40];
    char until[40];
    shoal_hex_encode(e->id, sizeof e->id, id);
    date_of(e->enrolled_at_s, since, sizeof since);
    date_of(e->not_after_s, until, sizeof until);
    (void)printf("deployment    %s\nserver        %s\ndevice        %s\njoined        %s\n"
                 "certificate   until %s\n",
                 e->deployment, e->server_url, id, since, until);
}

static void print_policy(const shoal_sa_policy *p)
{
    (void)printf("policy        sums of at least %" PRIu32 " devices (`shoal policy`)\n", p->n_min);
    shoal_policy_warn(p->n_min);
}

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

/* What stands on disk: up to a few MB more than was used while an agent runs (budget.h). */
static shoal_status open_traffic(shoal_budget *b, const shoal_store *store, shoal_error *err)
{
    shoal_budget_limits l;
    SHOAL_TRY(shoal_policy_load_budget(store, &l, err));
    return shoal_budget_open(b, store, &l, now_s, err);
}

static void print_traffic(const shoal_budget *b)
{
    char sent[32], received[32], bound[32] = "";
    shoal_format_bytes(b->sent, sent, sizeof sent);
    shoal_format_bytes(b->received, received, sizeof received);
    (void)printf("traffic       %s sent, %s received in %04u-%02u", sent, received,
                 (unsigned)(b->month / 12), (unsigned)(b->month % 12 + 1));
    if (b->limits.month != 0) {
        shoal_format_bytes(b->limits.month, bound, sizeof bound);
        (void)printf(", of %s", bound);
    }
    if (b->limits.round != 0) {
        shoal_format_bytes(b->limits.round, bound, sizeof bound);
        (void)printf("; at most %s a round", bound);
    }
    (void)printf("\n");
}

static json_t *traffic_json(const shoal_budget *b)
{
    char month[16];
    (void)snprintf(month, sizeof month, "%04u-%02u", (unsigned)(b->month / 12),
                   (unsigned)(b->month % 12 + 1));
    return json_pack("{s:s, s:I, s:I, s:I, s:I}", "month", month, "sent", (json_int_t)b->sent,
                     "received", (json_int_t)b->received, "budget_round",
                     (json_int_t)b->limits.round, "budget_month", (json_int_t)b->limits.month);
}

static shoal_status print_json(const shoal_enrolment *e, const shoal_sa_policy *p, json_t *traffic,
                               json_t *tasks, shoal_error *err)
{
    char id[2 * SHOAL_ID_BYTES + 1];
    bool joined = e->key != NULL;
    shoal_hex_encode(e->id, sizeof e->id, id);
    json_t *o = json_pack("{s:b, s:I, s:o, s:o}", "joined", (int)joined, "min_cohort",
                          (json_int_t)p->n_min, "traffic", traffic, "tasks", tasks);
    if (joined) {
        json_t *m =
            json_pack("{s:s, s:s, s:s, s:I, s:I}", "deployment", e->deployment, "server",
                      e->server_url, "device", id, "joined_at", (json_int_t)e->enrolled_at_s,
                      "certificate_until", (json_int_t)e->not_after_s);
        (void)json_object_update(o, m);
        json_decref(m);
    }
    return shoal_json_print(stdout, o, err);
}

static shoal_status status(bool json, shoal_error *err)
{
    shoal_store store;
    shoal_enrolment e;
    shoal_sa_policy policy;
    shoal_budget traffic;
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    SHOAL_TRY(shoal_policy_load(&store, &policy, err));
    SHOAL_TRY(open_traffic(&traffic, &store, err));
    shoal_status st = shoal_enrolment_load(&store, &e, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    report rep = {.tasks = json ? json_array() : NULL, .store = &store};
    if (!json && st == SHOAL_OK) print_member(&e);
    if (!json && st != SHOAL_OK) (void)printf("deployment    none; `shoal join LINK` joins one\n");
    if (!json) print_policy(&policy);
    if (!json) print_traffic(&traffic);
    st = shoal_task_record_each(&store, on_task, &rep, err);
    if (st == SHOAL_OK && json)
        st = print_json(&e, &policy, traffic_json(&traffic), rep.tasks, err);
    else
        json_decref(rep.tasks);
    shoal_enrolment_clear(&e);
    return st;
}

int shoal_cmd_status(int argc, char **argv)
{
    bool json = false;
    const shoal_option table[] = {SHOAL_FLAG("json", 0, &json, "print one object")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    int code = 0;
    if (!shoal_command_begin(&usage, &group, 1, argc, argv, NULL, &code)) return code;
    shoal_error err = {0};
    shoal_status st = status(json, &err);
    return shoal_command_end(st, &err);
}
