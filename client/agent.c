/* agent.c - the loop of a device: check in, train, take part. */
#include "client/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/api.h"
#include "client/budget.h"
#include "client/data.h"
#include "client/enrol.h"
#include "client/filehash.h"
#include "client/localtrain.h"
#include "client/policy.h"
#include "client/release.h"
#include "client/round.h"
#include "kernels/base/term.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"

enum {
    BACKOFF_MAX_MS = 60 * 1000,
    ONCE_PATIENCE_MS = 60 * 1000, /* how long --once waits for a server that is away */
    WAIT_MIN_MS = 200
};

typedef struct agent {
    const shoal_agent_options *opt;
    shoal_enrolment me;
    shoal_net *net;
    shoal_api api;
    shoal_engine engine;
    uint8_t base_hash[32];
    shoal_task_info task;
    shoal_task_record record;
    shoal_sa_policy policy;
    shoal_budget budget;
    shoal_adapter *adapter; /* of record.version, once adopted */
    shoal_dataset data;
    uint32_t data_ctx; /* what data was cut to; 0: not loaded */
    shoal_update update;
    bool trained; /* update belongs to the adapter held and was in no session yet */
    unsigned away;
    uint64_t away_ms;
    shoal_task_list list; /* last answers of the server; too large for the stack */
    shoal_checkin_response answer;
} agent;

static void tell(const agent *a, const shoal_agent_event *e)
{
    if (a->opt->on_event != NULL) a->opt->on_event(a->opt->ctx, e);
}

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

/* ---- traffic ----------------------------------------------------------------------------------
 */

enum { BUDGET_WAIT_S = 3600 };

/* OK once a round of `bytes` (0: as the last one was expected to be) fits into the budget. An agent
 * that goes on for ever waits for the next month, without a byte; any other ends with DENIED. */
static shoal_status afford(agent *a, uint64_t bytes, shoal_error *err)
{
    shoal_status st;
    while ((st = shoal_budget_check(&a->budget, bytes, err)) == SHOAL_ERR_DENIED) {
        if (a->opt->once || !shoal_budget_is_later(&a->budget)) return st;
        uint64_t left_s = shoal_month_left_s(now_s());
        uint64_t ms = 1000 * (left_s < BUDGET_WAIT_S ? left_s + 1 : BUDGET_WAIT_S);
        shoal_agent_event e = {.kind = SHOAL_AGENT_WAIT,
                               .retry_after_ms = ms,
                               .text = "the month's traffic is used up"};
        tell(a, &e);
        SHOAL_TRY(shoal_pause_ms(ms, a->opt->stop, err));
    }
    return st;
}

static shoal_status open_budget(agent *a, shoal_error *err)
{
    shoal_budget_limits l;
    SHOAL_TRY(shoal_policy_load_budget(a->opt->store, &l, err));
    if (a->opt->budget_round_given) l.round = a->opt->budget_round;
    if (a->opt->budget_month_given) l.month = a->opt->budget_month;
    SHOAL_TRY(shoal_budget_open(&a->budget, a->opt->store, &l, now_s, err));
    return afford(a, 0, err);
}

/* What taking part from this release costs, before a session says how many bits a number has. */
static uint64_t cost_of_training(const agent *a, const shoal_adapter_release *r)
{
    bool held = shoal_equal(a->record.adapter_sha256, r->sha256, 32);
    shoal_round_size s = {.words = r->size / sizeof(float) + 1,
                          .ring_bits = SHOAL_LIMIT_RING_MAX,
                          .cohort = a->task.cohort_target,
                          .peers = a->task.cohort_target,
                          .adapter_bytes = r->size,
                          .downloads = held ? 1 : 2};
    return shoal_round_bytes(&s);
}

