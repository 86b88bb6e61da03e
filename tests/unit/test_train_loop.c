/* The training loop and its checkpoints: every sample once an epoch, seeds, stop and resume to the
 * bit, and what a checkpoint refuses. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/train/checkpoint.h"
#include "lora/train/loop.h"
#include "tests/support/temp_dir.h"
#include "tests/support/train_fixture.h"

static char dir[TEMP_DIR_MAX];
static char path[TEMP_DIR_MAX + 8]; /* of a checkpoint */
static shoal_model *model;
static fixture_exec exec;
static fixture_samples samples;

static const shoal_train_options OPTIONS = {.batch = 2,
                                            .epochs = 4,
                                            .seed = 5,
                                            .schedule = SHOAL_SCHEDULE_COSINE,
                                            .lr = 3e-3f,
                                            .warmup_ratio = 0.2};

static int open_all(void **state)
{
    (void)state;
    temp_dir_make(dir);
    (void)snprintf(path, sizeof path, "%s/ckpt", dir);
    model = fixture_model(4, NULL);
    fixture_exec_open(&exec, 1, false);
    fixture_samples_fill(&samples, model->cfg.n_vocab, 40);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fixture_exec_close(&exec);
    shoal_model_close(model);
    temp_dir_remove(dir);
    return 0;
}

/* A trainer with its adapter, counting what the callback hears. */
typedef struct rig {
    shoal_adapter *a;
    shoal_trainer *tr;
    uint64_t steps;
    uint64_t stop_at; /* cancel in the middle of this step; 0: never */
    bool stopping;
    size_t polls;
    size_t supervised;
    double first_loss, last_loss;
    double measured[32]; /* held-out losses, by measurement */
    size_t n_measured;
    uint64_t best_step; /* as told */
} rig;

static bool stop_inside(void *ctx)
{
    rig *r = ctx;
    return r->stop_at != 0 && r->steps + 1 == r->stop_at && ++r->polls > 3;
}

/* How a rig trains. */
typedef struct method {
    shoal_optimizer optimizer;
    bool freeze_a;
    double dropout, neftune;
} method;

static const method METHODS[] = {
    {.optimizer = SHOAL_OPTIMIZER_ADAMW},
    {.optimizer = SHOAL_OPTIMIZER_ADAMW8},
    {.optimizer = SHOAL_OPTIMIZER_SGD},
    {.optimizer = SHOAL_OPTIMIZER_ADAMW, .freeze_a = true},
    {.optimizer = SHOAL_OPTIMIZER_ADAMW8, .freeze_a = true},
    {.optimizer = SHOAL_OPTIMIZER_ADAMW, .dropout = 0.2, .neftune = 5.0},
};
static const method *chosen = &METHODS[0];

static void rig_open(rig *r)
{
    shoal_error err = {0};
    memset(r, 0, sizeof *r);
    r->a = fixture_adapter(model, 4, SHOAL_TARGETS_ALL, 0, 2);
    shoal_trainer_options opts = {.plan = {.max_tokens = 64,
                                           .optimizer = chosen->optimizer,
                                           .freeze_a = chosen->freeze_a,
                                           .dropout = chosen->dropout,
                                           .neftune = chosen->neftune},
                                  .seed = OPTIONS.seed,
                                  .weight_decay = 0.01f,
                                  .clip = 1.0f,
                                  .stop = stop_inside,
                                  .stop_ctx = r};
    assert_int_equal(shoal_trainer_open(&r->tr, model, r->a, &exec.ex, &opts, &err), SHOAL_OK);
}

static void rig_close(rig *r)
{
    shoal_trainer_close(r->tr);
    shoal_adapter_close(r->a);
}

