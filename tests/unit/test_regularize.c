/* Dropout and noise on embeddings through the trainer: gradients against finite differences, and
 * what the random numbers must not depend on: recomputation, threads, packing, order. */
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
#include "lora/train/regularize.h"
#include "tests/support/slope.h"
#include "tests/support/train_fixture.h"

enum { MAX_TOKENS = 80 };

/* One way of training the fixture's samples. */
typedef struct setting {
    double dropout, neftune;
    uint64_t seed;
    unsigned threads;
    shoal_recompute recompute;
    size_t max_tokens;
    size_t shared;  /* tokens that the samples have in common */
    bool apart;     /* one sample a call */
    bool backwards; /* the last sample first */
    bool fast;      /* 8-bit activations */
} setting;

/* A trainer and all it stands on. */
typedef struct rig {
    setting how;
    shoal_model *m;
    shoal_adapter *a;
    fixture_exec f;
    fixture_samples s;
    shoal_trainer *tr;
} rig;

static shoal_trainer_options options_of(const setting *how)
{
    return (shoal_trainer_options){
        .plan = {.max_tokens = how->max_tokens == 0 ? MAX_TOKENS : how->max_tokens,
                 .recompute = how->recompute,
                 .dropout = how->dropout,
                 .neftune = how->neftune},
        .seed = how->seed};
}

static void rig_open(rig *r, const shoal_tiny_opts *opts, setting how)
{
    shoal_error err = {0};
    shoal_trainer_options to = options_of(&how);
    r->how = how;
    r->m = fixture_model(11, opts);
    r->a = fixture_adapter(r->m, 3, SHOAL_TARGETS_ALL, 0, 21);
    fixture_exec_open(&r->f, how.threads == 0 ? 1 : how.threads, !how.fast);
    fixture_samples_fill(&r->s, r->m->cfg.n_vocab, 31);
    if (how.shared > 0) fixture_samples_share(&r->s, how.shared);
    assert_int_equal(shoal_trainer_open(&r->tr, r->m, r->a, &r->f.ex, &to, &err), SHOAL_OK);
}

static void rig_close(rig *r)
{
    shoal_trainer_close(r->tr);
    fixture_exec_close(&r->f);
    shoal_adapter_close(r->a);
    shoal_model_close(r->m);
}

/* Adds the gradient of the mean training loss; returns that loss. */
static double add_gradient(rig *r)
{
    shoal_error err = {0};
    shoal_sample items[FIXTURE_SAMPLES];
    double sum = 0.0;
    size_t step = r->how.apart ? 1 : FIXTURE_SAMPLES;
    float weight = 1.0f / (float)r->s.n_targets;
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        items[i] = r->s.items[r->how.backwards ? FIXTURE_SAMPLES - 1 - i : i];
    }
    for (size_t i = 0; i < FIXTURE_SAMPLES; i += step) {
        shoal_loss loss = {0};
        assert_int_equal(shoal_trainer_accumulate(r->tr, items + i, step, weight, &loss, &err),
                         SHOAL_OK);
        sum += loss.nll_sum;
    }
    return sum / (double)r->s.n_targets;
}

/* The loss as the first step meets it. */
static double first_loss(void *ctx)
{
    rig *r = ctx;
    shoal_trainer_reset(r->tr);
    return add_gradient(r);
}

static void check_finite_differences(const shoal_tiny_opts *opts, setting how)
{
    rig r;
    shoal_rng rng = shoal_rng_init(5);
    rig_open(&r, opts, how);
    float *grad = shoal_alloc(r.a->n_params * sizeof *grad);
    assert_non_null(grad);
    first_loss(&r);
    memcpy(grad, shoal_trainer_grad(r.tr), r.a->n_params * sizeof *grad);
    for (size_t i = 0; i < r.m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&r.m->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        const shoal_lora_pair *pair = &r.a->pairs[i];
        slope_check(first_loss, &r, pair->a, pair->rank * cols, grad + (pair->a - r.a->params),
                    &rng);
        slope_check(first_loss, &r, pair->b, pair->rank * rows, grad + (pair->b - r.a->params),
                    &rng);
    }
    shoal_free(grad);
    rig_close(&r);
}

static void test_finite_differences(void **state)
{
    (void)state;
    const setting both = {.dropout = 0.25, .neftune = 5.0, .seed = 3};
    const setting shared = {
        .dropout = 0.4, .seed = 4, .shared = 6, .recompute = SHOAL_RECOMPUTE_ON};
    check_finite_differences(NULL, both);
    check_finite_differences(NULL, shared);
    check_finite_differences(&(shoal_tiny_opts){.arch = "gemma3"}, both);
}

/* Gradient of one setting, copied out [n]; returns the loss. */
static double gradient_of(setting how, float *out, size_t n)
{
    rig r;
    rig_open(&r, NULL, how);
    assert_int_equal(r.a->n_params, n);
    double loss = first_loss(&r);
    memcpy(out, shoal_trainer_grad(r.tr), n * sizeof *out);
    rig_close(&r);
    return loss;
}

