/* store_open.c - opening the SQLite database, its tables, and small facts. */
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "aggregator/store_sql.h"
#include "kernels/base/mem.h"

enum { SCHEMA_VERSION = 4, BUSY_MS = 5000 };

static const char SCHEMA[] =
    "CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE device(id BLOB PRIMARY KEY, software TEXT NOT NULL, enrolled_s INTEGER NOT NULL,"
    " last_seen_s INTEGER NOT NULL DEFAULT 0, revoked_s INTEGER NOT NULL DEFAULT 0,"
    " attestation INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TABLE cert(sha256 BLOB PRIMARY KEY, device BLOB NOT NULL REFERENCES device(id),"
    " issued_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE task(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, state INTEGER NOT NULL,"
    " model_path TEXT NOT NULL, base_name TEXT NOT NULL, base_sha256 BLOB NOT NULL,"
    " lora_rank INTEGER NOT NULL, alpha REAL NOT NULL, targets INTEGER NOT NULL, lr REAL NOT NULL,"
    " local_epochs INTEGER NOT NULL, local_steps INTEGER NOT NULL, batch INTEGER NOT NULL,"
    " ctx INTEGER NOT NULL, dim INTEGER NOT NULL, ring_bits INTEGER NOT NULL,"
    " scale_log2 INTEGER NOT NULL, clip_norm REAL NOT NULL, weight_max INTEGER NOT NULL,"
    " n_max INTEGER NOT NULL, rotation INTEGER NOT NULL, n_min INTEGER NOT NULL, n_target INTEGER "
    "NOT NULL,"
    " deadline0 INTEGER NOT NULL, deadline1 INTEGER NOT NULL, deadline2 INTEGER NOT NULL,"
    " deadline3 INTEGER NOT NULL, deadline4 INTEGER NOT NULL, deadline5 INTEGER NOT NULL,"
    " degree INTEGER NOT NULL, threshold INTEGER NOT NULL, committee INTEGER NOT NULL,"
    " rounds_done INTEGER NOT NULL,"
    " rounds_total INTEGER NOT NULL, last_round INTEGER NOT NULL, version INTEGER NOT NULL,"
    " created_s INTEGER NOT NULL);"
    "CREATE TABLE adapter(task BLOB NOT NULL REFERENCES task(id), version INTEGER NOT NULL,"
    " round INTEGER NOT NULL, sha256 BLOB NOT NULL, size INTEGER NOT NULL, base_sha256 BLOB NOT"
    " NULL, previous_sha256 BLOB NOT NULL, signature BLOB NOT NULL, created_s INTEGER NOT NULL,"
    " PRIMARY KEY(task, version)) WITHOUT ROWID;"
    "CREATE INDEX adapter_blob ON adapter(sha256);"
    "CREATE TABLE round(task BLOB NOT NULL REFERENCES task(id), round INTEGER NOT NULL,"
    " session BLOB NOT NULL UNIQUE, state INTEGER NOT NULL, stage INTEGER NOT NULL,"
    " from_version INTEGER NOT NULL, to_version INTEGER NOT NULL DEFAULT 0,"
    " opened_s INTEGER NOT NULL, closed_s INTEGER NOT NULL DEFAULT 0,"
    " roster INTEGER NOT NULL DEFAULT 0, survivors INTEGER NOT NULL DEFAULT 0,"
    " threshold INTEGER NOT NULL DEFAULT 0, liars INTEGER NOT NULL DEFAULT 0,"
    " weight_sum INTEGER NOT NULL DEFAULT 0, update_norm REAL NOT NULL DEFAULT 0,"
    " roster_hash BLOB NOT NULL, reason TEXT NOT NULL DEFAULT '', PRIMARY KEY(task, round))"
    " WITHOUT ROWID;"
    "CREATE TABLE stage(task BLOB NOT NULL, round INTEGER NOT NULL, stage INTEGER NOT NULL,"
    " answered INTEGER NOT NULL, expected INTEGER NOT NULL, took_ms INTEGER NOT NULL,"
    " deadline INTEGER NOT NULL, PRIMARY KEY(task, round, stage)) WITHOUT ROWID;"
    "CREATE TABLE member(task BLOB NOT NULL, round INTEGER NOT NULL, device BLOB NOT NULL,"
    " shared INTEGER NOT NULL, uploaded INTEGER NOT NULL, signed INTEGER NOT NULL,"
    " unmasked INTEGER NOT NULL, lied INTEGER NOT NULL, PRIMARY KEY(task, round, device))"
    " WITHOUT ROWID;"
    "CREATE INDEX member_device ON member(device);"
    "PRAGMA user_version = 4;";

