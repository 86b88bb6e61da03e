/* store_sql.c - the few SQLite idioms the store is written in. */
#include "aggregator/store_sql.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

shoal_status sql_fail(shoal_db *db, const char *what, shoal_error *err)
{
    int code = sqlite3_errcode(db->sql) & 0xff;
    const char *text = sqlite3_errmsg(db->sql);
    if (code == SQLITE_FULL) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_FULL, "%s: the disk is full", what);
        shoal_hint(err, "free some space; nothing was lost, the last step was undone");
        return st;
    }
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_AGAIN, "%s: the database is locked", what);
        shoal_hint(err, "another command is writing; try again");
        return st;
    }
    if (code == SQLITE_NOMEM) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "%s: out of memory", what);
    }
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: the database is damaged (%s)", what, text);
    }
    return shoal_fail(err, SHOAL_ERR_IO, "%s: %s", what, text);
}

static int bind_one(sqlite3_stmt *s, int at, char type, va_list *ap)
{
    switch (type) {
    case 'i': return sqlite3_bind_int64(s, at, va_arg(*ap, int64_t));
    case 'u': return sqlite3_bind_int64(s, at, (int64_t)va_arg(*ap, uint64_t));
    case 'd': return sqlite3_bind_double(s, at, va_arg(*ap, double));
    case 't': return sqlite3_bind_text(s, at, va_arg(*ap, const char *), -1, SQLITE_STATIC);
    case 'b': {
        const void *p = va_arg(*ap, const void *);
        size_t n = va_arg(*ap, size_t);
        return sqlite3_bind_blob64(s, at, p, n, SQLITE_STATIC);
    }
    default: return SQLITE_MISUSE;
    }
}

static shoal_status prepare_v(shoal_db *db, sqlite3_stmt **out, shoal_error *err, const char *text,
                              const char *types, va_list *ap)
{
    *out = NULL;
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db->sql, text, -1, &s, NULL) != SQLITE_OK) {
        return sql_fail(db, "database", err);
    }
    for (int i = 0; types[i] != '\0'; i++) {
        if (bind_one(s, i + 1, types[i], ap) != SQLITE_OK) {
            shoal_status st = sql_fail(db, "database", err);
            (void)sqlite3_finalize(s);
            return st;
        }
    }
    *out = s;
    return SHOAL_OK;
}

shoal_status sql_prepare(shoal_db *db, sqlite3_stmt **out, shoal_error *err, const char *text,
                         const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    shoal_status st = prepare_v(db, out, err, text, types, &ap);
    va_end(ap);
    return st;
}

shoal_status sql_step(shoal_db *db, sqlite3_stmt *s, bool *row, shoal_error *err)
{
    int rc = sqlite3_step(s);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SHOAL_OK : sql_fail(db, "database", err);
}

shoal_status sql_run(shoal_db *db, int *changed, shoal_error *err, const char *text,
                     const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *s;
    shoal_status st = prepare_v(db, &s, err, text, types, &ap);
    va_end(ap);
    bool row = true;
    while (st == SHOAL_OK && row) {
        st = sql_step(db, s, &row, err);
    }
    (void)sqlite3_finalize(s);
    if (changed != NULL) {
        *changed = st == SHOAL_OK ? sqlite3_changes(db->sql) : 0;
    }
    return st;
}

/* IMMEDIATE takes the write lock at once, so that what is read inside still holds at the commit. */
shoal_status sql_begin(shoal_db *db, shoal_error *err)
{
    return sql_run(db, NULL, err, "BEGIN IMMEDIATE", "");
}

shoal_status sql_end(shoal_db *db, shoal_status st, shoal_error *err)
{
    if (st == SHOAL_OK) {
        st = sql_run(db, NULL, err, "COMMIT", "");
    }
    if (st != SHOAL_OK && sqlite3_get_autocommit(db->sql) == 0) {
        (void)sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    return st;
}

bool sql_blob(sqlite3_stmt *s, int col, void *out, size_t n)
{
    const void *p = sqlite3_column_blob(s, col);
    if (p == NULL || (size_t)sqlite3_column_bytes(s, col) != n) {
        memset(out, 0, n);
        return false;
    }
    memcpy(out, p, n);
    return true;
}

void sql_text(sqlite3_stmt *s, int col, char *out, size_t cap)
{
    const unsigned char *p = sqlite3_column_text(s, col);
    (void)snprintf(out, cap, "%s", p != NULL ? (const char *)p : "");
}

int64_t sql_int(sqlite3_stmt *s, int col)
{
    return sqlite3_column_int64(s, col);
}

double sql_double(sqlite3_stmt *s, int col)
{
    return sqlite3_column_double(s, col);
}

void sql_finish(sqlite3_stmt *s)
{
    (void)sqlite3_finalize(s);
}

shoal_status sql_each(shoal_db *db, sqlite3_stmt *s, sql_row_fn *row_fn, void *ctx,
                      shoal_error *err)
{
    bool row = true;
    shoal_status st = SHOAL_OK;
    while (st == SHOAL_OK && row) {
        st = sql_step(db, s, &row, err);
        if (st == SHOAL_OK && row) {
            st = row_fn(ctx, s, err);
        }
    }
    sql_finish(s);
    return st;
}

shoal_status sql_one(shoal_db *db, sqlite3_stmt *s, sql_row_fn *row_fn, void *ctx,
                     const char *missing, shoal_error *err)
{
    bool row = false;
    shoal_status st = sql_step(db, s, &row, err);
    if (st == SHOAL_OK) {
        st = row ? row_fn(ctx, s, err) : shoal_fail(err, SHOAL_ERR_NOT_FOUND, "%s", missing);
    }
    sql_finish(s);
    return st;
}

shoal_status sql_damaged(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "the database holds a damaged record");
}
