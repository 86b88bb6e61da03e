/* test_agent.c - what a device keeps of a task, and its local training, on a tiny model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/demo_data.h"
#include "client/localtrain.h"
#include "client/taskstate.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/model/residency.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    shoal_store store;
    shoal_engine engine;
    shoal_dataset data;
    shoal_adapter *start;
    shoal_train_spec spec;
    shoal_adapter_release release;
} fixture;

static void write_rows(const char *path)
{
    shoal_buf train = shoal_buf_init(1 << 16);
    shoal_buf held = shoal_buf_init(1 << 16);
    assert_int_equal(shoal_demo_rows(0, 1, 6, 0, &train, &held, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, train.data, train.len, 0600, NULL), SHOAL_OK);
    shoal_buf_clear(&train);
}

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    char model[TEMP_DIR_MAX + 16];
    char rows[TEMP_DIR_MAX + 16];
    shoal_data_options o = {.max_tokens = 384};
    temp_dir_make(f->dir);
    (void)snprintf(model, sizeof model, "%s/tiny.gguf", f->dir);
    (void)snprintf(rows, sizeof rows, "%s/rows.jsonl", f->dir);
    assert_int_equal(shoal_store_open(&f->store, f->dir, NULL), SHOAL_OK);
    assert_int_equal(shoal_tiny_model_write(model, 3, NULL, NULL), SHOAL_OK);
    write_rows(rows);
    shoal_engine_options eo = {.threads = 1, .model = model};
    assert_int_equal(shoal_engine_open(&f->engine, &eo, NULL), SHOAL_OK);
    assert_int_equal(shoal_dataset_load(&f->data, rows, f->engine.model, &o, NULL), SHOAL_OK);
    f->spec = (shoal_train_spec){.rank = 4,
                                 .alpha = 8,
                                 .targets = SHOAL_TARGETS_ALL,
                                 .lr = 1e-2f,
                                 .local_steps = 4,
                                 .batch = 2,
                                 .ctx = 384};
    shoal_lora_spec ls = {.rank = 4, .alpha = 8, .targets = SHOAL_TARGETS_ALL};
    assert_int_equal(shoal_adapter_open(&f->start, f->engine.model, &ls, 7, NULL), SHOAL_OK);
    memset(f->release.sha256, 0x11, 32);
    f->release.version = 3;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    shoal_adapter_close(f->start);
    shoal_dataset_clear(&f->data);
    shoal_engine_close(&f->engine);
    temp_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static shoal_local_job job_of(const fixture *f)
{
    return (shoal_local_job){.engine = &f->engine,
                             .data = &f->data,
                             .spec = &f->spec,
                             .start = f->start,
                             .release = &f->release};
}

static void an_update_is_what_training_changed(void **state)
{
    fixture *f = *state;
    shoal_update u;
    shoal_local_job job = job_of(f);
    double norm = 0;
    assert_int_equal(shoal_local_train(&job, &u, NULL), SHOAL_OK);
    assert_int_equal(u.n, f->start->n_params);
    assert_int_equal(u.version, 3);
    assert_memory_equal(u.adapter_sha256, f->release.sha256, 32);
    assert_int_equal(u.weight, f->data.n);
    assert_true(u.loss_last < u.loss_first);
    for (size_t i = 0; i < u.n; i++)
        norm += (double)u.delta[i] * (double)u.delta[i];
    assert_true(isfinite(norm) && norm > 0);
    shoal_update_clear(&u);
}

/* An update that takes the place of a spent one is another (Spec 5.6.3), and a repeat is not. */
static void another_number_is_another_update(void **state)
{
    fixture *f = *state;
    shoal_update u[3];
    shoal_local_job job = job_of(f);
    for (size_t k = 0; k < 3; k++) {
        job.number = k == 0 ? 0 : 1;
        assert_int_equal(shoal_local_train(&job, &u[k], NULL), SHOAL_OK);
        assert_int_equal(u[k].number, job.number);
    }
    assert_memory_not_equal(u[0].delta, u[1].delta, u[0].n * sizeof(float));
    assert_memory_equal(u[1].delta, u[2].delta, u[1].n * sizeof(float));
    for (size_t k = 0; k < 3; k++) {
        shoal_update_clear(&u[k]);
    }
}

/* Says stop at the given question. */
static int g_questions_left;
static bool stop_soon(void)
{
    return g_questions_left-- <= 0;
}

static int g_steps;
static shoal_status count_step(void *ctx, const shoal_train_step *s, shoal_error *err)
{
    (void)ctx;
    (void)err;
    g_steps = (int)s->step;
    return SHOAL_OK;
}

