/* The trainer on tiny models: gradients against finite differences, and everything that must not
 * change them: packing, recomputation, threads, targets left out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/trained.h"
#include "tests/support/slope.h"
#include "tests/support/train_fixture.h"

enum { MAX_TOKENS = 40 };

/* The gradient of the mean loss over all samples; returns that loss. */
static double compute_gradient(shoal_trainer *tr, const fixture_samples *s)
{
    shoal_error err = {0};
    shoal_loss loss = {0};
    float weight = 1.0f / (float)s->n_targets;
    shoal_trainer_reset(tr);
    assert_int_equal(shoal_trainer_accumulate(tr, s->items, FIXTURE_SAMPLES, weight, &loss, &err),
                     SHOAL_OK);
    assert_int_equal(loss.n_supervised, s->n_targets);
    return loss.nll_sum / (double)s->n_targets;
}

static double compute_loss(shoal_trainer *tr, const fixture_samples *s)
{
    shoal_error err = {0};
    shoal_loss loss = {0};
    assert_int_equal(shoal_trainer_loss(tr, s->items, FIXTURE_SAMPLES, &loss, &err), SHOAL_OK);
    return loss.nll_sum / (double)loss.n_supervised;
}

/* What slopes are taken of. */
typedef struct measured {
    shoal_trainer *tr;
    const fixture_samples *s;
} measured;

static double measured_loss(void *ctx)
{
    const measured *m = ctx;
    return compute_loss(m->tr, m->s);
}

static void check_finite_differences(const shoal_tiny_opts *opts, const shoal_lora_spec *spec,
                                     size_t shared)
{
    fixture_exec f;
    fixture_samples s;
    shoal_rng rng = shoal_rng_init(5);
    shoal_model *m = fixture_model(11, opts);
    shoal_adapter *a = fixture_adapter_like(m, spec, 21);
    fixture_exec_open(&f, 1, true);
    fixture_samples_fill(&s, m->cfg.n_vocab, 31);
    if (shared > 0) fixture_samples_share(&s, shared);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, MAX_TOKENS, SHOAL_RECOMPUTE_OFF);

    measured of = {tr, &s};
    compute_gradient(tr, &s);
    for (size_t i = a->spec.first_layer * SHOAL_N_PROJ; i < m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&m->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        const shoal_lora_pair *pair = &a->pairs[i];
        const float *grad = shoal_trainer_grad(tr);
        slope_check(measured_loss, &of, pair->a, pair->rank * cols, grad + (pair->a - a->params),
                    &rng);
        slope_check(measured_loss, &of, pair->b, rows * pair->rank, grad + (pair->b - a->params),
                    &rng);
    }
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

static void test_finite_differences(void **state)
{
    (void)state;
    const shoal_tiny_variant *v = NULL;
    const shoal_lora_spec plain = {3, 6.0f, SHOAL_TARGETS_ALL, 0, {0}};
    const shoal_lora_spec mixed = {3, 6.0f, SHOAL_TARGETS_ALL, 1, {1, 2, 5, 4, 3, 1, 2}};
    check_finite_differences(&shoal_tiny_variant_at(0)->opts, &mixed, 0);
    for (size_t i = 0; (v = shoal_tiny_variant_at(i)) != NULL; i++) {
        check_finite_differences(&v->opts, &plain, 0);
        check_finite_differences(&v->opts, &plain, 6);
    }
}

/* Copies into `part` the pairs it shares with `whole`, and clears all others of `whole`. */
static void restrict_to(shoal_adapter *whole, const shoal_adapter *part)
{
    for (size_t i = 0; i < whole->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&whole->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        size_t n = whole->spec.rank * (rows + cols); /* A and B lie next to each other */
        if (part->pairs[i].a != NULL) {
            memcpy(whole->pairs[i].a, part->pairs[i].a, n * sizeof(float));
        } else {
            memset(whole->pairs[i].a, 0, n * sizeof(float));
        }
    }
}

/* With fewer projections or layers adapted, backward stops early; what remains must be unchanged:
 * to the bit, or nearly where layers below the adapter attend sample by sample (lower.h). */
