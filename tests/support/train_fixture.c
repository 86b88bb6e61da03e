/* train_fixture.c - set-up shared by the training tests. */
#include "tests/support/train_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/rng.h"

static void require(shoal_status st, const shoal_error *err)
{
    if (st != SHOAL_OK) {
        fail_msg("%s", err->msg);
    }
}

shoal_model *fixture_model(uint64_t seed, const shoal_tiny_opts *opts)
{
    char path[128];
    shoal_error err = {0};
    shoal_model *m = NULL;
    require(shoal_tiny_model_temp(path, seed, opts, &err), &err);
    shoal_status st = shoal_model_open(&m, path, &err);
    (void)remove(path); /* the mapping stays */
    require(st, &err);
    return m;
}

shoal_adapter *fixture_adapter(const shoal_model *m, size_t rank, uint32_t targets,
                               size_t first_layer, uint64_t seed)
{
    shoal_lora_spec spec = {rank, 2.0f * (float)rank, targets, first_layer, {0}};
    return fixture_adapter_like(m, &spec, seed);
}

shoal_adapter *fixture_adapter_like(const shoal_model *m, const shoal_lora_spec *spec,
                                    uint64_t seed)
{
    shoal_error err = {0};
    shoal_adapter *a = NULL;
    require(shoal_adapter_open(&a, m, spec, seed, &err), &err);
    shoal_rng rng = shoal_rng_init(seed + 1);
    for (size_t i = 0; i < a->n_params; i++) {
        a->params[i] += (float)(0.05 * shoal_rng_normal(&rng));
    }
    return a;
}

void fixture_exec_open(fixture_exec *f, unsigned n_threads, bool exact)
{
    shoal_error err = {0};
    f->pool = NULL;
    if (n_threads > 1) {
        require(shoal_pool_open(&f->pool, n_threads, &err), &err);
    }
    require(shoal_exec_open(&f->ex, f->pool, SHOAL_CPU_ALL, exact, &err), &err);
}

void fixture_exec_close(fixture_exec *f)
{
    shoal_exec_close(&f->ex);
    shoal_pool_close(f->pool);
}

void fixture_samples_fill(fixture_samples *s, size_t n_vocab, uint64_t seed)
{
    static const size_t LENGTHS[FIXTURE_SAMPLES] = {24, 9, 17, 2, 13};
    shoal_rng rng = shoal_rng_init(seed);
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        size_t n = LENGTHS[i];
        for (size_t j = 0; j < n; j++) {
            s->ids[i][j] = (int32_t)shoal_rng_below(&rng, n_vocab);
            bool two_spans = (j > 3 && j < 7) || (j > n - 4 && j + 1 < n);
            s->mask[i][j] = i % 2 == 1 || two_spans || j == n - 2;
        }
        s->items[i] = (shoal_sample){s->ids[i], s->mask[i], n};
        s->n_targets += shoal_sample_targets(&s->items[i]);
    }
}

void fixture_samples_share(fixture_samples *s, size_t n)
{
    s->n_targets = 0;
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        if (s->items[i].n > n + 2) {
            memcpy(s->ids[i], s->ids[0], n * sizeof s->ids[i][0]);
            memset(s->mask[i], 0, n + 1);
        }
        s->n_targets += shoal_sample_targets(&s->items[i]);
    }
}

shoal_trainer *fixture_trainer(const shoal_model *m, shoal_adapter *a, const shoal_exec *ex,
                               size_t max_tokens, shoal_recompute recompute)
{
    shoal_trainer_options opts = {
        .plan = {.max_tokens = max_tokens, .recompute = recompute},
        .weight_decay = 0.01f,
        .clip = 1.0f,
    };
    shoal_error err = {0};
    shoal_trainer *tr = NULL;
    require(shoal_trainer_open(&tr, m, a, ex, &opts, &err), &err);
    return tr;
}

double fixture_relative_error(const float *a, const float *b, size_t n)
{
    double diff = 0.0;
    double ref = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        diff += d * d;
        ref += (double)b[i] * (double)b[i];
    }
    return ref > 0.0 ? sqrt(diff / ref) : sqrt(diff);
}