static void stopped_training_goes_on_to_the_same_bits(void **state)
{
    fixture *f = *state;
    char checkpoint[TEMP_DIR_MAX + 16];
    shoal_update whole;
    shoal_update parts;
    shoal_local_job job = job_of(f);
    (void)snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", f->dir);
    assert_int_equal(shoal_local_train(&job, &whole, NULL), SHOAL_OK);
    job.checkpoint_path = checkpoint;
    job.stop = stop_soon;
    job.on_step = count_step;
    /* Lets it ask more and more often, until it stops somewhere between first and last step. */
    shoal_status st = SHOAL_OK;
    g_steps = 0;
    for (int patience = 2; patience < 1000 && (g_steps == 0 || st == SHOAL_OK); patience++) {
        g_questions_left = patience;
        st = shoal_local_train(&job, &parts, NULL);
        if (st == SHOAL_OK) shoal_update_clear(&parts);
        if (g_steps > 0 && st == SHOAL_ERR_CANCELLED) break;
    }
    assert_int_equal(st, SHOAL_ERR_CANCELLED);
    assert_in_range(g_steps, 1, 3);
    assert_int_equal(access(checkpoint, F_OK), 0);
    g_steps = 0;
    job.stop = NULL;
    assert_int_equal(shoal_local_train(&job, &parts, NULL), SHOAL_OK);
    assert_memory_equal(parts.delta, whole.delta, whole.n * sizeof(float));
    assert_int_not_equal(access(checkpoint, F_OK), 0);
    shoal_update_clear(&whole);
    shoal_update_clear(&parts);
}

static bool g_streamed;
static shoal_status see_streaming(void *ctx, const shoal_train_step *s, shoal_error *err)
{
    const shoal_engine *e = ctx;
    shoal_residency_stats r = shoal_residency_get_stats(e->model);
    (void)s;
    (void)err;
    g_streamed = r.n_kept < r.n_parts && r.loads > r.n_parts;
    return SHOAL_OK;
}

/* The least bound that works streams the weights, gives the same bits, and ends with the job. */
static void a_bound_on_memory_changes_no_bit(void **state)
{
    fixture *f = *state;
    static const shoal_tiny_opts LARGE_LAYERS = {
        .n_layer = 6, .n_embd = 256, .n_ff = 512, .plain_types = true};
    char path[TEMP_DIR_MAX + 16];
    shoal_engine e;
    shoal_adapter *start = NULL;
    shoal_update free_one;
    shoal_update bounded;
    shoal_error err = {0};
    shoal_lora_spec ls = {.rank = 4, .alpha = 8, .targets = SHOAL_TARGETS_ALL};
    (void)snprintf(path, sizeof path, "%s/large.gguf", f->dir);
    assert_int_equal(shoal_tiny_model_write(path, 3, &LARGE_LAYERS, NULL), SHOAL_OK);
    shoal_engine_options eo = {.threads = 1, .model = path, .max_ram = 1};
    assert_int_equal(shoal_engine_open(&e, &eo, NULL), SHOAL_OK);
    assert_int_equal(shoal_adapter_open(&start, e.model, &ls, 7, NULL), SHOAL_OK);
    f->spec.local_steps = 2;
    shoal_local_job job = job_of(f);
    job.engine = &e;
    job.start = start;
    assert_int_equal(shoal_local_train(&job, &free_one, NULL), SHOAL_OK);

    job.max_ram_given = true;
    job.on_step = see_streaming;
    job.ctx = &e;
    shoal_status st = SHOAL_ERR_NOMEM;
    for (size_t mib = 1; st == SHOAL_ERR_NOMEM && mib < 4096; mib += 2) {
        job.max_ram = mib << 20;
        st = shoal_local_train(&job, &bounded, &err);
        assert_true(st == SHOAL_OK || err.hint[0] != '\0');
    }
    assert_int_equal(st, SHOAL_OK);
    assert_true(job.max_ram > 1 << 20);
    assert_true(g_streamed);
    assert_int_equal(shoal_residency_get_stats(e.model).n_parts, 0);
    assert_memory_equal(bounded.delta, free_one.delta, bounded.n * sizeof(float));
    shoal_update_clear(&bounded);
    shoal_update_clear(&free_one);
    shoal_adapter_close(start);
    shoal_engine_close(&e);
}

static void an_adapter_of_another_rank_is_refused(void **state)
{
    fixture *f = *state;
    shoal_update u;
    shoal_local_job job = job_of(f);
    f->spec.rank = 8;
    assert_int_equal(shoal_local_train(&job, &u, NULL), SHOAL_ERR_FORMAT);
    f->spec.rank = 4;
    f->spec.local_steps = 0;
    assert_int_equal(shoal_local_train(&job, &u, NULL), SHOAL_ERR_FORMAT);
}