static shoal_status afford_session(agent *a, const shoal_checkin_response *rs, shoal_error *err)
{
    shoal_sa_descriptor d;
    uint8_t ctx[32];
    SHOAL_TRY(
        shoal_sa_descriptor_open(rs->descriptor, rs->descriptor_n, a->me.task_spki, &d, ctx, err));
    shoal_round_size s = {.words = shoal_codec_words(&d.codec),
                          .ring_bits = d.codec.ring_bits,
                          .cohort = d.codec.n_max,
                          .peers = d.codec.n_max,
                          .adapter_bytes = rs->release.size,
                          .downloads = 1};
    return afford(a, shoal_round_bytes(&s), err);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static shoal_status connect(agent *a, shoal_error *err)
{
    shoal_net_close(a->net);
    a->net = NULL;
    SHOAL_TRY(shoal_enrolment_connect(&a->me, a->opt->stop, &a->net, err));
    shoal_net_meter meter = shoal_budget_meter(&a->budget);
    shoal_net_set_meter(a->net, &meter);
    a->api = (shoal_api){.net = a->net, .stop = a->opt->stop};
    return SHOAL_OK;
}

/* After a call that failed with `st`: OK when it should be repeated now (we have waited), st itself
 * when repeating is no use. */
static shoal_status be_patient(agent *a, shoal_status st, shoal_error *err)
{
    if (!shoal_net_is_away(st) && st != SHOAL_ERR_AGAIN) return st;
    uint64_t ms = shoal_backoff_ms(a->away++, BACKOFF_MAX_MS);
    if (ms < a->api.retry_after_ms) ms = a->api.retry_after_ms;
    a->away_ms += ms;
    if (a->opt->once && a->away_ms > ONCE_PATIENCE_MS) return st;
    shoal_agent_event e = {.kind = SHOAL_AGENT_AWAY,
                           .retry_after_ms = ms,
                           .text = err != NULL ? err->msg : shoal_status_text(st)};
    tell(a, &e);
    return shoal_pause_ms(ms, a->opt->stop, err);
}

static void server_is_back(agent *a)
{
    a->away = 0;
    a->away_ms = 0;
}

static shoal_status get_tasks(agent *a, shoal_error *err)
{
    for (;;) {
        shoal_status st = shoal_api_tasks(&a->api, &a->list, err);
        if (st == SHOAL_OK) {
            server_is_back(a);
            return st;
        }
        SHOAL_TRY(be_patient(a, st, err));
    }
}

static shoal_status check_in(agent *a, shoal_error *err)
{
    shoal_checkin_request rq = {.last_round = a->record.last_round,
                                .adapter_version = a->record.version,
                                .trained = a->trained};
    memcpy(rq.task_id, a->record.task_id, sizeof rq.task_id);
    for (;;) {
        shoal_status st = shoal_api_checkin(&a->api, &rq, &a->answer, err);
        if (st == SHOAL_OK) {
            server_is_back(a);
            return st;
        }
        SHOAL_TRY(be_patient(a, st, err));
    }
}

static shoal_status renew_if_due(agent *a, shoal_error *err)
{
    if (!shoal_enrolment_due(&a->me, now_s())) return SHOAL_OK;
    shoal_status st = shoal_enrolment_renew(a->opt->store, &a->me, a->net, now_s(), err);
    if (st == SHOAL_OK) return connect(a, err);
    /* There is a third of its life left to try again, unless it is already over. */
    return now_s() < a->me.not_after_s ? SHOAL_OK : st;
}

/* ---- the task ---------------------------------------------------------------------------------
 */

/* Names of running tasks for a hint, "a, b". */
static void list_names(const shoal_task_list *list, char *out, size_t n)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < list->n; i++) {
        int put = snprintf(out + used, n - used, "%s%s", used > 0 ? ", " : "", list->tasks[i].name);
        if (put < 0 || (size_t)put >= n - used) return;
        used += (size_t)put;
    }
}