static void check_subset(const shoal_model *m, const shoal_exec *ex, const fixture_samples *s,
                         uint32_t targets, size_t first_layer)
{
    shoal_adapter *part = fixture_adapter(m, 4, targets, first_layer, 7);
    shoal_adapter *whole = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 8);
    restrict_to(whole, part);
    shoal_trainer *tr_part = fixture_trainer(m, part, ex, MAX_TOKENS, SHOAL_RECOMPUTE_ON);
    shoal_trainer *tr_whole = fixture_trainer(m, whole, ex, MAX_TOKENS, SHOAL_RECOMPUTE_OFF);
    double loss_part = compute_gradient(tr_part, s);
    double loss_whole = compute_gradient(tr_whole, s);
    double most = first_layer > 0 ? 2e-5 : 0.0;
    assert_true(fabs(loss_part - loss_whole) <= most * loss_whole);
    for (size_t i = 0; i < m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&m->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        if (part->pairs[i].a == NULL) {
            continue;
        }
        const float *got = shoal_trainer_grad(tr_part) + (part->pairs[i].a - part->params);
        const float *want = shoal_trainer_grad(tr_whole) + (whole->pairs[i].a - whole->params);
        assert_true(fixture_relative_error(got, want, 4 * (rows + cols)) <= most);
    }
    shoal_trainer_close(tr_part);
    shoal_trainer_close(tr_whole);
    shoal_adapter_close(part);
    shoal_adapter_close(whole);
}

static void check_subsets(const shoal_tiny_opts *opts)
{
    fixture_exec f;
    fixture_samples s;
    shoal_model *m = fixture_model(12, opts);
    fixture_exec_open(&f, 1, true);
    fixture_samples_fill(&s, m->cfg.n_vocab, 32);
    for (uint32_t p = 0; p < SHOAL_N_PROJ; p++) {
        check_subset(m, &f.ex, &s, 1u << p, p % 2);
    }
    check_subset(m, &f.ex, &s, 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_V, 0);
    check_subset(m, &f.ex, &s, SHOAL_TARGETS_ALL, 1);
    fixture_exec_close(&f);
    shoal_model_close(m);
}

static void test_subsets(void **state)
{
    (void)state;
    check_subsets(NULL);
    check_subsets(&(shoal_tiny_opts){.arch = "gemma3", .period = 2});
}

/* Gradient of one set-up, copied out. */
static double gradient_of(const shoal_model *m, unsigned threads, bool exact, size_t max_tokens,
                          shoal_recompute recompute, float *out, size_t n)
{
    fixture_exec f;
    fixture_samples s;
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    assert_int_equal(a->n_params, n);
    fixture_exec_open(&f, threads, exact);
    fixture_samples_fill(&s, m->cfg.n_vocab, 33);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, max_tokens, recompute);
    double loss = compute_gradient(tr, &s);
    memcpy(out, shoal_trainer_grad(tr), n * sizeof *out);
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    return loss;
}

static void check_same(const shoal_model *m, bool exact)
{
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    size_t n = a->n_params;
    shoal_adapter_close(a);
    float *want = shoal_alloc(n * sizeof *want);
    float *got = shoal_alloc(n * sizeof *got);
    assert_non_null(want);
    assert_non_null(got);

    double loss = gradient_of(m, 1, exact, 80, SHOAL_RECOMPUTE_OFF, want, n);
    /* Recomputation and threads: the same bits. */
    assert_true(loss == gradient_of(m, 1, exact, 80, SHOAL_RECOMPUTE_ON, got, n));
    assert_memory_equal(got, want, n * sizeof *want);
    assert_true(loss == gradient_of(m, 2, exact, 80, SHOAL_RECOMPUTE_ON, got, n));
    assert_memory_equal(got, want, n * sizeof *want);
    assert_true(loss == gradient_of(m, 3, exact, 80, SHOAL_RECOMPUTE_OFF, got, n));
    assert_memory_equal(got, want, n * sizeof *want);
    /* All samples in one row of tokens, or one by one: the same sums in another order. In 16 bit a
     * last bit can become a step of a code, or of a binary16 of the stream. */
    double split = gradient_of(m, 1, exact, FIXTURE_LONGEST, SHOAL_RECOMPUTE_OFF, got, n);
    assert_true(fabs(split - loss) <= (exact ? 1e-6 : 5e-5) * loss);
    assert_true(fixture_relative_error(got, want, n) < (exact ? 1e-5 : 1e-3));
    shoal_free(want);
    shoal_free(got);
}

