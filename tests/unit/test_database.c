/* What the aggregator remembers: all or nothing, in the right order, or a clear error. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "aggregator/db.h"
#include "tests/support/temp_dir.h"

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    char path[TEMP_DIR_MAX + 16];
    shoal_db *db;
    shoal_db_task task;
    shoal_error err;
} fixture;

static shoal_adapter_release release(const fixture *f, uint64_t version)
{
    shoal_adapter_release r = {.version = version, .round = version, .size = 100 + version};
    memcpy(r.task_id, f->task.id, sizeof r.task_id);
    memset(r.sha256, (int)version + 1, sizeof r.sha256);
    return r;
}

static void setup(fixture *f)
{
    memset(f, 0, sizeof *f);
    temp_dir_make(f->dir);
    (void)snprintf(f->path, sizeof f->path, "%s/shoal.db", f->dir);
    assert_int_equal(shoal_db_open(&f->db, f->path, false, &f->err), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_db_open(&f->db, f->path, true, &f->err), SHOAL_OK);
    f->task = (shoal_db_task){.id = {7},
                              .name = "home",
                              .state = SHOAL_TASK_RUNNING,
                              .model_path = "/models/m.gguf",
                              .base_sha256 = {9},
                              .train = {.rank = 8,
                                        .alpha = 16,
                                        .targets = 5,
                                        .lr = 0.5F,
                                        .local_epochs = 1,
                                        .local_steps = 2,
                                        .batch = 3,
                                        .ctx = 4,
                                        .base_name = "m"},
                              .codec = {.dim = 1000,
                                        .ring_bits = 32,
                                        .scale_log2 = -3,
                                        .clip_norm = 1.5,
                                        .weight_max = 77,
                                        .n_max = 8},
                              .n_min = 3,
                              .n_target = 8,
                              .degree = 6,
                              .threshold = 5,
                              .committee = 128,
                              .deadline_ms = {1, 2, 3, 4, 5, 6},
                              .rounds_total = 2,
                              .created_s = 1000};
    shoal_adapter_release first = release(f, 0);
    assert_int_equal(shoal_db_task_add(f->db, &f->task, &first, &f->err), SHOAL_OK);
}

static void teardown(fixture *f)
{
    shoal_db_close(f->db);
    temp_dir_remove(f->dir);
}

static void test_task_survives(void **state)
{
    (void)state;
    fixture f;
    shoal_db_task t;
    setup(&f);
    shoal_db_close(f.db);
    assert_int_equal(shoal_db_open(&f.db, f.path, false, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_task_by_name(f.db, "home", &t, &f.err), SHOAL_OK);
    assert_memory_equal(t.id, f.task.id, sizeof t.id);
    assert_memory_equal(&t.train, &f.task.train, sizeof t.train);
    assert_memory_equal(t.deadline_ms, f.task.deadline_ms, sizeof t.deadline_ms);
    assert_int_equal(t.degree, 6);
    assert_int_equal(t.threshold, 5);
    assert_int_equal(t.committee, 128);
    assert_int_equal(t.codec.scale_log2, -3);
    assert_true(t.codec.clip_norm == 1.5);
    assert_int_equal(t.codec.dim, 1000);
    shoal_adapter_release first = release(&f, 0);
    f.task.id[0]++;
    assert_int_equal(shoal_db_task_add(f.db, &f.task, &first, &f.err), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_db_task_by_name(f.db, "away", &t, &f.err), SHOAL_ERR_NOT_FOUND);
    teardown(&f);
}

static shoal_db_round opened(fixture *f, uint64_t from, uint8_t session)
{
    shoal_db_round r = {.state = SHOAL_ROUND_OPEN, .from_version = from, .opened_s = 2000};
    memcpy(r.task_id, f->task.id, sizeof r.task_id);
    r.session_id[0] = session;
    assert_int_equal(shoal_db_round_open(f->db, &r, &f->err), SHOAL_OK);
    return r;
}

static void test_rounds(void **state)
{
    (void)state;
    fixture f;
    shoal_db_task t;
    shoal_db_round back;
    setup(&f);
    shoal_db_round r = opened(&f, 0, 1);
    assert_int_equal(r.round, 1);
    shoal_sa_member m[2] = {{.id = {1}, .shared = true, .uploaded = true}, {.id = {2}}};
    shoal_adapter_release made = release(&f, 1);
    r.state = SHOAL_ROUND_DONE;
    r.to_version = 1;
    r.survivors = 1;
    r.update_norm = 0.25;
    assert_int_equal(shoal_db_round_close(f.db, &r, m, 2, &made, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_round_by_session(f.db, r.session_id, &back, &f.err), SHOAL_OK);
    assert_int_equal(back.to_version, 1);
    assert_true(back.update_norm == 0.25);
    assert_int_equal(shoal_db_task_by_id(f.db, f.task.id, &t, &f.err), SHOAL_OK);
    assert_int_equal(t.version, 1);
    assert_int_equal(t.rounds_done, 1);
    assert_int_equal(t.state, SHOAL_TASK_RUNNING);
    /* closing twice, or a second version 1, changes nothing */
    assert_int_equal(shoal_db_round_close(f.db, &r, m, 2, &made, &f.err), SHOAL_ERR_STATE);
    shoal_db_round late = opened(&f, 0, 2);
    assert_int_equal(late.round, 2);
    late.state = SHOAL_ROUND_DONE;
    assert_int_equal(shoal_db_round_close(f.db, &late, m, 2, &made, &f.err), SHOAL_ERR_STATE);
    assert_int_equal(shoal_db_round_get(f.db, f.task.id, 2, &back, &f.err), SHOAL_OK);
    assert_int_equal(back.state, SHOAL_ROUND_OPEN); /* all or nothing */
    size_t n = 0;
    assert_int_equal(shoal_db_rounds_abandon(f.db, "restart", 3000, &n, &f.err), SHOAL_OK);
    assert_int_equal(n, 1);
    r = opened(&f, 1, 3);
    assert_int_equal(r.round, 3);
    made = release(&f, 2);
    r.state = SHOAL_ROUND_DONE;
    r.to_version = 2;
    assert_int_equal(shoal_db_round_close(f.db, &r, NULL, 0, &made, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_task_by_id(f.db, f.task.id, &t, &f.err), SHOAL_OK);
    assert_int_equal(t.state, SHOAL_TASK_FINISHED); /* the second of two */
    teardown(&f);
}