static shoal_status choose_task(agent *a, const shoal_task_list *list, shoal_error *err)
{
    const shoal_task_info *found = NULL;
    size_t running = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        const shoal_task_info *t = &list->tasks[i];
        bool named = a->opt->task != NULL && strcmp(a->opt->task, t->name) == 0;
        bool runs = a->opt->task == NULL && t->state == SHOAL_TASK_RUNNING;
        if (runs) running++;
        if (named || runs) found = t;
    }
    char names[200];
    list_names(list, names, sizeof names);
    if (running > 1) {
        shoal_fail(err, SHOAL_ERR_ARG, "several tasks are running");
        shoal_hint(err, "choose one with --task: %s", names);
        return SHOAL_ERR_ARG;
    }
    if (found == NULL && a->opt->task != NULL) {
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no task '%.64s'", a->opt->task);
        if (names[0] != '\0') shoal_hint(err, "there are: %s", names);
        return SHOAL_ERR_NOT_FOUND;
    }
    if (found == NULL) return shoal_fail(err, SHOAL_ERR_AGAIN, "no task is running now");
    a->task = *found;
    return SHOAL_OK;
}

/* The policy that can be judged before any work is done. */
static shoal_status check_policy(const agent *a, uint32_t n_min, shoal_error *err)
{
    if (a->task.cohort_min >= n_min) return SHOAL_OK;
    shoal_fail(err, SHOAL_ERR_DENIED,
               "the task may sum as few as %u updates, this device asks for %u",
               (unsigned)a->task.cohort_min, (unsigned)n_min);
    shoal_hint(err,
               "only you can allow it: --min-cohort %u, or `shoal policy`; an update then hides "
               "among fewer others",
               (unsigned)a->task.cohort_min);
    return SHOAL_ERR_DENIED;
}

/* The owner's stored demands, and what this run was started with. */
static shoal_status load_policy(agent *a, shoal_error *err)
{
    SHOAL_TRY(shoal_policy_load(a->opt->store, &a->policy, err));
    if (a->opt->min_cohort != 0) a->policy.n_min = a->opt->min_cohort;
    shoal_policy_warn(a->policy.n_min);
    return check_policy(a, a->policy.n_min, err);
}

static shoal_status open_model(agent *a, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_engine_options eo = a->opt->engine;
    eo.max_ram = a->opt->max_ram; /* small pages, so that weights can be streamed */
    const char *name = eo.model != NULL ? eo.model : a->task.base_name;
    SHOAL_TRY(shoal_store_model_path(name, path, err));
    SHOAL_TRY(shoal_store_model_hash(a->opt->store, path, a->base_hash, err));
    if (!shoal_equal(a->base_hash, a->task.base_sha256, 32)) {
        shoal_fail(err, SHOAL_ERR_TAMPERED, "%s is not the base model of the task", path);
        shoal_hint(err, "the task is for %s: `shoal model fetch %s`", a->task.base_name,
                   a->task.base_name);
        return SHOAL_ERR_TAMPERED;
    }
    eo.model = path;
    return shoal_engine_open(&a->engine, &eo, err);
}

static shoal_release_source source_of(agent *a)
{
    return (shoal_release_source){.api = &a->api,
                                  .store = a->opt->store,
                                  .task_spki = a->me.task_spki,
                                  .base_hash = a->base_hash,
                                  .model = a->engine.model};
}

/* Makes a release the adapter held; an update made from another one is let go. */
static shoal_status adopt(agent *a, const shoal_adapter_release *release, shoal_error *err)
{
    shoal_adapter *fresh = NULL;
    shoal_release_source src = source_of(a);
    bool same = a->adapter != NULL && shoal_equal(a->record.adapter_sha256, release->sha256, 32);
    if (same) return SHOAL_OK;
    shoal_status st;
    while ((st = shoal_release_adopt(&src, &a->record, release, &fresh, err)) != SHOAL_OK) {
        SHOAL_TRY(be_patient(a, st, err));
    }
    server_is_back(a);
    shoal_adapter_close(a->adapter);
    a->adapter = fresh;
    a->trained = a->trained && shoal_equal(a->update.adapter_sha256, release->sha256, 32);
    if (!a->trained) {
        shoal_update_clear(&a->update);
        shoal_update_remove(&a->record, a->opt->store);
    }
    return SHOAL_OK;
}