/* Two gradients to compare. */
typedef struct two {
    float *want, *got;
    size_t n;
} two;

static two two_open(void)
{
    rig r;
    rig_open(&r, NULL, (setting){.threads = 1});
    two t = {.n = r.a->n_params};
    rig_close(&r);
    t.want = shoal_alloc(t.n * sizeof *t.want);
    t.got = shoal_alloc(t.n * sizeof *t.got);
    assert_non_null(t.want);
    assert_non_null(t.got);
    return t;
}

static void two_close(two *t)
{
    shoal_free(t->want);
    shoal_free(t->got);
}

/* Recomputation and threads: the same bits, exact and fast. */
static void test_same_bits(void **state)
{
    (void)state;
    two t = two_open();
    for (int fast = 0; fast < 2; fast++) {
        setting how = {.dropout = 0.3, .neftune = 5.0, .seed = 7, .threads = 1, .fast = fast == 1};
        how.recompute = SHOAL_RECOMPUTE_OFF;
        double loss = gradient_of(how, t.want, t.n);
        for (unsigned threads = 1; threads <= 3; threads++) {
            how.threads = threads;
            how.recompute = threads == 3 ? SHOAL_RECOMPUTE_OFF : SHOAL_RECOMPUTE_ON;
            assert_true(loss == gradient_of(how, t.got, t.n));
            assert_memory_equal(t.got, t.want, t.n * sizeof *t.want);
        }
    }
    two_close(&t);
}

/* One call or one a sample, rows shared or not, in any order, in rows of any length: sums in
 * another order, of the same terms. */
static void test_packing_changes_nothing(void **state)
{
    (void)state;
    two t = two_open();
    const setting base = {.dropout = 0.3, .seed = 7, .shared = 6};
    double loss = gradient_of(base, t.want, t.n);
    for (int i = 0; i < 6; i++) {
        setting how = base;
        how.neftune = i >= 3 ? 5.0 : 0.0;
        how.apart = i % 3 == 0;
        how.backwards = i % 3 == 1;
        how.max_tokens = i % 3 == 2 ? FIXTURE_LONGEST : 0;
        if (i == 3) {
            setting noisy = base;
            noisy.neftune = 5.0;
            loss = gradient_of(noisy, t.want, t.n);
        }
        assert_true(fabs(gradient_of(how, t.got, t.n) - loss) <= 1e-6 * loss);
        assert_true(fixture_relative_error(t.got, t.want, t.n) < 1e-5);
    }
    two_close(&t);
}

/* Seeds and steps draw anew; each of the two methods matters. */
static void test_what_draws_anew(void **state)
{
    (void)state;
    shoal_error err = {0};
    two t = two_open();
    const setting base = {.dropout = 0.3, .neftune = 5.0, .seed = 7};
    double loss = gradient_of(base, t.want, t.n);
    for (int i = 0; i < 3; i++) {
        setting how = base;
        how.seed += i == 0;
        how.dropout = i == 1 ? 0.0 : how.dropout;
        how.neftune = i == 2 ? 0.0 : how.neftune;
        assert_true(gradient_of(how, t.got, t.n) != loss);
        assert_true(fixture_relative_error(t.got, t.want, t.n) > 1e-3);
    }
    rig r;
    rig_open(&r, NULL, base);
    assert_true(first_loss(&r) == loss);
    assert_int_equal(shoal_trainer_step(r.tr, 0.0f, NULL, &err), SHOAL_OK); /* nothing moves */
    assert_true(add_gradient(&r) != loss);
    rig_close(&r);
    two_close(&t);
}

/* A loss that is only measured is that of the adapter as it will be used. */
static void test_measuring_is_quiet(void **state)
{
    (void)state;
    double nll[2] = {0};
    for (int i = 0; i < 2; i++) {
        rig r;
        shoal_error err = {0};
        shoal_loss loss = {0};
        const setting noisy = {.dropout = 0.5, .neftune = 5.0, .shared = 6};
        const setting quiet = {.shared = 6};
        rig_open(&r, NULL, i == 0 ? noisy : quiet);
        assert_int_equal(shoal_trainer_loss(r.tr, r.s.items, FIXTURE_SAMPLES, &loss, &err),
                         SHOAL_OK);
        nll[i] = loss.nll_sum;
        assert_true(loss.n_rows < loss.n_tokens); /* beginnings are shared */
        rig_close(&r);
    }
    assert_true(nll[0] == nll[1]);
}

