/* store_round.c - rounds: who took part, what became of them. */
#include <string.h>

#include <sqlite3.h>

#include "aggregator/store_sql.h"

enum { TASK = SHOAL_SA_TASK_BYTES };

#define ROUND_COLUMNS                                                                   \
    "task, round, session, state, stage, from_version, to_version, opened_s, closed_s," \
    " roster, survivors, threshold, liars, weight_sum, update_norm, roster_hash, reason"

static shoal_status take_number(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    (void)err;
    *(uint64_t *)ctx = (uint64_t)sql_int(s, 0);
    return SHOAL_OK;
}

static shoal_status open_round(shoal_db *db, shoal_db_round *r, shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "UPDATE task SET last_round = last_round + 1 WHERE id = ?"
                          " RETURNING last_round",
                          "b", r->task_id, (size_t)TASK));
    SHOAL_TRY(sql_one(db, s, take_number, &r->round, "there is no such task", err));
    return sql_run(db, NULL, err,
                   "INSERT INTO round(task, round, session, state, stage, from_version, opened_s,"
                   " roster_hash) VALUES(?, ?, ?, 1, 0, ?, ?, zeroblob(32))",
                   "bubui", r->task_id, (size_t)TASK, r->round, r->session_id, sizeof r->session_id,
                   r->from_version, r->opened_s);
}

shoal_status shoal_db_round_open(shoal_db *db, shoal_db_round *r, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, open_round(db, r, err), err);
}

static shoal_status add_stage(shoal_db *db, const shoal_db_round *r, const shoal_db_stage *g,
                              shoal_error *err)
{
    SHOAL_TRY(sql_run(db, NULL, err,
                      "INSERT OR REPLACE INTO stage(task, round, stage, answered, expected,"
                      " took_ms, deadline) VALUES(?, ?, ?, ?, ?, ?, ?)",
                      "buiiiui", r->task_id, (size_t)TASK, r->round, (int64_t)g->stage,
                      (int64_t)g->answered, (int64_t)g->expected, g->took_ms,
                      (int64_t)g->deadline));
    return sql_run(db, NULL, err, "UPDATE round SET stage = ? WHERE task = ? AND round = ?", "ibu",
                   (int64_t)r->stage, r->task_id, (size_t)TASK, r->round);
}

shoal_status shoal_db_round_stage(shoal_db *db, const shoal_db_round *r, const shoal_db_stage *g,
                                  shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, add_stage(db, r, g, err), err);
}

static shoal_status update_round(shoal_db *db, const shoal_db_round *r, shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "UPDATE round SET state = ?, stage = ?, to_version = ?, closed_s = ?,"
                      " roster = ?, survivors = ?, threshold = ?, liars = ?, weight_sum = ?,"
                      " update_norm = ?, roster_hash = ?, reason = ?"
                      " WHERE task = ? AND round = ? AND state = 1",
                      "iiuiiiiiudbtbu", (int64_t)r->state, (int64_t)r->stage, r->to_version,
                      r->closed_s, (int64_t)r->roster, (int64_t)r->survivors, (int64_t)r->threshold,
                      (int64_t)r->liars, r->weight_sum, r->update_norm, r->roster_hash,
                      sizeof r->roster_hash, r->reason, r->task_id, (size_t)TASK, r->round));
    return changed == 1 ? SHOAL_OK
                        : shoal_fail(err, SHOAL_ERR_STATE, "round %llu is not open",
                                     (unsigned long long)r->round);
}

static shoal_status insert_member(shoal_db *db, const shoal_db_round *r, const shoal_sa_member *m,
                                  shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO member(task, round, device, shared, uploaded, signed, unmasked,"
                   " lied) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                   "bubiiiii", r->task_id, (size_t)TASK, r->round, m->id, sizeof m->id,
                   (int64_t)m->shared, (int64_t)m->uploaded, (int64_t)m->signed_set,
                   (int64_t)m->unmasked, (int64_t)m->lied);
}

/* The new version must follow the one the round started from: versions never fork. */
static shoal_status advance_task(shoal_db *db, const shoal_db_round *r,
                                 const shoal_adapter_release *made, shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "UPDATE task SET version = ?, rounds_done = rounds_done + 1,"
                      " state = CASE WHEN state = 1 AND rounds_total > 0"
                      "  AND rounds_done + 1 >= rounds_total THEN 3 ELSE state END"
                      " WHERE id = ? AND version = ?",
                      "ubu", made->version, r->task_id, (size_t)TASK, r->from_version));
    if (changed != 1) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the task has moved on from version %llu meanwhile",
                          (unsigned long long)r->from_version);
    }
    return sql_insert_release(db, made, r->closed_s, err);
}

static shoal_status close_round(shoal_db *db, const shoal_db_round *r,
                                const shoal_sa_member *members, size_t n,
                                const shoal_adapter_release *made, shoal_error *err)
{
    SHOAL_TRY(update_round(db, r, err));
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(insert_member(db, r, &members[i], err));
    }
    return made != NULL ? advance_task(db, r, made, err) : SHOAL_OK;
}

shoal_status shoal_db_round_close(shoal_db *db, const shoal_db_round *r,
                                  const shoal_sa_member *members, size_t n_members,
                                  const shoal_adapter_release *made, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, close_round(db, r, members, n_members, made, err), err);
}