/* ---- training ---------------------------------------------------------------------------------
 */

static shoal_status on_step(void *ctx, const shoal_train_step *s, shoal_error *err)
{
    const agent *a = ctx;
    (void)err;
    shoal_agent_event e = {.kind = SHOAL_AGENT_STEP,
                           .step = s->step,
                           .total_steps = s->total_steps,
                           .loss = s->loss,
                           .tokens = s->tokens,
                           .version = a->record.version,
                           .text = ""};
    tell(a, &e);
    return SHOAL_OK;
}

static shoal_status load_data(agent *a, uint32_t ctx, shoal_error *err)
{
    if (a->data_ctx == ctx) return SHOAL_OK;
    shoal_data_options o = {.max_tokens = ctx};
    shoal_dataset_clear(&a->data);
    a->data_ctx = 0;
    SHOAL_TRY(shoal_dataset_load(&a->data, a->opt->data_path, a->engine.model, &o, err));
    if (a->data.n == 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s holds no samples", a->opt->data_path);
    }
    a->data_ctx = ctx;
    a->record.samples = a->data.n;
    a->record.tokens = a->data.n_tokens;
    shoal_agent_event e = {.kind = SHOAL_AGENT_DATA,
                           .version = a->record.version,
                           .data = &a->data,
                           .ctx = ctx,
                           .text = ""};
    tell(a, &e);
    return SHOAL_OK;
}

static shoal_status train(agent *a, const shoal_checkin_response *rs, shoal_error *err)
{
    char checkpoint[SHOAL_PATH_MAX];
    SHOAL_TRY(afford(a, cost_of_training(a, &rs->release), err));
    SHOAL_TRY(adopt(a, &rs->release, err));
    SHOAL_TRY(load_data(a, rs->train.ctx, err));
    SHOAL_TRY(
        shoal_store_path(a->opt->store, checkpoint, err, "tasks/%s/checkpoint", a->record.dir));
    double begun = shoal_clock_s();
    shoal_local_job job = {.engine = &a->engine,
                           .data = &a->data,
                           .spec = &rs->train,
                           .start = a->adapter,
                           .release = &rs->release,
                           .number = a->record.inputs,
                           .checkpoint_path = checkpoint,
                           .max_ram = (size_t)a->opt->max_ram,
                           .max_ram_given = a->opt->max_ram_given,
                           .on_step = on_step,
                           .ctx = a,
                           .stop = a->opt->stop};
    shoal_update_clear(&a->update);
    SHOAL_TRY(shoal_local_train(&job, &a->update, err));
    SHOAL_TRY(shoal_update_save(&a->update, &a->record, a->opt->store, err));
    a->trained = true;
    SHOAL_TRY(shoal_task_record_save(&a->record, a->opt->store, err));
    shoal_agent_event e = {.kind = SHOAL_AGENT_TRAINED,
                           .version = a->update.version,
                           .loss = a->update.loss_last,
                           .tokens = a->update.tokens,
                           .seconds = shoal_clock_s() - begun,
                           .text = ""};
    tell(a, &e);
    return SHOAL_OK;
}

/* ---- a round ----------------------------------------------------------------------------------
 */

static shoal_status on_stage(void *ctx, const char *stage, uint64_t round, size_t cohort,
                             shoal_error *err)
{
    const agent *a = ctx;
    shoal_agent_event e = {
        .kind = SHOAL_AGENT_STAGE, .round = round, .cohort = cohort, .text = stage};
    bool stall = a->opt->stall_before != NULL && strcmp(a->opt->stall_before, stage) == 0;
    if (stall) e.kind = SHOAL_AGENT_STALLED;
    tell(a, &e);
    return stall ? shoal_pause_ms(UINT32_MAX, a->opt->stop, err) : SHOAL_OK;
}