static void test_certificates(void **state)
{
    (void)state;
    fixture f;
    setup(&f);
    uint8_t id[SHOAL_ID_BYTES];
    bool revoked = false;
    shoal_db_cert cert = {.sha256 = {1}, .device_id = {2}, .not_after_s = 1000};
    assert_int_equal(shoal_db_authorise(f.db, cert.sha256, 500, id, &f.err), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_db_device_revoked(f.db, cert.device_id, &revoked, &f.err), SHOAL_OK);
    assert_true(revoked); /* nobody knows it */
    assert_int_equal(shoal_db_enrol(f.db, &cert, "x", 2, 150, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_enrol(f.db, &cert, "x", 2, 151, &f.err), SHOAL_OK); /* again */
    assert_int_equal(shoal_db_authorise(f.db, cert.sha256, 1000, id, &f.err), SHOAL_OK);
    assert_memory_equal(id, cert.device_id, sizeof id);
    assert_int_equal(shoal_db_authorise(f.db, cert.sha256, 1001, id, &f.err), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_db_device_revoked(f.db, cert.device_id, &revoked, &f.err), SHOAL_OK);
    assert_false(revoked);
    assert_int_equal(shoal_db_device_revoke(f.db, cert.device_id, 200, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_authorise(f.db, cert.sha256, 500, id, &f.err), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_db_device_revoked(f.db, cert.device_id, &revoked, &f.err), SHOAL_OK);
    assert_true(revoked);
    teardown(&f);
}

/* Two processes: what one writes the other sees; a lock held for long is a clear "try again". */
static void test_two_processes(void **state)
{
    (void)state;
    fixture f;
    shoal_db *other;
    char text[16];
    setup(&f);
    assert_int_equal(shoal_db_open(&other, f.path, false, &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_fact_set(other, "port", "7433", &f.err), SHOAL_OK);
    assert_int_equal(shoal_db_fact_get(f.db, "port", text, sizeof text, &f.err), SHOAL_OK);
    assert_string_equal(text, "7433");
    shoal_db_close(other);
    teardown(&f);
}

/* Writes that do not fit on the disk: an error, and nothing of the round is there. */
static void test_no_space(void **state)
{
    (void)state;
    fixture f;
    shoal_db_task t;
    struct rlimit was, tight;
    setup(&f);
    shoal_db_round r = opened(&f, 0, 1);
    shoal_adapter_release made = release(&f, 1);
    static shoal_sa_member m[64];
    for (int i = 0; i < 64; i++) {
        m[i].id[0] = (uint8_t)i;
    }
    r.state = SHOAL_ROUND_DONE;
    r.to_version = 1;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = was;
    tight.rlim_cur = 4096; /* no file may grow beyond this: every write of the log fails */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    shoal_status st = shoal_db_round_close(f.db, &r, m, 64, &made, &f.err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_true(st == SHOAL_ERR_FULL || st == SHOAL_ERR_IO);
    assert_true(strlen(f.err.msg) > 0);
    assert_int_equal(shoal_db_task_by_id(f.db, f.task.id, &t, &f.err), SHOAL_OK);
    assert_int_equal(t.version, 0);
    assert_int_equal(t.rounds_done, 0);
    assert_int_equal(shoal_db_round_close(f.db, &r, m, 64, &made, &f.err), SHOAL_OK);
    teardown(&f);
}

static void test_not_a_database(void **state)
{
    (void)state;
    fixture f;
    setup(&f);
    shoal_db_close(f.db);
    FILE *file = fopen(f.path, "wb");
    assert_non_null(file);
    assert_int_equal(
        fwrite("this is not a database at all, not by far ..................", 1, 60, file), 60);
    (void)fclose(file);
    assert_int_equal(shoal_db_open(&f.db, f.path, false, &f.err), SHOAL_ERR_FORMAT);
    temp_dir_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_survives), cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_certificates),  cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_no_space),      cmocka_unit_test(test_not_a_database)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