static shoal_status note_step(void *ctx, const shoal_train_step *step, shoal_error *err)
{
    (void)err;
    rig *r = ctx;
    r->steps++;
    assert_int_equal(step->step, step->cursor->step);
    assert_true(step->lr > 0.0f);
    assert_true(step->grad_norm > 0.0);
    if (step->step == 1) {
        r->first_loss = step->loss;
    }
    r->last_loss = step->loss;
    r->supervised += step->supervised_tokens;
    return SHOAL_OK;
}

static shoal_status run(rig *r, const shoal_train_options *opts, shoal_train_cursor *cursor)
{
    shoal_error err = {0};
    return shoal_train_run(r->tr, samples.items, FIXTURE_SAMPLES, opts, cursor, note_step, r, &err);
}

static void test_epochs(void **state)
{
    (void)state;
    rig r;
    shoal_train_cursor cursor = {0};
    rig_open(&r);
    assert_int_equal(shoal_train_total_steps(&OPTIONS, FIXTURE_SAMPLES), 12);
    assert_int_equal(run(&r, &OPTIONS, &cursor), SHOAL_OK);
    assert_int_equal(r.steps, 12);
    assert_int_equal(r.supervised, 4 * samples.n_targets); /* each sample once an epoch */
    assert_int_equal(cursor.epoch, 4);
    assert_int_equal(cursor.next, 0);
    assert_int_equal(cursor.step, 12);
    assert_true(r.last_loss < r.first_loss);
    rig_close(&r);
}

static void test_seed_decides_the_order(void **state)
{
    (void)state;
    rig r[3];
    shoal_train_options opts = OPTIONS;
    for (size_t i = 0; i < 3; i++) {
        shoal_train_cursor cursor = {0};
        opts.seed = i < 2 ? 77 : 78;
        rig_open(&r[i]);
        assert_int_equal(run(&r[i], &opts, &cursor), SHOAL_OK);
    }
    size_t bytes = r[0].a->n_params * sizeof(float);
    assert_memory_equal(r[0].a->params, r[1].a->params, bytes);
    assert_int_not_equal(memcmp(r[0].a->params, r[2].a->params, bytes), 0);
    for (size_t i = 0; i < 3; i++) {
        rig_close(&r[i]);
    }
}

static void test_max_steps(void **state)
{
    (void)state;
    rig r;
    shoal_train_options opts = OPTIONS;
    shoal_train_cursor cursor = {0};
    opts.max_steps = 5;
    rig_open(&r);
    assert_int_equal(run(&r, &opts, &cursor), SHOAL_OK);
    assert_int_equal(r.steps, 5);
    opts.epochs = 0;
    opts.max_steps = 20; /* more than four epochs */
    assert_int_equal(shoal_train_total_steps(&opts, FIXTURE_SAMPLES), 20);
    rig_close(&r);
}