static shoal_status run_script(shoal_db *db, const char *script, const char *what, shoal_error *err)
{
    return sqlite3_exec(db->sql, script, NULL, NULL, NULL) == SQLITE_OK ? SHOAL_OK
                                                                        : sql_fail(db, what, err);
}

static shoal_status schema_version(shoal_db *db, int64_t *version, shoal_error *err)
{
    sqlite3_stmt *s;
    bool row = false;
    SHOAL_TRY(sql_prepare(db, &s, err, "PRAGMA user_version", ""));
    shoal_status st = sql_step(db, s, &row, err);
    *version = row ? sql_int(s, 0) : 0;
    sql_finish(s);
    return st;
}

static shoal_status make_schema(shoal_db *db, const sql_schema *schema, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, run_script(db, schema->script, "cannot create the database", err), err);
}

static shoal_status prepare_db(shoal_db *db, bool create, const sql_schema *schema,
                               shoal_error *err)
{
    (void)sqlite3_busy_timeout(db->sql, BUSY_MS);
    SHOAL_TRY(run_script(db,
                         "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                         "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;",
                         "cannot open the database", err));
    int64_t version = 0;
    SHOAL_TRY(schema_version(db, &version, err));
    if (version == 0 && create) {
        return make_schema(db, schema, err);
    }
    if (version != schema->version) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                                     "the database has schema %lld, this program needs %d",
                                     (long long)version, schema->version);
        shoal_hint(err, "run the version of shoal-aggregator that made it");
        return st;
    }
    return SHOAL_OK;
}

shoal_status sql_open(shoal_db **out, const char *path, bool create, const sql_schema *schema,
                      shoal_error *err)
{
    *out = NULL;
    shoal_db *db = shoal_calloc(1, sizeof *db);
    if (db == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the database");
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    shoal_status st;
    if (sqlite3_open_v2(path, &db->sql, flags, NULL) != SQLITE_OK) {
        bool missing = !create && (sqlite3_errcode(db->sql) & 0xff) == SQLITE_CANTOPEN;
        st = missing ? shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no database at %s", path)
                     : sql_fail(db, "cannot open the database", err);
    } else {
        st = prepare_db(db, create, schema, err);
    }
    if (st != SHOAL_OK) {
        shoal_db_close(db);
        return st;
    }
    *out = db;
    return SHOAL_OK;
}

shoal_status shoal_db_open(shoal_db **out, const char *path, bool create, shoal_error *err)
{
    static const sql_schema schema = {SCHEMA, SCHEMA_VERSION};
    return sql_open(out, path, create, &schema, err);
}

void shoal_db_close(shoal_db *db)
{
    if (db != NULL) {
        (void)sqlite3_close(db->sql);
        shoal_free(db);
    }
}

shoal_status shoal_db_fact_set(shoal_db *db, const char *name, const char *value, shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO fact(name, value) VALUES(?, ?)"
                   " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                   "tt", name, value);
}

typedef struct text_out {
    char *out;
    size_t cap;
} text_out;

static shoal_status take_text(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    (void)err;
    const text_out *t = ctx;
    sql_text(s, 0, t->out, t->cap);
    return SHOAL_OK;
}

shoal_status shoal_db_fact_get(shoal_db *db, const char *name, char *out, size_t cap,
                               shoal_error *err)
{
    sqlite3_stmt *s;
    text_out t = {out, cap};
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT value FROM fact WHERE name = ?", "t", name));
    return sql_one(db, s, take_text, &t, "no such fact", err);
}
