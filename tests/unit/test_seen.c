/* "Last seen", gathered and written in batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "aggregator/seen.h"
#include "tests/support/temp_dir.h"

enum { DEVICES = 1500, BASE = 1000000 };

typedef struct look {
    size_t n, seen;
    int64_t newest_s;
} look;

static void look_at(void *ctx, const shoal_db_device *d)
{
    look *l = ctx;
    l->n++;
    l->seen += d->last_seen_s > 0;
    l->newest_s = d->last_seen_s > l->newest_s ? d->last_seen_s : l->newest_s;
}

static look look_up(shoal_db *db)
{
    look l = {0};
    assert_int_equal(shoal_db_devices(db, look_at, &l, NULL), SHOAL_OK);
    return l;
}

static void id_of(size_t i, uint8_t id[SHOAL_ID_BYTES])
{
    memset(id, 0, SHOAL_ID_BYTES);
    id[0] = (uint8_t)(i >> 8); /* no two in one place */
    id[1] = (uint8_t)i;
    id[2] = 1;
}

static shoal_db *open_db(char dir[TEMP_DIR_MAX], size_t n)
{
    shoal_db *db;
    char path[TEMP_DIR_MAX + 16];
    temp_dir_make(dir);
    (void)snprintf(path, sizeof path, "%s/seen.db", dir);
    assert_int_equal(shoal_db_open(&db, path, true, NULL), SHOAL_OK);
    for (size_t i = 0; i < n; i++) {
        shoal_db_cert c = {.not_after_s = 2 * BASE};
        id_of(i, c.device_id);
        memcpy(c.sha256, c.device_id, SHOAL_ID_BYTES);
        assert_int_equal(shoal_db_enrol(db, &c, "test", 0, BASE, NULL), SHOAL_OK);
    }
    return db;
}

static void test_batches(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    uint8_t id[SHOAL_ID_BYTES];
    shoal_db *db = open_db(dir, 40);
    shoal_seen *s = shoal_seen_open();
    for (size_t i = 0; i < DEVICES; i++) { /* all but 40 of them unknown: nothing happens to them */
        id_of(i, id);
        shoal_seen_add(s, id, BASE + 100);
        shoal_seen_add(s, id, BASE + 100);
    }
    assert_int_equal(shoal_seen_pending(s), DEVICES);
    size_t flushes = 0;
    for (; shoal_seen_pending(s) > 0; flushes++) {
        assert_int_equal(shoal_seen_flush(s, db, BASE + 101, NULL), SHOAL_OK);
    }
    assert_int_equal(flushes, (DEVICES + SHOAL_SEEN_BATCH - 1) / SHOAL_SEEN_BATCH);
    look l = look_up(db);
    assert_int_equal(l.n, 40);
    assert_int_equal(l.seen, 40);
    assert_int_equal(l.newest_s, BASE + 101);
    shoal_seen_close(s);
    shoal_db_close(db);
    temp_dir_remove(dir);
}

static void test_once_a_minute(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    uint8_t id[SHOAL_ID_BYTES];
    shoal_db *db = open_db(dir, 2);
    shoal_seen *s = shoal_seen_open();
    id_of(1, id);
    shoal_seen_add(s, id, BASE);
    assert_int_equal(shoal_seen_flush(s, db, BASE, NULL), SHOAL_OK);
    shoal_seen_add(s, id, BASE + 59);
    assert_int_equal(shoal_seen_pending(s), 0);
    shoal_seen_add(s, id, BASE + 60);
    assert_int_equal(shoal_seen_pending(s), 1);
    assert_int_equal(shoal_seen_flush(s, db, BASE + 60, NULL), SHOAL_OK);
    assert_int_equal(look_up(db).newest_s, BASE + 60);
    assert_int_equal(look_up(db).seen, 1);
    shoal_seen_add(s, id, BASE - 500); /* the clock was set back */
    assert_int_equal(shoal_seen_pending(s), 1);
    shoal_seen_close(s);
    shoal_db_close(db);
    temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches),
                                       cmocka_unit_test(test_once_a_minute)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