static void save(const rig *r, uint64_t id, const shoal_train_cursor *cursor, const char *notes)
{
    shoal_error err = {0};
    shoal_buf b = shoal_buf_init(64);
    assert_true(shoal_buf_put_str(&b, notes));
    if (shoal_checkpoint_save(r->tr, id, cursor, &b, path, 0600, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    shoal_buf_clear(&b);
}

static shoal_status load(shoal_trainer *tr, uint64_t id, shoal_train_cursor *cursor,
                         shoal_error *err)
{
    return shoal_checkpoint_load(tr, id, path, cursor, NULL, err);
}

static shoal_train_cursor last_cursor; /* where the run that was broken ended */

/* Stops inside step `at` (or in a measurement before it), saves, restores into a new trainer, goes
 * on. */
static void run_broken(rig *r, const shoal_train_options *opts, uint64_t at)
{
    rig first;
    shoal_error err = {0};
    shoal_train_cursor cursor = {0};
    uint64_t id = shoal_train_run_id(samples.items, FIXTURE_SAMPLES, opts);

    rig_open(&first);
    first.stop_at = at;
    assert_int_equal(run(&first, opts, &cursor), SHOAL_ERR_CANCELLED);
    assert_int_equal(cursor.step, at - 1);
    save(&first, id, &cursor, "seen so far");
    rig_close(&first);

    rig_open(r);
    memset(r->a->params, 0, r->a->n_params * sizeof(float));
    memset(&cursor, 0xff, sizeof cursor);
    shoal_buf notes = shoal_buf_init(64);
    assert_int_equal(shoal_checkpoint_load(r->tr, id, path, &cursor, &notes, &err), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&notes), "seen so far");
    shoal_buf_clear(&notes);
    assert_int_equal(run(r, opts, &cursor), SHOAL_OK);
    last_cursor = cursor;
}

static void check_resume(const method *how)
{
    chosen = how;
    static const uint64_t AT[] = {1, 2, 3, 4, 12}; /* 4: the first of the second epoch */
    rig whole;
    shoal_train_cursor cursor = {0};
    rig_open(&whole);
    assert_int_equal(run(&whole, &OPTIONS, &cursor), SHOAL_OK);
    size_t bytes = whole.a->n_params * sizeof(float);
    const shoal_optim *want = shoal_trainer_optim(whole.tr);
    for (size_t i = 0; i < sizeof AT / sizeof *AT; i++) {
        rig broken;
        run_broken(&broken, &OPTIONS, AT[i]);
        assert_memory_equal(broken.a->params, whole.a->params, bytes);
        const shoal_optim *got = shoal_trainer_optim(broken.tr);
        assert_memory_equal(got->floats, want->floats, want->n_floats * sizeof(float));
        if (want->n_codes > 0) assert_memory_equal(got->codes, want->codes, want->n_codes);
        rig_close(&broken);
    }
    rig_close(&whole);
}

/* With every optimiser, and everything that draws random numbers. */
static void test_resume_gives_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; i++) {
        check_resume(&METHODS[i]);
    }
    chosen = &METHODS[0];
}

/* ---- held-out loss on the way ---------------------------------------------------------------- */

static shoal_status note_measure(void *ctx, const shoal_train_measure *m, shoal_error *err)
{
    (void)err;
    rig *r = ctx;
    assert_true(r->n_measured < sizeof r->measured / sizeof *r->measured);
    assert_int_equal(m->cursor->measured, m->step);
    r->measured[r->n_measured++] = m->loss;
    if (m->is_best) r->best_step = m->step;
    return SHOAL_OK;
}

/* A run whose held-out loss falls, and then rises: the rate is too high for this text. */
static shoal_train_options watching(const fixture_samples *held, uint64_t every, uint64_t patience)
{
    shoal_train_options opts = OPTIONS;
    opts.epochs = 20;
    opts.lr = 3e-2f;
    opts.watch = (shoal_train_watch){held->items, FIXTURE_SAMPLES, every, patience, note_measure};
    return opts;
}

/* It ends when the best is `patience` measurements old; measuring changes no step. */
static void test_patience(void **state)
{
    (void)state;
    rig r;
    rig plain;
    fixture_samples held;
    shoal_train_cursor cursor = {0};
    fixture_samples_fill(&held, model->cfg.n_vocab, 41);
    shoal_train_options opts = watching(&held, 2, 3);
    rig_open(&r);
    assert_int_equal(run(&r, &opts, &cursor), SHOAL_OK);
    assert_true(shoal_train_ended_early(&opts, &cursor));
    assert_true(cursor.step < shoal_train_total_steps(&opts, FIXTURE_SAMPLES));
    assert_int_equal(cursor.stale, 3);
    assert_int_equal(cursor.best_step, cursor.step - 6);
    assert_int_equal(r.best_step, cursor.best_step);
    assert_int_equal(r.n_measured, cursor.step / 2);
    for (size_t i = 0; i < r.n_measured; i++) {
        assert_true(r.measured[i] >= cursor.best_loss);
        assert_true((r.measured[i] == cursor.best_loss) == (2 * (i + 1) == cursor.best_step));
    }
    shoal_train_options blind = opts; /* the same steps, unwatched */
    shoal_train_cursor end = {0};
    blind.watch = (shoal_train_watch){0};
    rig_open(&plain);
    plain.stop_at = cursor.step + 1;
    assert_int_equal(run(&plain, &blind, &end), SHOAL_ERR_CANCELLED);
    assert_memory_equal(plain.a->params, r.a->params, r.a->n_params * sizeof(float));
    rig_close(&plain);
    rig_close(&r);
}