/* Every projection of every layer has a mask of its own. */
static void test_masks_are_of_one_matrix(void **state)
{
    (void)state;
    enum { LAYERS = 5 };
    uint64_t keys[1] = {1};
    uint64_t salts[LAYERS * SHOAL_N_PROJ];
    shoal_plan plan = {.dropout = 100};
    shoal_workspace ws = {.pack = {.key = keys}};
    shoal_step step = {.plan = &plan, .ws = &ws, .learns = true};
    shoal_dropout d;
    for (size_t i = 0; i < LAYERS * SHOAL_N_PROJ; i++) {
        shoal_proj p = (shoal_proj)(i % SHOAL_N_PROJ);
        assert_ptr_equal(shoal_step_dropout(&step, i / SHOAL_N_PROJ, p, &d), &d);
        assert_int_equal(d.level, 100);
        salts[i] = d.salt;
        for (size_t k = 0; k < i; k++) {
            assert_true(salts[k] != salts[i]);
        }
    }
    step.learns = false;
    assert_null(shoal_step_dropout(&step, 0, SHOAL_PROJ_Q, &d));
    step.learns = true;
    plan.dropout = 0;
    assert_null(shoal_step_dropout(&step, 0, SHOAL_PROJ_Q, &d));
}

/* Noise reaches up to alpha / sqrt(L D), and not further. */
static void test_size_of_embedding_noise(void **state)
{
    (void)state;
    enum { D = 64 };
    uint64_t keys[2] = {11, 12};
    uint32_t lengths[2] = {4, 400};
    shoal_model m = {.cfg = {.n_embd = D}};
    shoal_plan plan = {.neftune = 8.0};
    shoal_workspace ws = {.pack = {.key = keys, .length = lengths}};
    shoal_step step = {.m = &m, .plan = &plan, .ws = &ws, .learns = true};
    for (size_t t = 0; t < 2; t++) {
        float x[D] = {0};
        float largest = 0.0f;
        double bound = 8.0 / sqrt((double)lengths[t] * D);
        shoal_step_embed_noise(&step, t, x);
        for (size_t i = 0; i < D; i++) {
            largest = fmaxf(largest, fabsf(x[i]));
        }
        assert_true((double)largest < bound && (double)largest > 0.8 * bound);
    }
}

static void test_steps_allocate_nothing_and_learn(void **state)
{
    (void)state;
    rig r;
    shoal_error err = {0};
    shoal_loss before = {0};
    shoal_loss after = {0};
    rig_open(&r, NULL, (setting){.dropout = 0.1, .neftune = 5.0, .threads = 2, .fast = true});
    assert_int_equal(shoal_trainer_loss(r.tr, r.s.items, FIXTURE_SAMPLES, &before, &err), SHOAL_OK);
    uint64_t count = shoal_mem_count();
    for (size_t i = 0; i < 30; i++) {
        add_gradient(&r);
        assert_int_equal(shoal_trainer_step(r.tr, 3e-3f, NULL, &err), SHOAL_OK);
    }
    assert_int_equal(shoal_mem_count(), count);
    assert_int_equal(shoal_trainer_loss(r.tr, r.s.items, FIXTURE_SAMPLES, &after, &err), SHOAL_OK);
    assert_true(after.nll_sum < 0.9 * before.nll_sum);
    rig_close(&r);
}

/* What is no share is refused; what is used differently has another number. */
static void test_refusals(void **state)
{
    (void)state;
    static const double BAD_SHARES[] = {-0.1, 1.0, 1.5, (double)NAN, (double)INFINITY};
    rig r;
    rig_open(&r, NULL, (setting){.dropout = 0.1, .seed = 1});
    for (size_t i = 0; i < 8; i++) {
        shoal_error err = {0};
        shoal_trainer *tr = NULL;
        setting bad = {.dropout = i < 5 ? BAD_SHARES[i] : 0.0};
        bad.neftune = i == 5 ? -1.0 : i == 6 ? (double)NAN : i == 7 ? (double)INFINITY : 0.0;
        shoal_trainer_options to = options_of(&bad);
        assert_int_equal(shoal_trainer_open(&tr, r.m, r.a, &r.f.ex, &to, &err), SHOAL_ERR_ARG);
        assert_null(tr);
    }
    static const setting OTHERS[] = {{.seed = 1},
                                     {.dropout = 0.2, .seed = 1},
                                     {.dropout = 0.1, .seed = 2},
                                     {.dropout = 0.1, .neftune = 1.0, .seed = 1}};
    for (size_t i = 0; i < 4; i++) {
        rig other;
        rig_open(&other, NULL, OTHERS[i]);
        assert_true(shoal_trainer_method_id(other.tr) != shoal_trainer_method_id(r.tr));
        rig_close(&other);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_packing_changes_nothing),
        cmocka_unit_test(test_what_draws_anew),
        cmocka_unit_test(test_measuring_is_quiet),
        cmocka_unit_test(test_masks_are_of_one_matrix),
        cmocka_unit_test(test_size_of_embedding_noise),
        cmocka_unit_test(test_steps_allocate_nothing_and_learn),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