static void test_same_gradient(void **state)
{
    (void)state;
    static const char *const ARCHS[] = {"llama", "qwen2", "qwen3", "gemma3"};
    for (size_t i = 0; i < sizeof ARCHS / sizeof ARCHS[0]; i++) {
        shoal_model *m = fixture_model(13, &(shoal_tiny_opts){.arch = ARCHS[i]});
        check_same(m, true);
        check_same(m, false);
        shoal_model_close(m);
    }
}

/* A packed sample must not see its neighbours: changing one leaves the others' losses alone. */
static void test_packed_samples_are_apart(void **state)
{
    (void)state;
    fixture_exec f;
    fixture_samples s;
    shoal_error err = {0};
    double before[FIXTURE_SAMPLES];
    double after[FIXTURE_SAMPLES];
    shoal_loss loss = {.nll = before};
    shoal_model *m = fixture_model(14, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, 1, true);
    fixture_samples_fill(&s, m->cfg.n_vocab, 34);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, 80, SHOAL_RECOMPUTE_AUTO);
    assert_int_equal(shoal_trainer_loss(tr, s.items, FIXTURE_SAMPLES, &loss, &err), SHOAL_OK);
    s.ids[1][2] ^= 1;
    loss.nll = after;
    assert_int_equal(shoal_trainer_loss(tr, s.items, FIXTURE_SAMPLES, &loss, &err), SHOAL_OK);
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        assert_true((before[i] == after[i]) == (i != 1));
    }
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    fixture_exec f;
    fixture_samples s;
    shoal_error err = {0};
    double norm = 0.0;
    shoal_model *m = fixture_model(15, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, 2, false);
    fixture_samples_fill(&s, m->cfg.n_vocab, 35);
    uint64_t before_open = shoal_mem_count();
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, MAX_TOKENS, SHOAL_RECOMPUTE_AUTO);
    uint64_t after_open = shoal_mem_count();
    assert_int_equal(after_open - before_open, 2); /* the struct and the arena */

    double first = compute_gradient(tr, &s);
    for (size_t i = 0; i < 30; i++) {
        compute_gradient(tr, &s);
        assert_int_equal(shoal_trainer_step(tr, 3e-3f, &norm, &err), SHOAL_OK);
        assert_true(norm > 0.0);
    }
    assert_int_equal(shoal_mem_count(), after_open);
    assert_true(compute_loss(tr, &s) < 0.8 * first); /* and it learns */
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

/* The trainer of an adapter whose A is frozen. */
static shoal_trainer *frozen_trainer(const shoal_model *m, shoal_adapter *a, const shoal_exec *ex)
{
    shoal_error err = {0};
    shoal_trainer *tr = NULL;
    shoal_trainer_options opts = {.plan = {.max_tokens = MAX_TOKENS, .freeze_a = true}};
    assert_int_equal(shoal_trainer_open(&tr, m, a, ex, &opts, &err), SHOAL_OK);
    return tr;
}

/* dB of layer 1 has the bits it has when A is trained as well. */
static void check_same_db(const shoal_trainer *tr, const shoal_trainer *whole,
                          const shoal_adapter *a)
{
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        const shoal_lora_pair *pair = shoal_adapter_pair(a, 1, (shoal_proj)p);
        if (pair->a == NULL) continue;
        size_t n = shoal_trained_b_size(a, 1, (shoal_proj)p);
        const float *got = shoal_trainer_grad(tr) + shoal_trained_b(a, true, 1, (shoal_proj)p);
        const float *want = shoal_trainer_grad(whole) + (pair->b - a->params);
        assert_memory_equal(got, want, n * sizeof *got);
    }
}

/* A of layer 1 is what it was, B is not. */
static void check_only_b_moved(const shoal_adapter *a, const shoal_adapter *was)
{
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        const shoal_lora_pair *pair = shoal_adapter_pair(a, 1, (shoal_proj)p);
        const shoal_lora_pair *old = shoal_adapter_pair(was, 1, (shoal_proj)p);
        if (pair->a == NULL) continue;
        assert_memory_equal(pair->a, old->a, (size_t)(pair->b - pair->a) * sizeof(float));
        assert_true(pair->b[0] != old->b[0]);
    }
}

