/* Training of the real model against PyTorch + PEFT on the dequantised weights of the same file
 * (vectors smollm2-135m): loss, every gradient tensor, eight optimiser steps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/base/mem.h"
#include "tests/support/safetensors_read.h"
#include "tests/support/train_fixture.h"
#include "tests/support/vectors.h"

enum { MAX_SAMPLES = 8, MAX_LENGTH = 256, RANK = 4 };

typedef struct batch {
    int32_t ids[MAX_SAMPLES][MAX_LENGTH];
    uint8_t mask[MAX_SAMPLES][MAX_LENGTH];
    shoal_sample items[MAX_SAMPLES];
    double loss[MAX_SAMPLES]; /* reference: mean of each */
    size_t n;
    size_t n_targets;
    double mean_loss; /* reference: over all targets */
} batch;

static shoal_model *model;
static batch b;

static void read_batch(void)
{
    json_t *root = vectors_load("smollm2-135m/train_batch.json");
    json_t *samples = json_object_get(root, "samples");
    json_t *per_sample = json_object_get(root, "per_sample_loss");
    b.n = json_array_size(samples);
    assert_true(b.n > 0 && b.n <= MAX_SAMPLES);
    assert_int_equal(json_array_size(per_sample), b.n);
    b.mean_loss = json_number_value(json_object_get(root, "mean_loss"));
    for (size_t i = 0; i < b.n; i++) {
        json_t *ids = json_object_get(json_array_get(samples, i), "ids");
        json_t *mask = json_object_get(json_array_get(samples, i), "mask");
        size_t n = json_array_size(ids);
        assert_true(n <= MAX_LENGTH);
        for (size_t j = 0; j < n; j++) {
            b.ids[i][j] = (int32_t)json_integer_value(json_array_get(ids, j));
            b.mask[i][j] = json_integer_value(json_array_get(mask, j)) != 0;
        }
        b.items[i] = (shoal_sample){b.ids[i], b.mask[i], n};
        b.loss[i] = json_number_value(json_array_get(json_array_get(per_sample, i), 0));
        size_t targets = shoal_sample_targets(&b.items[i]);
        assert_int_equal(json_integer_value(json_array_get(json_array_get(per_sample, i), 1)),
                         targets);
        b.n_targets += targets;
    }
    json_decref(root);
}

/* The adapter of lora_init and a trainer over it. */
typedef struct rig {
    fixture_exec exec;
    shoal_adapter *a;
    shoal_trainer *tr;
} rig;

static void rig_open(rig *r, bool exact)
{
    shoal_error err = {0};
    r->a = fixture_adapter(model, RANK, SHOAL_TARGETS_ALL, 0, 1);
    safetensors *init =
        safetensors_open(vectors_path("smollm2-135m/lora_init/adapter_model.safetensors"));
    safetensors_read_peft(init, r->a, r->a->params);
    safetensors_close(init);
    fixture_exec_open(&r->exec, 2, exact);
    shoal_trainer_options opts = {.plan = {.max_tokens = 512}, .weight_decay = 0.01f, .clip = 1.0f};
    assert_int_equal(shoal_trainer_open(&r->tr, model, r->a, &r->exec.ex, &opts, &err), SHOAL_OK);
}

static void rig_close(rig *r)
{
    shoal_trainer_close(r->tr);
    shoal_adapter_close(r->a);
    fixture_exec_close(&r->exec);
}

static double accumulate(rig *r, double *nll)
{
    shoal_error err = {0};
    shoal_loss loss = {.nll = nll};
    assert_int_equal(
        shoal_trainer_accumulate(r->tr, b.items, b.n, 1.0f / (float)b.n_targets, &loss, &err),
        SHOAL_OK);
    return loss.nll_sum / (double)b.n_targets;
}

/* Loss differences, the worst tensor of the gradient, and the gradient as one vector. */
typedef struct deviation {
    double loss, sample_loss, cosine, error, whole_cosine;
} deviation;

static void compare_tensor(const float *got, const float *want, size_t n, deviation *d)
{
    double dot = 0.0;
    double got2 = 0.0;
    double want2 = 0.0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)got[i] * (double)want[i];
        got2 += (double)got[i] * (double)got[i];
        want2 += (double)want[i] * (double)want[i];
    }
    d->cosine = fmin(d->cosine, dot / sqrt(got2 * want2));
    d->error = fmax(d->error, fixture_relative_error(got, want, n));
}

