/* store_task.c - tasks and the adapter versions they made. */
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "aggregator/store_sql.h"

#define TASK_COLUMNS                                                                             \
    "id, name, state, model_path, base_name, base_sha256, lora_rank, alpha, targets, lr,"        \
    " local_epochs, local_steps, batch, ctx, dim, ring_bits, scale_log2, clip_norm, weight_max," \
    " n_max, rotation, n_min, n_target, deadline0, deadline1, deadline2, deadline3, deadline4,"  \
    " deadline5, degree, threshold, committee, rounds_done, rounds_total, last_round, version,"  \
    " created_s"

static shoal_status insert_task(shoal_db *db, const shoal_db_task *t, shoal_error *err)
{
    const shoal_train_spec *tr = &t->train;
    const shoal_codec *c = &t->codec;
    return sql_run(
        db, NULL, err,
        "INSERT INTO task(" TASK_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
        " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "btittbididiiiiiiidiiiiiiiiiiiiiiuuuui", t->id, sizeof t->id, t->name, (int64_t)t->state,
        t->model_path, tr->base_name, t->base_sha256, sizeof t->base_sha256, (int64_t)tr->rank,
        (double)tr->alpha, (int64_t)tr->targets, (double)tr->lr, (int64_t)tr->local_epochs,
        (int64_t)tr->local_steps, (int64_t)tr->batch, (int64_t)tr->ctx, (int64_t)c->dim,
        (int64_t)c->ring_bits, (int64_t)c->scale_log2, c->clip_norm, (int64_t)c->weight_max,
        (int64_t)c->n_max, (int64_t)c->rotation, (int64_t)t->n_min, (int64_t)t->n_target,
        (int64_t)t->deadline_ms[0], (int64_t)t->deadline_ms[1], (int64_t)t->deadline_ms[2],
        (int64_t)t->deadline_ms[3], (int64_t)t->deadline_ms[4], (int64_t)t->deadline_ms[5],
        (int64_t)t->degree, (int64_t)t->threshold, (int64_t)t->committee, t->rounds_done,
        t->rounds_total, t->last_round, t->version, t->created_s);
}

shoal_status sql_insert_release(shoal_db *db, const shoal_adapter_release *r, int64_t now_s,
                                shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO adapter(task, version, round, sha256, size, base_sha256,"
                   " previous_sha256, signature, created_s) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   "buububbbi", r->task_id, sizeof r->task_id, r->version, r->round, r->sha256,
                   sizeof r->sha256, r->size, r->base_sha256, sizeof r->base_sha256,
                   r->previous_sha256, sizeof r->previous_sha256, r->signature, sizeof r->signature,
                   now_s);
}

static shoal_status refuse_name(shoal_db *db, const char *name, shoal_error *err)
{
    shoal_db_task other;
    shoal_status st = shoal_db_task_by_name(db, name, &other, err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        return SHOAL_OK;
    }
    SHOAL_TRY(st);
    st = shoal_fail(err, SHOAL_ERR_DENIED, "there is a task called %s already", name);
    shoal_hint(err, "choose another --name; `shoal-aggregator task list` shows them");
    return st;
}

static shoal_status add_task(shoal_db *db, const shoal_db_task *t,
                             const shoal_adapter_release *first, shoal_error *err)
{
    SHOAL_TRY(refuse_name(db, t->name, err));
    SHOAL_TRY(insert_task(db, t, err));
    return sql_insert_release(db, first, t->created_s, err);
}

shoal_status shoal_db_task_add(shoal_db *db, const shoal_db_task *t,
                               const shoal_adapter_release *first, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, add_task(db, t, first, err), err);
}

static uint32_t u32(sqlite3_stmt *s, int col)
{
    return (uint32_t)sql_int(s, col);
}

static shoal_status read_task(sqlite3_stmt *s, shoal_db_task *t, shoal_error *err)
{
    *t = (shoal_db_task){
        .state = (shoal_task_state)sql_int(s, 2),
        .train = {.rank = u32(s, 6),
                  .alpha = (float)sql_double(s, 7),
                  .targets = u32(s, 8),
                  .lr = (float)sql_double(s, 9),
                  .local_epochs = u32(s, 10),
                  .local_steps = u32(s, 11),
                  .batch = u32(s, 12),
                  .ctx = u32(s, 13)},
        .codec = {.dim = u32(s, 14),
                  .ring_bits = u32(s, 15),
                  .scale_log2 = (int32_t)sql_int(s, 16),
                  .clip_norm = sql_double(s, 17),
                  .weight_max = u32(s, 18),
                  .n_max = u32(s, 19),
                  .rotation = u32(s, 20)},
        .n_min = u32(s, 21),
        .n_target = u32(s, 22),
        .degree = u32(s, 29),
        .threshold = u32(s, 30),
        .committee = u32(s, 31),
        .rounds_done = (uint64_t)sql_int(s, 32),
        .rounds_total = (uint64_t)sql_int(s, 33),
        .last_round = (uint64_t)sql_int(s, 34),
        .version = (uint64_t)sql_int(s, 35),
        .created_s = sql_int(s, 36),
    };
    for (int i = 0; i < SHOAL_SA_STAGES; i++) {
        t->deadline_ms[i] = u32(s, 23 + i);
    }
    sql_text(s, 1, t->name, sizeof t->name);
    sql_text(s, 3, t->model_path, sizeof t->model_path);
    sql_text(s, 4, t->train.base_name, sizeof t->train.base_name);
    bool ok = sql_blob(s, 0, t->id, sizeof t->id) &&
              sql_blob(s, 5, t->base_sha256, sizeof t->base_sha256);
    return ok ? SHOAL_OK : sql_damaged(err);
}