/* What a failed round means for the loop: OK to go on. */
static shoal_status after_failure(agent *a, shoal_status st, shoal_error *err)
{
    if (st == SHOAL_ERR_CANCELLED || st == SHOAL_ERR_TAMPERED || st == SHOAL_ERR_DENIED ||
        st == SHOAL_ERR_NOMEM || st == SHOAL_ERR_FULL) {
        return st;
    }
    shoal_agent_event e = {.kind = SHOAL_AGENT_DROPPED,
                           .kept = a->trained,
                           .text = err != NULL ? err->msg : shoal_status_text(st)};
    tell(a, &e);
    return shoal_pause_ms(shoal_backoff_ms(a->away++, BACKOFF_MAX_MS), a->opt->stop, err);
}

/* The others' certificates in a roster may be of a CA that is newer than the last renewal. A server
 * that does not answer will not hold a round either; a CA that does not follow ends it here. */
static shoal_status refresh_ca(agent *a, shoal_error *err)
{
    shoal_status st = shoal_enrolment_refresh_ca(a->opt->store, &a->me, a->net, now_s(), err);
    return shoal_net_is_away(st) || st == SHOAL_ERR_AGAIN ? SHOAL_OK : st;
}

static shoal_status take_part(agent *a, const shoal_checkin_response *rs, bool *done,
                              shoal_error *err)
{
    shoal_round_result result;
    shoal_round_job job = {.api = &a->api,
                           .enrolment = &a->me,
                           .store = a->opt->store,
                           .record = &a->record,
                           .update = &a->update,
                           .exec = &a->engine.exec,
                           .policy = a->policy,
                           .descriptor = rs->descriptor,
                           .descriptor_n = rs->descriptor_n,
                           .now_s = now_s,
                           .on_stage = on_stage,
                           .ctx = a};
    memcpy(job.base_hash, a->base_hash, sizeof job.base_hash);
    SHOAL_TRY(afford_session(a, rs, err));
    shoal_budget_begin_round(&a->budget);
    shoal_status st = shoal_round_run(&job, &result, err);
    a->trained = a->trained && a->update.number == a->record.inputs;
    if (st == SHOAL_OK) st = adopt(a, &result.release, err);
    shoal_budget_end_round(&a->budget);
    if (st != SHOAL_OK) return after_failure(a, st, err);
    a->record.rounds_completed++;
    SHOAL_TRY(shoal_task_record_save(&a->record, a->opt->store, err));
    shoal_agent_event e = {.kind = SHOAL_AGENT_ROUND,
                           .round = result.round,
                           .version = result.release.version,
                           .cohort = result.cohort,
                           .survivors = result.survivors,
                           .peak_rss_bytes = shoal_peak_rss(),
                           .text = ""};
    tell(a, &e);
    *done = true;
    return SHOAL_OK;
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

/* The task's newest word: when it no longer runs, its last adapter is fetched and *over is set. */
static shoal_status look_at_task(agent *a, bool *over, shoal_error *err)
{
    SHOAL_TRY(get_tasks(a, err));
    const shoal_task_info *t = NULL;
    for (uint32_t i = 0; i < a->list.n && t == NULL; i++) {
        const shoal_task_info *one = &a->list.tasks[i];
        if (memcmp(one->task_id, a->record.task_id, SHOAL_SA_TASK_BYTES) == 0) t = one;
    }
    if (t != NULL && t->state == SHOAL_TASK_RUNNING) return SHOAL_OK;
    if (t != NULL) SHOAL_TRY(adopt(a, &t->release, err));
    bool finished = t != NULL && t->state == SHOAL_TASK_FINISHED;
    shoal_agent_event e = {.kind = SHOAL_AGENT_ENDED,
                           .version = a->record.version,
                           .text = finished ? "the task is finished" : "the task was stopped"};
    tell(a, &e);
    *over = true;
    return SHOAL_OK;
}

static shoal_status wait_as_told(agent *a, const shoal_checkin_response *rs, bool *over,
                                 shoal_error *err)
{
    SHOAL_TRY(look_at_task(a, over, err));
    if (*over) return SHOAL_OK;
    if (a->opt->once && !a->trained) {
        return shoal_fail(err, SHOAL_ERR_AGAIN, "the server has nothing to do now: %s", rs->reason);
    }
    uint64_t ms = rs->retry_after_ms < WAIT_MIN_MS ? WAIT_MIN_MS : rs->retry_after_ms;
    ms = ms / 2 + shoal_backoff_ms(0, ms) / 2 + 1; /* spread devices that were told the same */
    shoal_agent_event e = {.kind = SHOAL_AGENT_WAIT, .retry_after_ms = ms, .text = rs->reason};
    tell(a, &e);
    return shoal_pause_ms(ms, a->opt->stop, err);
}

/* One check-in and what it leads to. Spec 4.3: only an update made from the very adapter of the
 * session takes part in it. */
static shoal_status turn(agent *a, bool *over, shoal_error *err)
{
    const shoal_checkin_response *rs = &a->answer;
    bool round_done = false;
    SHOAL_TRY(renew_if_due(a, err));
    SHOAL_TRY(check_in(a, err));
    if (rs->kind == SHOAL_CHECKIN_WAIT) return wait_as_told(a, rs, over, err);
    bool ready = a->trained && shoal_equal(a->update.adapter_sha256, rs->release.sha256, 32);
    if (rs->kind == SHOAL_CHECKIN_TRAIN || !ready) {
        a->trained = false;
        return train(a, rs, err);
    }
    SHOAL_TRY(adopt(a, &rs->release, err));
    SHOAL_TRY(refresh_ca(a, err));
    SHOAL_TRY(take_part(a, rs, &round_done, err));
    *over = round_done && a->opt->once;
    return SHOAL_OK;
}

/* Everything before the first check-in. */
static shoal_status prepare(agent *a, shoal_error *err)
{
    SHOAL_TRY(shoal_enrolment_load(a->opt->store, &a->me, err));
    SHOAL_TRY(open_budget(a, err));
    SHOAL_TRY(connect(a, err));
    SHOAL_TRY(get_tasks(a, err));
    SHOAL_TRY(choose_task(a, &a->list, err));
    SHOAL_TRY(load_policy(a, err));
    SHOAL_TRY(open_model(a, err));
    SHOAL_TRY(
        shoal_task_record_open(&a->record, a->opt->store, a->task.name, a->task.task_id, err));
    a->record.cohort_min = a->policy.n_min;
    SHOAL_TRY(shoal_task_record_save(&a->record, a->opt->store, err));
    a->trained = shoal_update_load(&a->update, &a->record, a->opt->store, NULL) == SHOAL_OK &&
                 a->update.number == a->record.inputs;
    shoal_agent_event e = {
        .kind = SHOAL_AGENT_TASK, .version = a->record.version, .text = a->record.name};
    tell(a, &e);
    return SHOAL_OK;
}

static void clear(agent *a)
{
    (void)shoal_budget_close(&a->budget, NULL);
    shoal_update_clear(&a->update);
    shoal_dataset_clear(&a->data);
    shoal_adapter_close(a->adapter);
    shoal_engine_close(&a->engine);
    shoal_net_close(a->net);
    shoal_enrolment_clear(&a->me);
}

shoal_status shoal_agent_run(const shoal_agent_options *opt, shoal_error *err)
{
    agent *a = shoal_calloc(1, sizeof *a);
    if (a == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    a->opt = opt;
    bool over = false;
    shoal_status st = prepare(a, err);
    while (st == SHOAL_OK && !over)
        st = turn(a, &over, err);
    if (st == SHOAL_ERR_CANCELLED) {
        shoal_fail(err, st, "stopped; %s",
                   a->trained ? "the finished update is kept" : "nothing that was sent is lost");
        shoal_hint(err, "the same command goes on from here");
    }
    clear(a);
    shoal_free(a);
    return st;
}