static deviation compare_gradient(bool exact)
{
    rig r;
    double nll[MAX_SAMPLES];
    deviation d = {0.0, 0.0, 1.0, 0.0, 0.0};
    deviation whole = {0.0, 0.0, 1.0, 0.0, 0.0};
    rig_open(&r, exact);
    d.loss = fabs(accumulate(&r, nll) - b.mean_loss);
    for (size_t i = 0; i < b.n; i++) {
        double mean = nll[i] / (double)shoal_sample_targets(&b.items[i]);
        d.sample_loss = fmax(d.sample_loss, fabs(mean - b.loss[i]));
    }
    float *want = shoal_calloc(r.a->n_params, sizeof *want);
    assert_non_null(want);
    safetensors *grad = safetensors_open(vectors_path("smollm2-135m/lora_grad.safetensors"));
    safetensors_read_peft(grad, r.a, want);
    for (size_t i = 0; i < model->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&model->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        size_t at_a = (size_t)(r.a->pairs[i].a - r.a->params);
        size_t at_b = (size_t)(r.a->pairs[i].b - r.a->params);
        const float *got = shoal_trainer_grad(r.tr);
        compare_tensor(got + at_a, want + at_a, RANK * cols, &d);
        compare_tensor(got + at_b, want + at_b, RANK * rows, &d);
    }
    compare_tensor(shoal_trainer_grad(r.tr), want, r.a->n_params, &whole);
    d.whole_cosine = whole.cosine;
    safetensors_close(grad);
    shoal_free(want);
    rig_close(&r);
    print_message("%s: loss off by %.2g, of a sample by %.2g; worst tensor: cosine 1 - %.2g, "
                  "relative error %.2g; whole: cosine 1 - %.2g\n",
                  exact ? "exact" : "fast", d.loss, d.sample_loss, 1.0 - d.cosine, d.error,
                  1.0 - d.whole_cosine);
    return d;
}

static void test_gradient_exact(void **state)
{
    (void)state;
    deviation d = compare_gradient(true);
    assert_true(d.loss < 1e-4);
    assert_true(d.sample_loss < 3e-4);
    assert_true(d.cosine >= 0.9999);
    assert_true(d.error <= 1e-3);
}

/* Eight-bit activations make it a slightly different model (llama.cpp's run of this file is off by
 * up to 0.65 nats a token from the same reference), whose gradient is close, not equal. */
static void test_gradient_fast(void **state)
{
    (void)state;
    deviation d = compare_gradient(false);
    assert_true(d.loss < 0.05);
    assert_true(d.cosine >= 0.999);
    assert_true(d.whole_cosine >= 0.9999);
}

/* Loss and gradient norm over the steps of trajectory.json, each within `tolerance` of it. */
static void follow_trajectory(bool exact, double tolerance)
{
    rig r;
    shoal_error err = {0};
    double worst = 0.0;
    json_t *root = vectors_load("smollm2-135m/trajectory.json");
    json_t *steps = json_object_get(root, "loss_gradnorm");
    assert_int_equal(json_array_size(steps), 8);
    rig_open(&r, exact);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        double want_loss = json_number_value(json_array_get(json_array_get(steps, i), 0));
        double want_norm = json_number_value(json_array_get(json_array_get(steps, i), 1));
        double norm = 0.0;
        double loss = accumulate(&r, NULL);
        assert_int_equal(shoal_trainer_step(r.tr, 1e-3f, &norm, &err), SHOAL_OK);
        worst = fmax(worst, fabs(loss - want_loss) / want_loss);
        worst = fmax(worst, fabs(norm - want_norm) / want_norm);
    }
    print_message("%s: worst step %.3g %% off\n", exact ? "exact" : "fast", 100.0 * worst);
    assert_true(worst <= tolerance);
    json_decref(root);
    rig_close(&r);
}

static void test_trajectory(void **state)
{
    (void)state;
    follow_trajectory(true, 0.01);
}

static void test_trajectory_fast(void **state)
{
    (void)state;
    follow_trajectory(false, 0.01);
}

/* The same adapter as a GGUF file (rows of q and k in that file's order) and as PEFT wrote it. */
static void test_gguf_adapter_equals_peft(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_adapter *a = NULL;
    if (shoal_adapter_load(&a, model, vectors_path("smollm2-135m/adapter/adapter.gguf"), &err) !=
        SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(a->spec.rank, RANK);
    assert_true(a->spec.alpha == 8.0f);
    assert_int_equal(a->spec.targets, SHOAL_TARGETS_ALL);
    float *want = shoal_calloc(a->n_params, sizeof *want);
    assert_non_null(want);
    safetensors *s =
        safetensors_open(vectors_path("smollm2-135m/adapter/adapter_model.safetensors"));
    safetensors_read_peft(s, a, want);
    assert_memory_equal(a->params, want, a->n_params * sizeof *want);
    safetensors_close(s);
    shoal_free(want);
    shoal_adapter_close(a);
}

static int open_model(void **state)
{
    (void)state;
    shoal_error err = {0};
    assert_int_equal(shoal_model_open(&model, real_model_path(), &err), SHOAL_OK);
    read_batch();
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    shoal_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_exact),
        cmocka_unit_test(test_gradient_fast),
        cmocka_unit_test(test_trajectory),
        cmocka_unit_test(test_trajectory_fast),
        cmocka_unit_test(test_gguf_adapter_equals_peft),
    };
    (void)real_model_path(); /* skips before the first test when an input is missing */
    (void)vectors_path("smollm2-135m/train_batch.json");
    return cmocka_run_group_tests(tests, open_model, close_model);
}
