/* store_sql.h - what the store_*.c files share: statements, bindings, errors, transactions.
 *
 * Layer: aggregator, private to the SQLite store.
 */
#ifndef SHOAL_AGGREGATOR_STORE_SQL_H
#define SHOAL_AGGREGATOR_STORE_SQL_H

#include "aggregator/db.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;
struct sqlite3_stmt;

struct shoal_db {
    struct sqlite3 *sql;
};

/* A database's tables as a script, which must set user_version to `version`. */
typedef struct sql_schema {
    const char *script;
    int version;
} sql_schema;

SHOAL_MUST_USE shoal_status sql_open(shoal_db **out, const char *path, bool create,
                                     const sql_schema *schema, shoal_error *err);

/* Maps SQLite's last error: full disk, locked, corrupt, the rest. */
shoal_status sql_fail(shoal_db *db, const char *what, shoal_error *err);

/* Prepares and binds. `types` has a letter for each ?: i int64_t, u uint64_t, d double, t const
 * char *, b const void * and size_t. Blobs and texts must live until the statement is finished. */
SHOAL_MUST_USE shoal_status sql_prepare(shoal_db *db, struct sqlite3_stmt **out, shoal_error *err,
                                        const char *text, const char *types, ...);

/* The next row: SHOAL_OK with *row telling whether there is one. */
SHOAL_MUST_USE shoal_status sql_step(shoal_db *db, struct sqlite3_stmt *s, bool *row,
                                     shoal_error *err);

/* Prepares, binds, runs to the end, finishes. *changed (may be NULL): rows changed. */
SHOAL_MUST_USE shoal_status sql_run(shoal_db *db, int *changed, shoal_error *err, const char *text,
                                    const char *types, ...);

SHOAL_MUST_USE shoal_status sql_begin(shoal_db *db, shoal_error *err);
/* Commits when st is OK, rolls back otherwise; returns the first failure. */
SHOAL_MUST_USE shoal_status sql_end(shoal_db *db, shoal_status st, shoal_error *err);

/* Columns. A blob of another size than n is zeroed and counts as damage: false. */
bool sql_blob(struct sqlite3_stmt *s, int col, void *out, size_t n);
void sql_text(struct sqlite3_stmt *s, int col, char *out, size_t cap);
int64_t sql_int(struct sqlite3_stmt *s, int col);
double sql_double(struct sqlite3_stmt *s, int col);
void sql_finish(struct sqlite3_stmt *s);

/* Runs a query and calls `row` for each of its rows; frees the statement. */
typedef shoal_status sql_row_fn(void *ctx, struct sqlite3_stmt *s, shoal_error *err);
SHOAL_MUST_USE shoal_status sql_each(shoal_db *db, struct sqlite3_stmt *s, sql_row_fn *row,
                                     void *ctx, shoal_error *err);
/* The same for a query that must have a row: NOT_FOUND with the message `missing` otherwise. */
SHOAL_MUST_USE shoal_status sql_one(shoal_db *db, struct sqlite3_stmt *s, sql_row_fn *row,
                                    void *ctx, const char *missing, shoal_error *err);

/* FORMAT: a record does not have the shape it was written with. */
shoal_status sql_damaged(shoal_error *err);

/* store_task.c, used by store_round.c inside its transaction. */
SHOAL_MUST_USE shoal_status sql_insert_release(shoal_db *db, const shoal_adapter_release *r,
                                               int64_t now_s, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
