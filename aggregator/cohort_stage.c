/* cohort_stage.c - how the stages of a session follow each other, and how it ends. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/audit.h"
#include "aggregator/cohort_internal.h"
#include "aggregator/publish.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { SOON_MS = 20 };

/* A job that closes a stage; after the last one it also makes the new version. */
typedef struct advance_job {
    shoal_cohort *cohort;
    shoal_sa_stage stage; /* to close: a deadline that comes too late must not close the next one */
    bool deadline;
    shoal_db_stage closed;
    shoal_status st;
    shoal_error err;
    shoal_publication pub;
} advance_job;

static const char *short_id(const shoal_cohort *c, char out[17])
{
    shoal_hex_encode(c->rec.session_id, 8, out);
    return out;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void snapshot_members(shoal_cohort *c)
{
    size_t n = shoal_sa_server_counts(c->sa).roster;
    c->n_members = 0;
    c->members = shoal_calloc(n + 1, sizeof *c->members);
    if (c->members == NULL) {
        shoal_log(SHOAL_LOG_WARN, "round", "no memory to record who took part");
        return;
    }
    while (c->n_members < n &&
           shoal_sa_server_member(c->sa, c->n_members, &c->members[c->n_members])) {
        c->n_members++;
    }
}

static void fill_result(shoal_cohort *c, const shoal_adapter_release *made)
{
    shoal_round_result *r = &c->result;
    *r = (shoal_round_result){.round = c->rec.round,
                              .cohort = c->rec.roster,
                              .survivors = c->rec.survivors,
                              .weight_sum = c->rec.weight_sum,
                              .release = *made};
    memcpy(r->session_id, c->rec.session_id, sizeof r->session_id);
    memcpy(r->roster_hash, c->rec.roster_hash, sizeof r->roster_hash);
}

static void log_end(const shoal_cohort *c)
{
    char id[17];
    if (c->rec.state == SHOAL_ROUND_DONE) {
        shoal_log(SHOAL_LOG_INFO, "round",
                  "done task=%s round=%llu session=%s devices=%u version=%llu norm=%.4g",
                  c->task.name, (unsigned long long)c->rec.round, short_id(c, id), c->rec.survivors,
                  (unsigned long long)c->rec.to_version, c->rec.update_norm);
    } else {
        shoal_log(SHOAL_LOG_WARN, "round",
                  "%s task=%s round=%llu session=%s stage=%s reason=\"%s\"",
                  c->rec.state == SHOAL_ROUND_FAILED ? "failed" : "abandoned", c->task.name,
                  (unsigned long long)c->rec.round, short_id(c, id),
                  shoal_sa_stage_name(c->rec.stage), c->rec.reason);
    }
}

/* A version counts only when the database says so: when that cannot be written, the round did not
 * happen, and a second record tries to say why. */
static shoal_status record_end(shoal_cohort *c, const shoal_adapter_release *made)
{
    shoal_error err = {0};
    shoal_status st =
        shoal_db_round_close(c->env->db, &c->rec, c->members, c->n_members, made, &err);
    if (st == SHOAL_OK) {
        return SHOAL_OK;
    }
    shoal_log(SHOAL_LOG_ERROR, "round", "not recorded task=%s round=%llu: %s", c->task.name,
              (unsigned long long)c->rec.round, err.msg);
    if (c->rec.state == SHOAL_ROUND_DONE) {
        c->rec.state = SHOAL_ROUND_FAILED;
        c->rec.to_version = 0;
        (void)snprintf(c->rec.reason, sizeof c->rec.reason,
                       "the result could not be recorded: %.250s", err.msg);
        if (shoal_db_round_close(c->env->db, &c->rec, c->members, c->n_members, NULL, &err) !=
            SHOAL_OK) {
            shoal_log(SHOAL_LOG_ERROR, "round", "nor why: %s", err.msg); /* abandoned at restart */
        }
    }
    return st;
}

/* What the round came to, for `audit verify`. The version is in the database by now, so a log that
 * cannot be written is said, and takes nothing back. */
static void audit_end(const shoal_cohort *c, const shoal_adapter_release *made)
{
    static const char *const WORDS[] = {"", "open", "done", "failed", "abandoned"};
    char path[SHOAL_DIR_PATH];
    shoal_error err = {0};
    const shoal_audit_field fields[] = {
        {.name = "task", .hex = c->rec.task_id, .hex_n = sizeof c->rec.task_id},
        {.name = "round", .number = c->rec.round},
        {.name = "session", .hex = c->rec.session_id, .hex_n = sizeof c->rec.session_id},
        {.name = "state", .text = WORDS[c->rec.state]},
        {.name = "roster", .hex = c->rec.roster_hash, .hex_n = sizeof c->rec.roster_hash},
        {.name = "devices", .number = c->rec.survivors},
        {.name = "version", .number = c->rec.to_version},
        {.name = made != NULL ? "adapter" : NULL,
         .hex = made != NULL ? made->sha256 : NULL,
         .hex_n = 32},
        {0}};
    shoal_status st = shoal_dir_path(c->env->dir, "audit.log", path, &err);
    if (st == SHOAL_OK) {
        st = shoal_audit_append(path, c->rec.closed_s, "round.ended", fields, &err);
    }
    if (st != SHOAL_OK) {
        shoal_log(SHOAL_LOG_ERROR, "audit", "a round is not in the log: %s", err.msg);
    }
}

void cohort_end(shoal_cohort *c, shoal_round_state state, const char *reason,
                const shoal_adapter_release *made)
{
    shoal_sa_counts n = shoal_sa_server_counts(c->sa);
    shoal_timer_stop(c->deadline);
    snapshot_members(c);
    c->rec.state = state;
    c->rec.closed_s = (int64_t)time(NULL);
    c->rec.roster = (uint32_t)n.roster;
    c->rec.threshold = (uint32_t)n.threshold;
    c->rec.liars = (uint32_t)n.liars;
    shoal_sa_server_roster_hash(c->sa, c->rec.roster_hash);
    (void)snprintf(c->rec.reason, sizeof c->rec.reason, "%s", reason);
    if (made != NULL) {
        c->rec.to_version = made->version;
    }
    if (record_end(c, made) == SHOAL_OK && made != NULL) {
        fill_result(c, made);
    }
    audit_end(c, made);
    log_end(c);
}

/* ---- closing a stage --------------------------------------------------------------------------
 */

static void publish(advance_job *j)
{
    shoal_cohort *c = j->cohort;
    j->pub = (shoal_publication){.dir = c->env->dir,
                                 .task_key = c->env->keys->task_key,
                                 .task = &c->task,
                                 .from = &c->from,
                                 .round = c->rec.round,
                                 .ex = c->env->exec,
                                 .ctx = shoal_sa_server_context(c->sa),
                                 .sum = shoal_sa_server_sum(c->sa)};
    j->st = shoal_publish(&j->pub, &j->err);
}

static void advance_work(void *ctx)
{
    advance_job *j = ctx;
    shoal_cohort *c = j->cohort;
    j->st = SHOAL_ERR_AGAIN;
    if (shoal_sa_server_stage(c->sa) != j->stage) {
        return;
    }
    shoal_sa_counts n = shoal_sa_server_counts(c->sa);
    j->closed = (shoal_db_stage){.stage = j->stage,
                                 .answered = (uint32_t)n.answered,
                                 .expected = (uint32_t)n.expected,
                                 .deadline = n.answered < n.expected};
    j->st = shoal_sa_server_advance(c->sa, j->deadline, &j->err);
    if (j->stage == SHOAL_SA_INPUT && j->st != SHOAL_ERR_AGAIN) {
        shoal_uploads_forget_unfinished(c->uploads);
    }
    if (j->st == SHOAL_OK && shoal_sa_server_stage(c->sa) == SHOAL_SA_DONE) {
        publish(j);
    }
}

static void record_stage(shoal_cohort *c, advance_job *j)
{
    shoal_error err = {0};
    j->closed.took_ms = shoal_loop_now_ms(c->env->loop) - c->stage_began_ms;
    if (shoal_db_round_stage(c->env->db, &c->rec, &j->closed, &err) != SHOAL_OK) {
        shoal_log(SHOAL_LOG_WARN, "round", "stage not recorded round=%llu: %s",
                  (unsigned long long)c->rec.round, err.msg);
    }
    shoal_log(SHOAL_LOG_DEBUG, "round", "closed task=%s round=%llu stage=%s answered=%u of=%u",
              c->task.name, (unsigned long long)c->rec.round, shoal_sa_stage_name(j->stage),
              j->closed.answered, j->closed.expected);
}

static void stage_failed(shoal_cohort *c, const advance_job *j)
{
    bool published = shoal_sa_server_stage(c->sa) == SHOAL_SA_DONE;
    char reason[SHOAL_DB_REASON];
    if (published) {
        (void)snprintf(reason, sizeof reason, "the new version could not be made: %.250s",
                       j->err.msg);
    } else {
        (void)snprintf(reason, sizeof reason, "%.300s", j->err.msg);
    }
    c->rec.stage = j->stage;
    cohort_end(c, SHOAL_ROUND_FAILED, reason, NULL);
}

static void stage_closed(shoal_cohort *c, advance_job *j)
{
    shoal_sa_counts n = shoal_sa_server_counts(c->sa);
    c->rec.survivors = (uint32_t)n.survivors;
    c->rec.stage = shoal_sa_server_stage(c->sa);
    record_stage(c, j);
    if (c->rec.stage == SHOAL_SA_DONE) {
        c->rec.weight_sum = j->pub.weight_sum;
        c->rec.update_norm = j->pub.update_norm;
        cohort_end(c, SHOAL_ROUND_DONE, "", &j->pub.made);
    } else {
        cohort_begin_stage(c);
    }
}

static void advance_done(void *ctx)
{
    advance_job *j = ctx;
    shoal_cohort *c = j->cohort;
    c->advancing = false;
    if (!cohort_over(c) && j->st == SHOAL_OK) {
        stage_closed(c, j);
    } else if (!cohort_over(c) && j->st != SHOAL_ERR_AGAIN) {
        record_stage(c, j);
        stage_failed(c, j);
    } else {
        cohort_maybe_advance(c); /* its time may have come meanwhile */
    }
    shoal_free(j);
    cohort_job_done(c);
}

/* Who was revoked since it advertised is not in the roster. A database that cannot say so stops
 * nobody: the device's next request is checked again. */
static void expel_revoked(shoal_cohort *c)
{
    shoal_sa_member m;
    for (size_t i = 0; shoal_sa_server_member(c->sa, i, &m);) {
        bool revoked = false;
        if (shoal_db_device_revoked(c->env->db, m.id, &revoked, NULL) == SHOAL_OK && revoked &&
            shoal_sa_server_expel(c->sa, m.id, NULL) == SHOAL_OK) {
            shoal_log(SHOAL_LOG_WARN, "round", "a revoked device is left out round=%llu",
                      (unsigned long long)c->rec.round);
        } else {
            i++;
        }
    }
}

static void push_advance(shoal_cohort *c, bool deadline)
{
    if (c->rec.stage == SHOAL_SA_ADVERTISE && deadline && shoal_lane_busy(c->env->lane, c)) {
        c->due = true; /* its members are being changed; the job's end closes it */
        return;
    }
    c->due = false;
    if (c->rec.stage == SHOAL_SA_ADVERTISE) {
        expel_revoked(c);
    }
    advance_job *j = shoal_calloc(1, sizeof *j);
    shoal_error err = {0};
    if (j != NULL) {
        *j = (advance_job){.cohort = c, .stage = c->rec.stage, .deadline = deadline};
        c->jobs++; /* first: where there is no thread the lane does the job at once */
        c->advancing = true;
        if (shoal_lane_push(c->env->lane, c, advance_work, advance_done, j, &err) == SHOAL_OK) {
            return;
        }
        c->jobs--;
        c->advancing = false;
    }
    shoal_free(j);
    shoal_log(SHOAL_LOG_ERROR, "round", "no memory to close a stage round=%llu",
              (unsigned long long)c->rec.round);
    shoal_timer_start(c->deadline, 1000, 0); /* try again */
}

static void deadline_passed(void *ctx)
{
    shoal_cohort *c = ctx;
    if (!cohort_over(c)) {
        push_advance(c, true);
    }
}

void cohort_begin_stage(shoal_cohort *c)
{
    if (c->deadline == NULL &&
        shoal_timer_open(&c->deadline, c->env->loop, deadline_passed, c, NULL) != SHOAL_OK) {
        cohort_end(c, SHOAL_ROUND_FAILED, "out of memory", NULL);
        return;
    }
    c->due = false;
    c->stage_began_ms = shoal_loop_now_ms(c->env->loop);
    shoal_timer_start(c->deadline, c->task.deadline_ms[c->rec.stage], 0);
}

void cohort_maybe_advance(shoal_cohort *c)
{
    if (cohort_over(c) || c->advancing) {
        return;
    }
    if (c->due) {
        push_advance(c, true);
    } else if (shoal_sa_server_ready(c->sa)) {
        push_advance(c, false);
    }
}