shoal_status shoal_db_rounds_abandon(shoal_db *db, const char *reason, int64_t now_s, size_t *n,
                                     shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "UPDATE round SET state = 4, closed_s = ?, reason = ? WHERE state = 1", "it",
                      now_s, reason));
    *n = (size_t)changed;
    return SHOAL_OK;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static shoal_status read_round(sqlite3_stmt *s, shoal_db_round *r, shoal_error *err)
{
    *r = (shoal_db_round){.round = (uint64_t)sql_int(s, 1),
                          .state = (shoal_round_state)sql_int(s, 3),
                          .stage = (shoal_sa_stage)sql_int(s, 4),
                          .from_version = (uint64_t)sql_int(s, 5),
                          .to_version = (uint64_t)sql_int(s, 6),
                          .opened_s = sql_int(s, 7),
                          .closed_s = sql_int(s, 8),
                          .roster = (uint32_t)sql_int(s, 9),
                          .survivors = (uint32_t)sql_int(s, 10),
                          .threshold = (uint32_t)sql_int(s, 11),
                          .liars = (uint32_t)sql_int(s, 12),
                          .weight_sum = (uint64_t)sql_int(s, 13),
                          .update_norm = sql_double(s, 14)};
    sql_text(s, 16, r->reason, sizeof r->reason);
    bool ok = sql_blob(s, 0, r->task_id, sizeof r->task_id) &&
              sql_blob(s, 2, r->session_id, sizeof r->session_id) &&
              sql_blob(s, 15, r->roster_hash, sizeof r->roster_hash);
    return ok ? SHOAL_OK : sql_damaged(err);
}

static shoal_status take_one_round(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    return read_round(s, ctx, err);
}

shoal_status shoal_db_round_get(shoal_db *db, const uint8_t task_id[TASK], uint64_t round,
                                shoal_db_round *out, shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT " ROUND_COLUMNS " FROM round WHERE task = ? AND round = ?", "bu",
                          task_id, (size_t)TASK, round));
    shoal_status st = sql_one(db, s, take_one_round, out, "there is no such round", err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        shoal_hint(err, "`shoal-aggregator round list` shows the rounds");
    }
    return st;
}

shoal_status shoal_db_round_by_session(shoal_db *db,
                                       const uint8_t session_id[SHOAL_SA_SESSION_BYTES],
                                       shoal_db_round *out, shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT " ROUND_COLUMNS " FROM round WHERE session = ?", "b",
                          session_id, (size_t)SHOAL_SA_SESSION_BYTES));
    return sql_one(db, s, take_one_round, out, "there is no such session", err);
}

typedef struct round_each {
    void (*each)(void *ctx, const shoal_db_round *r);
    void *ctx;
} round_each;

static shoal_status take_round(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const round_each *e = ctx;
    shoal_db_round r;
    SHOAL_TRY(read_round(s, &r, err));
    e->each(e->ctx, &r);
    return SHOAL_OK;
}

shoal_status shoal_db_rounds(shoal_db *db, const uint8_t task_id[TASK],
                             void (*each)(void *ctx, const shoal_db_round *r), void *ctx,
                             shoal_error *err)
{
    sqlite3_stmt *s;
    round_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT " ROUND_COLUMNS " FROM round WHERE task = ? ORDER BY round", "b",
                          task_id, (size_t)TASK));
    return sql_each(db, s, take_round, &e, err);
}

typedef struct stage_each {
    void (*each)(void *ctx, const shoal_db_stage *g);
    void *ctx;
} stage_each;

static shoal_status take_stage(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    (void)err;
    const stage_each *e = ctx;
    shoal_db_stage g = {.stage = (shoal_sa_stage)sql_int(s, 0),
                        .answered = (uint32_t)sql_int(s, 1),
                        .expected = (uint32_t)sql_int(s, 2),
                        .took_ms = (uint64_t)sql_int(s, 3),
                        .deadline = sql_int(s, 4) != 0};
    e->each(e->ctx, &g);
    return SHOAL_OK;
}

shoal_status shoal_db_round_stages(shoal_db *db, const shoal_db_round *r,
                                   void (*each)(void *ctx, const shoal_db_stage *g), void *ctx,
                                   shoal_error *err)
{
    sqlite3_stmt *s;
    stage_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT stage, answered, expected, took_ms, deadline FROM stage"
                          " WHERE task = ? AND round = ? ORDER BY stage",
                          "bu", r->task_id, (size_t)TASK, r->round));
    return sql_each(db, s, take_stage, &e, err);
}

typedef struct member_each {
    void (*each)(void *ctx, const shoal_sa_member *m);
    void *ctx;
} member_each;

static shoal_status take_member(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const member_each *e = ctx;
    shoal_sa_member m = {.shared = sql_int(s, 1) != 0,
                         .uploaded = sql_int(s, 2) != 0,
                         .signed_set = sql_int(s, 3) != 0,
                         .unmasked = sql_int(s, 4) != 0,
                         .lied = sql_int(s, 5) != 0};
    if (!sql_blob(s, 0, m.id, sizeof m.id)) {
        return sql_damaged(err);
    }
    e->each(e->ctx, &m);
    return SHOAL_OK;
}

shoal_status shoal_db_round_members(shoal_db *db, const shoal_db_round *r,
                                    void (*each)(void *ctx, const shoal_sa_member *m), void *ctx,
                                    shoal_error *err)
{
    sqlite3_stmt *s;
    member_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT device, shared, uploaded, signed, unmasked, lied FROM member"
                          " WHERE task = ? AND round = ? ORDER BY device",
                          "bu", r->task_id, (size_t)TASK, r->round));
    return sql_each(db, s, take_member, &e, err);
}