/* Without patience it goes on to the end and measures there as well. */
static void test_last_step_is_measured(void **state)
{
    (void)state;
    rig r;
    fixture_samples held;
    shoal_train_cursor cursor = {0};
    fixture_samples_fill(&held, model->cfg.n_vocab, 41);
    shoal_train_options opts = watching(&held, 5, 0);
    opts.max_steps = 12;
    rig_open(&r);
    assert_int_equal(run(&r, &opts, &cursor), SHOAL_OK);
    assert_int_equal(cursor.step, 12);
    assert_int_equal(r.n_measured, 3); /* after 5, 10 and 12 */
    assert_int_equal(cursor.measured, 12);
    assert_false(shoal_train_ended_early(&opts, &cursor));
    assert_int_equal(run(&r, &opts, &cursor), SHOAL_OK); /* at the end already: nothing more */
    assert_int_equal(r.n_measured, 3);
    rig_close(&r);
}

/* Stopped anywhere, in a step or in a measurement: the same end, the same best, with dropout. */
static void test_resume_keeps_the_best(void **state)
{
    (void)state;
    rig whole;
    fixture_samples held;
    shoal_train_cursor cursor = {0};
    chosen = &METHODS[sizeof METHODS / sizeof *METHODS - 1];
    fixture_samples_fill(&held, model->cfg.n_vocab, 41);
    shoal_train_options opts = watching(&held, 2, 3);
    rig_open(&whole);
    assert_int_equal(run(&whole, &opts, &cursor), SHOAL_OK);
    assert_true(shoal_train_ended_early(&opts, &cursor));
    for (uint64_t at = 1; at <= cursor.step; at++) {
        rig broken;
        run_broken(&broken, &opts, at);
        assert_memory_equal(&last_cursor, &cursor, sizeof cursor);
        assert_memory_equal(broken.a->params, whole.a->params, whole.a->n_params * sizeof(float));
        rig_close(&broken);
    }
    rig_close(&whole);
    chosen = &METHODS[0];
}

/* Another patience, cadence or held-out text is another run; none of them changes other runs. */
static void test_watch_in_run_id(void **state)
{
    (void)state;
    fixture_samples held;
    fixture_samples other;
    fixture_samples_fill(&held, model->cfg.n_vocab, 41);
    fixture_samples_fill(&other, model->cfg.n_vocab, 42);
    uint64_t ids[4];
    shoal_train_options opts[4] = {watching(&held, 2, 3), watching(&held, 3, 3),
                                   watching(&held, 2, 4), watching(&other, 2, 3)};
    for (size_t i = 0; i < 4; i++) {
        ids[i] = shoal_train_run_id(samples.items, FIXTURE_SAMPLES, &opts[i]);
        for (size_t k = 0; k < i; k++) {
            assert_true(ids[k] != ids[i]);
        }
    }
    opts[0].watch.every = opts[3].watch.every = 0;
    opts[0].watch.patience = opts[3].watch.patience = 0;
    assert_true(shoal_train_run_id(samples.items, FIXTURE_SAMPLES, &opts[0]) ==
                shoal_train_run_id(samples.items, FIXTURE_SAMPLES, &opts[3]));
}

/* Changes the checkpoint to the first n bytes of `b`. */
static void rewrite(const shoal_buf *b, size_t n)
{
    assert_int_equal(shoal_file_write_atomic(path, b->data, n, 0600, NULL), SHOAL_OK);
}