/* ---- what is kept -----------------------------------------------------------------------------
 */

static const uint8_t TASK_A[16] = {1};
static const uint8_t TASK_B[16] = {2};

static void counters_survive_and_names_do_not_clash(void **state)
{
    fixture *f = *state;
    shoal_task_record r;
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_A, NULL), SHOAL_OK);
    assert_string_equal(r.dir, "home");
    r.last_round = 41;
    r.input_round = 40;
    r.inputs = 5;
    r.cohort_min = 33;
    r.version = 12;
    memset(r.adapter_sha256, 0x22, 32);
    assert_int_equal(shoal_task_record_save(&r, &f->store, NULL), SHOAL_OK);
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_B, NULL), SHOAL_OK);
    assert_string_not_equal(r.dir, "home");
    assert_int_equal(r.last_round, 0);
    assert_int_equal(shoal_task_record_save(&r, &f->store, NULL), SHOAL_OK);
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_A, NULL), SHOAL_OK);
    assert_int_equal(r.last_round, 41);
    assert_int_equal(r.input_round, 40);
    assert_int_equal(r.inputs, 5);
    assert_int_equal(r.cohort_min, 33);
    assert_int_equal(r.version, 12);
    assert_int_equal(r.adapter_sha256[31], 0x22);
    assert_int_equal(shoal_task_record_open(&r, &f->store, "../x", TASK_A, NULL), SHOAL_OK);
    assert_string_equal(r.dir, "task");
}

static void a_damaged_record_is_an_error_not_a_new_start(void **state)
{
    fixture *f = *state;
    shoal_task_record r;
    char path[SHOAL_PATH_MAX];
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_A, NULL), SHOAL_OK);
    assert_int_equal(shoal_store_path(&f->store, path, NULL, "tasks/home/state"), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, "name x\n", 7, 0600, NULL), SHOAL_OK);
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_A, NULL), SHOAL_ERR_FORMAT);
}

static void an_update_is_kept_whole_or_not_at_all(void **state)
{
    fixture *f = *state;
    shoal_task_record r;
    shoal_update u;
    shoal_update back;
    char path[SHOAL_PATH_MAX];
    struct stat sb;
    shoal_local_job job = job_of(f);
    assert_int_equal(shoal_task_record_open(&r, &f->store, "home", TASK_A, NULL), SHOAL_OK);
    assert_int_equal(shoal_update_load(&back, &r, &f->store, NULL), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_local_train(&job, &u, NULL), SHOAL_OK);
    assert_int_equal(shoal_update_save(&u, &r, &f->store, NULL), SHOAL_OK);
    assert_int_equal(shoal_update_load(&back, &r, &f->store, NULL), SHOAL_OK);
    assert_int_equal(back.n, u.n);
    assert_memory_equal(back.delta, u.delta, u.n * sizeof(float));
    assert_int_equal(back.weight, u.weight);
    assert_int_equal(back.number, u.number);
    assert_true(back.loss_last == u.loss_last);
    shoal_update_clear(&back);

    assert_int_equal(shoal_store_path(&f->store, path, NULL, "tasks/home/update"), SHOAL_OK);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    shoal_buf b;
    assert_int_equal(shoal_file_read(path, (size_t)sb.st_size, &b, NULL), SHOAL_OK);
    for (size_t at = 0; at < b.len; at += b.len / 7 + 1) {
        b.data[at] ^= 0x40;
        assert_int_equal(shoal_file_write_atomic(path, b.data, b.len, 0600, NULL), SHOAL_OK);
        assert_int_equal(shoal_update_load(&back, &r, &f->store, NULL), SHOAL_ERR_FORMAT);
        b.data[at] ^= 0x40;
    }
    assert_int_equal(shoal_file_write_atomic(path, b.data, b.len / 2, 0600, NULL), SHOAL_OK);
    assert_int_equal(shoal_update_load(&back, &r, &f->store, NULL), SHOAL_ERR_FORMAT);
    shoal_update_remove(&r, &f->store);
    assert_int_not_equal(access(path, F_OK), 0);
    shoal_buf_clear(&b);
    shoal_update_clear(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_update_is_what_training_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_number_is_another_update, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopped_training_goes_on_to_the_same_bits, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_bound_on_memory_changes_no_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_adapter_of_another_rank_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counters_survive_and_names_do_not_clash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_an_error_not_a_new_start, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_update_is_kept_whole_or_not_at_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
