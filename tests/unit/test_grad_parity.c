/* Gradients of adapters in every family and every type of weights against PyTorch: transformers'
 * own models and PEFT's adapters over the dequantised weights (tests/kat/gen/grad_parity.py).
 * The samples share their beginning, so what is compared went through packing as well. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "tests/support/grad_case.h"
#include "tests/support/safetensors_read.h"

/* What a mode is held to: per matrix, the cosine's distance from 1 and the difference over the
 * reference's length; the mean loss in nats. */
typedef struct mode {
    const char *name;
    bool exact;
    double cosine, error, loss;
} mode;

static const mode EXACT = {"exact", true, 1e-4, 1e-3, 1e-5};
static const mode FAST = {"fast", false, 1e-3, 1e-1, 5e-2};

static safetensors *reference;

/* "llama/Q4_0/grad": packed weights have the values, and so the gradient, of their plain type. */
static const char *key_of(const grad_family *f, shoal_type type, const char *what, char key[64])
{
    const shoal_type_info *info = shoal_type_get((uint32_t)shoal_type_plain(type));
    (void)snprintf(key, 64, "%s/%s/%s", f->name, info->name, what);
    return key;
}

/* The reference's gradient in the adapter's order, [a->n_params]; to be freed. */
static float *read_gradient(const grad_family *f, shoal_type type, const shoal_adapter *a)
{
    char key[64];
    size_t n_matrices = 2 * SHOAL_N_PROJ * a->cfg.n_layer;
    float *grad = shoal_calloc(a->n_params, sizeof *grad);
    int16_t *codes = shoal_calloc(a->n_params, sizeof *codes);
    assert_true(grad != NULL && codes != NULL);
    const float *scales = safetensors_get(reference, key_of(f, type, "scales", key), n_matrices);
    safetensors_read_i16(reference, key_of(f, type, "grad", key), codes, a->n_params);
    for (size_t i = 0, at = 0; i < n_matrices; i++) {
        const shoal_lora_pair *pair = &a->pairs[i / 2];
        const float *next = i + 1 < n_matrices ? a->pairs[(i + 1) / 2].a : a->params + a->n_params;
        size_t end = (size_t)((i % 2 == 0 ? pair->b : next) - a->params);
        for (; at < end; at++) {
            grad[at] = scales[i] * (float)codes[at] / 32767.0f;
        }
    }
    shoal_free(codes);
    return grad;
}

/* The worst of a gradient's matrices. */
typedef struct deviation {
    double cosine, error, loss;
} deviation;

static void compare_matrix(const float *got, const float *want, size_t n, deviation *d)
{
    double dot = 0.0, got2 = 0.0, want2 = 0.0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)got[i] * (double)want[i];
        got2 += (double)got[i] * (double)got[i];
        want2 += (double)want[i] * (double)want[i];
    }
    double error = fixture_relative_error(got, want, n);
    double cosine = 1.0 - dot / sqrt(got2 * want2);
    if (!(cosine <= d->cosine)) d->cosine = cosine; /* also takes a NaN */
    if (!(error <= d->error)) d->error = error;
}

static void compare_gradient(const float *got, const float *want, const shoal_adapter *a,
                             deviation *d)
{
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0, cols = 0;
        const shoal_lora_pair *pair = &a->pairs[i];
        shoal_config_proj_shape(&a->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        size_t at_a = (size_t)(pair->a - a->params), at_b = (size_t)(pair->b - a->params);
        compare_matrix(got + at_a, want + at_a, pair->rank * cols, d);
        compare_matrix(got + at_b, want + at_b, rows * pair->rank, d);
    }
}

static deviation run_case(const grad_family *f, shoal_type type, const shoal_exec *ex)
{
    char key[64];
    shoal_error err = {0};
    fixture_samples s;
    shoal_tiny_opts opts = grad_case_opts(f, &type);
    shoal_model *m = fixture_model(GRAD_CASE_SEED, &opts);
    shoal_adapter *a = grad_case_adapter(m);
    grad_case_samples(m, &s);
    shoal_trainer *tr = fixture_trainer(m, a, ex, 80, SHOAL_RECOMPUTE_AUTO);
    shoal_loss loss = {0};
    assert_int_equal(shoal_trainer_accumulate(tr, s.items, FIXTURE_SAMPLES,
                                              1.0f / (float)s.n_targets, &loss, &err),
                     SHOAL_OK);
    assert_true(loss.n_rows < loss.n_tokens); /* beginnings are shared */
    deviation d = {0};
    const float *want_loss = safetensors_get(reference, key_of(f, type, "loss", key), 1);
    d.loss = fabs(loss.nll_sum / (double)s.n_targets - (double)*want_loss);
    float *want = read_gradient(f, type, a);
    compare_gradient(shoal_trainer_grad(tr), want, a, &d);
    shoal_free(want);
    shoal_trainer_close(tr);
    shoal_adapter_close(a);
    shoal_model_close(m);
    return d;
}

/* All cases of a mode as a table: 1 - cosine of the worst matrix of each. Returns how many miss
 * the mode's bounds. */
static size_t run_table(const mode *to)
{
    size_t missed = 0;
    fixture_exec exec;
    const grad_family *f = NULL;
    const shoal_type *type = NULL;
    fixture_exec_open(&exec, 2, to->exact);
    (void)printf("| %s |", to->name);
    for (size_t i = 0; (f = grad_family_at(i)) != NULL; i++) {
        (void)printf(" %s |", f->name);
    }
    for (size_t j = 0; (type = grad_type_at(j)) != NULL; j++) {
        (void)printf("\n| %s |", shoal_type_get((uint32_t)*type)->name);
        for (size_t i = 0; (f = grad_family_at(i)) != NULL; i++) {
            deviation d = run_case(f, *type, &exec.ex);
            bool held = d.cosine <= to->cosine && d.error <= to->error && d.loss <= to->loss;
            (void)printf(" %.1e |", d.cosine);
            missed += !held;
            if (held) continue;
            print_error("%s %s: 1 - cosine %.1e, error %.1e, loss off by %.1e\n", f->name,
                        shoal_type_get((uint32_t)*type)->name, d.cosine, d.error, d.loss);
        }
    }
    (void)printf("\n");
    fixture_exec_close(&exec);
    return missed;
}

static void exact_gradients_are_those_of_torch(void **state)
{
    (void)state;
    assert_int_equal(run_table(&EXACT), 0);
}

static void fast_gradients_are_close_to_those_of_torch(void **state)
{
    (void)state;
    assert_int_equal(run_table(&FAST), 0);
}

static int open_reference(void **state)
{
    (void)state;
    reference = safetensors_open("tests/kat/grad_parity.safetensors");
    return 0;
}

static int close_reference(void **state)
{
    (void)state;
    safetensors_close(reference);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_gradients_are_those_of_torch),
        cmocka_unit_test(fast_gradients_are_close_to_those_of_torch),
    };
    return cmocka_run_group_tests(tests, open_reference, close_reference);
}