/* Every damaged byte is noticed and leaves the trainer alone. */
static void test_damaged_checkpoint(void **state)
{
    (void)state;
    rig r;
    shoal_error err = {0};
    shoal_train_cursor cursor = {.epoch = 1, .next = 2, .step = 3};
    shoal_buf saved;
    rig_open(&r);
    save(&r, 9, &cursor, "notes");
    assert_int_equal(shoal_file_read(path, 1 << 24, &saved, &err), SHOAL_OK);
    float *before = shoal_alloc(r.a->n_params * sizeof *before);
    assert_non_null(before);
    memcpy(before, r.a->params, r.a->n_params * sizeof *before);

    for (size_t i = 0; i < saved.len; i += i < 150 ? 1 : saved.len / 13) {
        saved.data[i] ^= 0x10;
        rewrite(&saved, saved.len);
        assert_int_not_equal(load(r.tr, 9, &cursor, &err), SHOAL_OK);
        saved.data[i] ^= 0x10;
        rewrite(&saved, i);
        assert_int_equal(load(r.tr, 9, &cursor, &err), SHOAL_ERR_FORMAT);
    }
    saved.data[8] = 3; /* an earlier version */
    rewrite(&saved, saved.len);
    assert_int_equal(load(r.tr, 9, &cursor, &err), SHOAL_ERR_UNSUPPORTED);
    assert_true(err.hint[0] != '\0');
    saved.data[8] = 4;
    assert_memory_equal(before, r.a->params, r.a->n_params * sizeof *before);
    assert_int_equal(cursor.next, 2);
    rewrite(&saved, saved.len);
    assert_int_equal(load(r.tr, 9, &cursor, &err), SHOAL_OK);
    shoal_free(before);
    shoal_buf_clear(&saved);
    rig_close(&r);
}

static void test_checkpoint_of_another_run(void **state)
{
    (void)state;
    rig r;
    shoal_error err = {0};
    shoal_train_cursor cursor = {0};
    shoal_train_options opts = OPTIONS;
    uint64_t id = shoal_train_run_id(samples.items, FIXTURE_SAMPLES, &OPTIONS);
    rig_open(&r);
    save(&r, id, &cursor, "");

    opts.lr = 4e-3f;
    uint64_t other = shoal_train_run_id(samples.items, FIXTURE_SAMPLES, &opts);
    assert_int_equal(load(r.tr, other, &cursor, &err), SHOAL_ERR_ARG);
    assert_true(err.hint[0] != '\0');
    other = shoal_train_run_id(samples.items, FIXTURE_SAMPLES - 1, &OPTIONS);
    assert_int_not_equal(id, other);

    rig sgd; /* the same run in all else */
    chosen = &METHODS[2];
    rig_open(&sgd);
    chosen = &METHODS[0];
    assert_int_equal(load(sgd.tr, id, &cursor, &err), SHOAL_ERR_ARG);
    rig_close(&sgd);

    shoal_adapter *wider = fixture_adapter(model, 5, SHOAL_TARGETS_ALL, 0, 2);
    shoal_trainer *tr = fixture_trainer(model, wider, &exec.ex, 64, SHOAL_RECOMPUTE_AUTO);
    assert_int_equal(load(tr, id, &cursor, &err), SHOAL_ERR_ARG);
    shoal_trainer_close(tr);
    shoal_adapter_close(wider);
    rig_close(&r);
}

/* Under a tight bound on memory a run must still be able to stop: neither writing a checkpoint nor
 * reading one allocates what grows with the adapter. */