static shoal_status take_one_task(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    return read_task(s, ctx, err);
}

shoal_status shoal_db_task_by_name(shoal_db *db, const char *name, shoal_db_task *out,
                                   shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(
        sql_prepare(db, &s, err, "SELECT " TASK_COLUMNS " FROM task WHERE name = ?", "t", name));
    char missing[128];
    (void)snprintf(missing, sizeof missing, "there is no task called %s", name);
    shoal_status st = sql_one(db, s, take_one_task, out, missing, err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        shoal_hint(err, "`shoal-aggregator task list` shows the tasks");
    }
    return st;
}

shoal_status shoal_db_task_by_id(shoal_db *db, const uint8_t id[SHOAL_SA_TASK_BYTES],
                                 shoal_db_task *out, shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT " TASK_COLUMNS " FROM task WHERE id = ?", "b", id,
                          (size_t)SHOAL_SA_TASK_BYTES));
    return sql_one(db, s, take_one_task, out, "there is no such task", err);
}

shoal_status shoal_db_task_set_state(shoal_db *db, const uint8_t id[SHOAL_SA_TASK_BYTES],
                                     shoal_task_state state, shoal_error *err)
{
    return sql_run(db, NULL, err, "UPDATE task SET state = ? WHERE id = ?", "ib", (int64_t)state,
                   id, (size_t)SHOAL_SA_TASK_BYTES);
}

typedef struct task_each {
    void (*each)(void *ctx, const shoal_db_task *t);
    void *ctx;
} task_each;

static shoal_status take_task(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const task_each *e = ctx;
    shoal_db_task t;
    SHOAL_TRY(read_task(s, &t, err));
    e->each(e->ctx, &t);
    return SHOAL_OK;
}

shoal_status shoal_db_tasks(shoal_db *db, void (*each)(void *ctx, const shoal_db_task *t),
                            void *ctx, shoal_error *err)
{
    sqlite3_stmt *s;
    task_each e = {each, ctx};
    SHOAL_TRY(
        sql_prepare(db, &s, err, "SELECT " TASK_COLUMNS " FROM task ORDER BY created_s, name", ""));
    return sql_each(db, s, take_task, &e, err);
}

/* ---- versions ---------------------------------------------------------------------------------
 */

#define RELEASE_COLUMNS \
    "task, version, round, sha256, size, base_sha256, previous_sha256, signature, created_s"

static shoal_status read_release(sqlite3_stmt *s, shoal_db_release *out, shoal_error *err)
{
    shoal_adapter_release *r = &out->r;
    r->version = (uint64_t)sql_int(s, 1);
    r->round = (uint64_t)sql_int(s, 2);
    r->size = (uint64_t)sql_int(s, 4);
    out->created_s = sql_int(s, 8);
    bool ok = sql_blob(s, 0, r->task_id, sizeof r->task_id) &&
              sql_blob(s, 3, r->sha256, sizeof r->sha256) &&
              sql_blob(s, 5, r->base_sha256, sizeof r->base_sha256) &&
              sql_blob(s, 6, r->previous_sha256, sizeof r->previous_sha256) &&
              sql_blob(s, 7, r->signature, sizeof r->signature);
    return ok ? SHOAL_OK : sql_damaged(err);
}

static shoal_status take_one_release(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    return read_release(s, ctx, err);
}

shoal_status shoal_db_release_get(shoal_db *db, const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                                  uint64_t version, shoal_db_release *out, shoal_error *err)
{
    sqlite3_stmt *s;
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT " RELEASE_COLUMNS " FROM adapter WHERE task = ? AND version = ?",
                          "bu", task_id, (size_t)SHOAL_SA_TASK_BYTES, version));
    return sql_one(db, s, take_one_release, out, "there is no such adapter version", err);
}

typedef struct release_each {
    void (*each)(void *ctx, const shoal_db_release *r);
    void *ctx;
} release_each;

static shoal_status take_release(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const release_each *e = ctx;
    shoal_db_release r;
    SHOAL_TRY(read_release(s, &r, err));
    e->each(e->ctx, &r);
    return SHOAL_OK;
}

shoal_status shoal_db_releases(shoal_db *db, const uint8_t task_id[SHOAL_SA_TASK_BYTES],
                               void (*each)(void *ctx, const shoal_db_release *r), void *ctx,
                               shoal_error *err)
{
    sqlite3_stmt *s;
    release_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT " RELEASE_COLUMNS " FROM adapter WHERE task = ? ORDER BY version",
                          "b", task_id, (size_t)SHOAL_SA_TASK_BYTES));
    return sql_each(db, s, take_release, &e, err);
}

shoal_status shoal_db_blob_known(shoal_db *db, const uint8_t sha256[32], bool *known,
                                 shoal_error *err)
{
    sqlite3_stmt *s;
    *known = false;
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT 1 FROM adapter WHERE sha256 = ?", "b", sha256,
                          (size_t)32));
    shoal_status st = sql_step(db, s, known, err);
    sql_finish(s);
    return st;
}