/* With A frozen: the same dB, a smaller state, no allocation in a step, and it learns. */
static void test_frozen_a(void **state)
{
    (void)state;
    fixture_exec f;
    fixture_samples s;
    shoal_error err = {0};
    shoal_loss loss = {0};
    const shoal_lora_spec spec = {3, 6.0f, 0x5b, 1, {1, 2, 0, 4, 3, 0, 2}};
    shoal_model *m = fixture_model(18, NULL);
    shoal_adapter *a = fixture_adapter_like(m, &spec, 9);
    shoal_adapter *was = fixture_adapter_like(m, &spec, 9);
    fixture_exec_open(&f, 2, false);
    fixture_samples_fill(&s, m->cfg.n_vocab, 37);
    shoal_trainer *whole = fixture_trainer(m, was, &f.ex, MAX_TOKENS, SHOAL_RECOMPUTE_AUTO);
    shoal_trainer *tr = frozen_trainer(m, a, &f.ex);
    assert_true(shoal_trainer_plan(tr)->n_trained < a->n_params);
    assert_true(shoal_trainer_plan(tr)->optim_bytes < shoal_trainer_plan(whole)->optim_bytes);
    double first = compute_gradient(whole, &s);
    assert_true(first == compute_gradient(tr, &s));
    check_same_db(tr, whole, was);
    uint64_t before = shoal_mem_count();
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(shoal_trainer_accumulate(tr, s.items, FIXTURE_SAMPLES, 0.02f, &loss, &err),
                         SHOAL_OK);
        assert_int_equal(shoal_trainer_step(tr, 3e-3f, NULL, &err), SHOAL_OK);
    }
    assert_int_equal(shoal_mem_count(), before);
    assert_true(compute_loss(tr, &s) < 0.97 * first);
    check_only_b_moved(a, was);
    shoal_trainer_close(tr);
    shoal_trainer_close(whole);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_adapter_close(was);
    shoal_model_close(m);
}

static bool stop_after(void *ctx)
{
    size_t *left = ctx;
    if (*left == 0) {
        return true;
    }
    --*left;
    return false;
}

static bool all_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] != 0.0f) {
            return false;
        }
    }
    return true;
}

/* Asked to stop at any block, forward or backward, the trainer leaves adapter and gradient clean.
 */
static void test_stops_between_blocks(void **state)
{
    (void)state;
    fixture_exec f;
    fixture_samples s;
    size_t left = 0;
    shoal_error err = {0};
    shoal_loss loss = {0};
    shoal_model *m = fixture_model(16, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, 1, false);
    fixture_samples_fill(&s, m->cfg.n_vocab, 36);
    shoal_trainer_options opts = {.plan = {.max_tokens = 80}, .stop = stop_after};
    opts.stop_ctx = &left;
    shoal_trainer *tr = NULL;
    assert_int_equal(shoal_trainer_open(&tr, m, a, &f.ex, &opts, &err), SHOAL_OK);
    for (size_t n = 0; n <= 2 * m->cfg.n_layer; n++) {
        left = n;
        shoal_status st = shoal_trainer_accumulate(tr, s.items, 2, 0.1f, &loss, &err);
        assert_int_equal(st, n < 2 * m->cfg.n_layer ? SHOAL_ERR_CANCELLED : SHOAL_OK);
        assert_int_equal(all_zero(shoal_trainer_grad(tr), a->n_params), st != SHOAL_OK);
    }
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

static shoal_status try_sample(shoal_trainer *tr, const int32_t *ids, const uint8_t *mask, size_t n,
                               shoal_error *err)
{
    static const int32_t GOOD[3] = {1, 2, 3};
    static const uint8_t ALL[3] = {1, 1, 1};
    shoal_sample both[2] = {{GOOD, ALL, 3}, {ids, mask, n}};
    shoal_loss loss = {0};
    return shoal_trainer_accumulate(tr, both, 2, 1.0f, &loss, err);
}

static void test_refuses_bad_samples(void **state)
{
    (void)state;
    fixture_exec f;
    shoal_error err = {0};
    int32_t ids[42] = {0};
    uint8_t mask[42] = {0};
    shoal_model *m = fixture_model(17, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, 1, false);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, MAX_TOKENS, SHOAL_RECOMPUTE_AUTO);

    mask[0] = 1; /* nothing precedes it: no target */
    assert_int_equal(try_sample(tr, ids, mask, 42, &err), SHOAL_ERR_ARG);
    assert_non_null(strstr(err.msg, "sample 1"));
    mask[40] = 1; /* 40 rows are just allowed, 41 are not */
    assert_int_equal(try_sample(tr, ids, mask, 42, &err), SHOAL_OK);
    shoal_trainer_reset(tr);
    mask[41] = 1;
    assert_int_equal(try_sample(tr, ids, mask, 42, &err), SHOAL_ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "sample 1 has 41 tokens"));
    mask[41] = 0;
    ids[7] = (int32_t)m->cfg.n_vocab;
    assert_int_equal(try_sample(tr, ids, mask, 42, &err), SHOAL_ERR_FORMAT);
    ids[7] = -1;
    assert_int_equal(try_sample(tr, ids, mask, 42, &err), SHOAL_ERR_FORMAT);
    assert_true(all_zero(shoal_trainer_grad(tr), a->n_params));
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