static void test_checkpoint_takes_no_memory(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_train_cursor cursor = {0};
    shoal_adapter *wide = fixture_adapter(model, 64, SHOAL_TARGETS_ALL, 0, 2);
    shoal_trainer *tr = fixture_trainer(model, wide, &exec.ex, 64, SHOAL_RECOMPUTE_AUTO);
    uint64_t before = shoal_mem_bytes();
    assert_int_equal(shoal_checkpoint_save(tr, 9, &cursor, NULL, path, 0600, &err), SHOAL_OK);
    assert_int_equal(load(tr, 9, &cursor, &err), SHOAL_OK);
    assert_true(shoal_mem_bytes() - before < 16384);
    assert_true(wide->n_params * 3 * sizeof(float) > 1000000); /* what the file has */
    shoal_trainer_close(tr);
    shoal_adapter_close(wide);
}

/* Whatever write fails, the old checkpoint stays whole. */
static void test_full_disk_keeps_the_old_checkpoint(void **state)
{
    (void)state;
    rig r;
    shoal_error err = {0};
    shoal_train_cursor cursor = {.epoch = 1, .next = 2, .step = 3};
    size_t failures = 0;
    rig_open(&r);
    save(&r, 9, &cursor, "old");
    for (uint64_t k = 1;; k++) {
        const shoal_train_cursor later = {.epoch = 4, .step = 6};
        shoal_file_fail_at(k, ENOSPC);
        shoal_status st = shoal_checkpoint_save(r.tr, 9, &later, NULL, path, 0600, &err);
        shoal_file_fail_at(0, 0);
        assert_int_equal(load(r.tr, 9, &cursor, &err), SHOAL_OK);
        if (cursor.step == 6) break; /* renamed: only the directory's sync can fail now */
        assert_int_equal(st, SHOAL_ERR_FULL);
        assert_int_equal(cursor.step, 3);
        failures++;
    }
    assert_true(failures > 5);
    rig_close(&r);
}

/* Losses of 12 steps with each optimiser: 8-bit moments learn as f32 ones do, and all learn. */
static void test_optimizers_learn(void **state)
{
    (void)state;
    double last[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        rig r;
        shoal_train_cursor cursor = {0};
        shoal_train_options opts = OPTIONS;
        opts.epochs = 12;
        opts.lr = i == 2 ? 0.05f : OPTIONS.lr;
        chosen = &METHODS[i];
        rig_open(&r);
        assert_int_equal(run(&r, &opts, &cursor), SHOAL_OK);
        assert_true(r.last_loss < 0.9 * r.first_loss);
        last[i] = r.last_loss;
        rig_close(&r);
    }
    chosen = &METHODS[0];
    assert_true(fabs(last[1] - last[0]) < 0.02 * last[0]);
}

static void test_refuses_bad_options(void **state)
{
    (void)state;
    rig r;
    shoal_train_cursor cursor = {0};
    rig_open(&r);
    for (size_t i = 0; i < 6; i++) {
        shoal_train_options o = OPTIONS;
        o.batch = i == 0 ? 0 : o.batch;
        o.epochs = i == 1 ? 0 : i == 2 ? SIZE_MAX : o.epochs;
        o.lr = i == 3 ? NAN : i == 4 ? 0.0f : o.lr;
        o.warmup_ratio = i == 5 ? 1.5 : o.warmup_ratio;
        assert_int_equal(run(&r, &o, &cursor), SHOAL_ERR_ARG);
    }
    cursor.next = FIXTURE_SAMPLES;
    assert_int_equal(run(&r, &OPTIONS, &cursor), SHOAL_ERR_ARG);
    assert_int_equal(r.steps, 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_seed_decides_the_order),
        cmocka_unit_test(test_max_steps),
        cmocka_unit_test(test_resume_gives_the_same_bits),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_last_step_is_measured),
        cmocka_unit_test(test_resume_keeps_the_best),
        cmocka_unit_test(test_watch_in_run_id),
        cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_checkpoint_of_another_run),
        cmocka_unit_test(test_checkpoint_takes_no_memory),
        cmocka_unit_test(test_full_disk_keeps_the_old_checkpoint),
        cmocka_unit_test(test_optimizers_learn),
        cmocka_unit_test(test_refuses_bad_options),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
