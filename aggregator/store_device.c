/* store_device.c - devices and their certificates. */
#include <string.h>

#include <sqlite3.h>

#include "aggregator/store_sql.h"

static shoal_status insert_cert(shoal_db *db, const shoal_db_cert *cert, int64_t now_s,
                                shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO cert(sha256, device, issued_s, not_after_s) VALUES(?, ?, ?, ?)"
                   " ON CONFLICT(sha256) DO NOTHING",
                   "bbii", cert->sha256, (size_t)32, cert->device_id, (size_t)SHOAL_ID_BYTES, now_s,
                   cert->not_after_s);
}

static shoal_status enrol(shoal_db *db, const shoal_db_cert *cert, const char *software,
                          uint32_t attestation, int64_t now_s, shoal_error *err)
{
    /* The same key may come with a second invitation; it stays revoked if it was. */
    SHOAL_TRY(sql_run(db, NULL, err,
                      "INSERT INTO device(id, software, enrolled_s, attestation) VALUES(?, ?, ?, ?)"
                      " ON CONFLICT(id) DO UPDATE SET software = excluded.software,"
                      " attestation = excluded.attestation",
                      "btii", cert->device_id, (size_t)SHOAL_ID_BYTES, software, now_s,
                      (int64_t)attestation));
    return insert_cert(db, cert, now_s, err);
}

shoal_status shoal_db_enrol(shoal_db *db, const shoal_db_cert *cert, const char *software,
                            uint32_t attestation, int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, enrol(db, cert, software, attestation, now_s, err), err);
}

shoal_status shoal_db_cert_add(shoal_db *db, const shoal_db_cert *cert, int64_t now_s,
                               shoal_error *err)
{
    return insert_cert(db, cert, now_s, err);
}

static shoal_status rotate(shoal_db *db, const uint8_t *old_id, const shoal_db_cert *cert,
                           int64_t now_s, shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(
        db, &changed, err,
        "INSERT INTO device(id, software, enrolled_s, attestation) SELECT ?, software,"
        " ?, attestation FROM device WHERE id = ? AND revoked_s = 0",
        "bib", cert->device_id, (size_t)SHOAL_ID_BYTES, now_s, old_id, (size_t)SHOAL_ID_BYTES));
    if (changed != 1) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this device was revoked");
    }
    SHOAL_TRY(shoal_db_device_revoke(db, old_id, now_s, err));
    return insert_cert(db, cert, now_s, err);
}

shoal_status shoal_db_rotate(shoal_db *db, const uint8_t old_id[SHOAL_ID_BYTES],
                             const shoal_db_cert *cert, int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, rotate(db, old_id, cert, now_s, err), err);
}

typedef struct auth_row {
    uint8_t *id;
    int64_t not_after_s, revoked_s;
} auth_row;

static shoal_status take_auth(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    auth_row *a = ctx;
    a->not_after_s = sql_int(s, 1);
    a->revoked_s = sql_int(s, 2);
    return sql_blob(s, 0, a->id, SHOAL_ID_BYTES) ? SHOAL_OK : sql_damaged(err);
}

shoal_status shoal_db_authorise(shoal_db *db, const uint8_t cert_sha256[32], int64_t now_s,
                                uint8_t device_id[SHOAL_ID_BYTES], shoal_error *err)
{
    sqlite3_stmt *s;
    auth_row a = {.id = device_id};
    memset(device_id, 0, SHOAL_ID_BYTES);
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT d.id, c.not_after_s, d.revoked_s FROM cert c"
                          " JOIN device d ON d.id = c.device WHERE c.sha256 = ?",
                          "b", cert_sha256, (size_t)32));
    shoal_status st = sql_one(db, s, take_auth, &a, "this certificate was not issued here", err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this certificate was not issued here");
    }
    SHOAL_TRY(st);
    if (a.revoked_s != 0) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this device was revoked");
    }
    if (a.not_after_s < now_s) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this certificate has expired");
    }
    return SHOAL_OK;
}

/* To the minute: a device that polls every second need not be written every second. */
static shoal_status devices_seen(shoal_db *db, const uint8_t (*ids)[SHOAL_ID_BYTES], size_t n,
                                 int64_t now_s, shoal_error *err)
{
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(sql_run(db, NULL, err,
                          "UPDATE device SET last_seen_s = ? WHERE id = ? AND last_seen_s < ?",
                          "ibi", now_s, ids[i], (size_t)SHOAL_ID_BYTES, now_s - 59));
    }
    return SHOAL_OK;
}

shoal_status shoal_db_devices_seen(shoal_db *db, const uint8_t (*ids)[SHOAL_ID_BYTES], size_t n,
                                   int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, devices_seen(db, ids, n, now_s, err), err);
}

shoal_status shoal_db_device_revoke(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s,
                                    shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "UPDATE device SET revoked_s = ? WHERE id = ? AND revoked_s = 0", "ib", now_s,
                      id, (size_t)SHOAL_ID_BYTES));
    if (changed == 0) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_NOT_FOUND, "no such device, or it was revoked before");
        shoal_hint(err, "`shoal-aggregator device list` shows all ids");
        return st;
    }
    return SHOAL_OK;
}

static shoal_status take_revoked(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    (void)err;
    *(bool *)ctx = sql_int(s, 0) != 0;
    return SHOAL_OK;
}

shoal_status shoal_db_device_revoked(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES], bool *revoked,
                                     shoal_error *err)
{
    sqlite3_stmt *s;
    *revoked = true; /* whom nobody knows takes no part either */
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT revoked_s FROM device WHERE id = ?", "b", id,
                          (size_t)SHOAL_ID_BYTES));
    return sql_each(db, s, take_revoked, revoked, err);
}

typedef struct device_each {
    void (*each)(void *ctx, const shoal_db_device *d);
    void *ctx;
} device_each;

static shoal_status take_device(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const device_each *e = ctx;
    shoal_db_device d = {.enrolled_s = sql_int(s, 2),
                         .last_seen_s = sql_int(s, 3),
                         .revoked_s = sql_int(s, 4),
                         .cert_until_s = sql_int(s, 5),
                         .rounds = (uint64_t)sql_int(s, 6),
                         .attestation = (uint32_t)sql_int(s, 7)};
    sql_text(s, 1, d.software, sizeof d.software);
    if (!sql_blob(s, 0, d.id, sizeof d.id)) {
        return sql_damaged(err);
    }
    e->each(e->ctx, &d);
    return SHOAL_OK;
}

shoal_status shoal_db_devices(shoal_db *db, void (*each)(void *ctx, const shoal_db_device *d),
                              void *ctx, shoal_error *err)
{
    sqlite3_stmt *s;
    device_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(
        db, &s, err,
        "SELECT id, software, enrolled_s, last_seen_s, revoked_s,"
        " (SELECT coalesce(max(not_after_s), 0) FROM cert WHERE device = id),"
        " (SELECT count(*) FROM member m JOIN round r ON r.task = m.task AND r.round = m.round"
        "  WHERE m.device = id AND m.uploaded = 1 AND r.state = 2), attestation"
        " FROM device ORDER BY enrolled_s, id",
        ""));
    return sql_each(db, s, take_device, &e, err);
}