/* A diverged adapter is reported and not stepped further. */
static void test_reports_divergence(void **state)
{
    (void)state;
    fixture_exec f;
    fixture_samples s;
    shoal_error err = {0};
    shoal_loss loss = {0};
    shoal_model *m = fixture_model(18, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, 1, true);
    fixture_samples_fill(&s, m->cfg.n_vocab, 38);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, 80, SHOAL_RECOMPUTE_AUTO);
    shoal_adapter_pair(a, 0, SHOAL_PROJ_DOWN)->b[3] = NAN;
    assert_int_equal(shoal_trainer_accumulate(tr, s.items, 5, 0.1f, &loss, &err),
                     SHOAL_ERR_OVERFLOW);
    assert_true(all_zero(shoal_trainer_grad(tr), a->n_params));
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

static void test_open_out_of_memory(void **state)
{
    (void)state;
    fixture_exec f;
    shoal_error err = {0};
    shoal_trainer *tr = NULL;
    shoal_model *m = fixture_model(19, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    shoal_trainer_options opts = {.plan = {.max_tokens = 32}};
    fixture_exec_open(&f, 1, false);
    for (uint64_t n = 1; n <= 3; n++) {
        shoal_mem_fail_at(n, false);
        shoal_status st = shoal_trainer_open(&tr, m, a, &f.ex, &opts, &err);
        shoal_mem_fail_at(0, false);
        assert_int_equal(st, n <= 2 ? SHOAL_ERR_NOMEM : SHOAL_OK);
        assert_int_equal(tr != NULL, st == SHOAL_OK);
    }
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

/* An adapter over another model's shapes, or over other weights, is not trained. */
static void test_refuses_foreign_adapter(void **state)
{
    (void)state;
    static const shoal_tiny_opts WIDER = {.n_ff = 160};
    fixture_exec f;
    shoal_error err = {0};
    shoal_trainer *tr = NULL;
    shoal_trainer_options opts = {.plan = {.max_tokens = 32}};
    shoal_model *m = fixture_model(20, NULL);
    shoal_model *others[2] = {fixture_model(20, &WIDER), fixture_model(21, NULL)};
    fixture_exec_open(&f, 1, false);
    for (size_t i = 0; i < 2; i++) {
        shoal_adapter *a = fixture_adapter(others[i], 4, SHOAL_TARGETS_ALL, 0, 9);
        assert_int_equal(shoal_trainer_open(&tr, m, a, &f.ex, &opts, &err), SHOAL_ERR_ARG);
        assert_null(tr);
        shoal_adapter_close(a);
        shoal_model_close(others[i]);
    }
    fixture_exec_close(&f);
    shoal_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_subsets),
        cmocka_unit_test(test_same_gradient),
        cmocka_unit_test(test_packed_samples_are_apart),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_frozen_a),
        cmocka_unit_test(test_stops_between_blocks),
        cmocka_unit_test(test_refuses_bad_samples),
        cmocka_unit_test(test_reports_divergence),
        cmocka_unit_test(test_open_out_of_memory),
        cmocka_unit_test(test_refuses_foreign_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
