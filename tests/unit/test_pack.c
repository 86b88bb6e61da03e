/* Packing: every sample once and whole, common beginnings computed once without changing a
 * gradient, and how many rows are needed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/pack.h"
#include "tests/support/train_fixture.h"

enum { MAX_SAMPLES = 600, MAX_LENGTH = 120, MAX_ROWS = 512, N_BEGINNINGS = 3 };

/* Samples of random lengths with random masks, most with one of a few beginnings. */
typedef struct crowd {
    int32_t ids[MAX_SAMPLES][MAX_LENGTH];
    uint8_t mask[MAX_SAMPLES][MAX_LENGTH];
    shoal_sample items[MAX_SAMPLES];
    size_t n;
} crowd;

static int32_t beginning_token(size_t which, size_t i)
{
    return (int32_t)(i < 5 ? i : 10 + 7 * which + i % 3); /* five tokens are common to all */
}

static void fill_crowd(crowd *c, size_t n, size_t shortest, size_t longest, uint64_t seed)
{
    shoal_rng rng = shoal_rng_init(seed);
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        size_t length = shortest + shoal_rng_below(&rng, longest - shortest + 1);
        size_t which = shoal_rng_below(&rng, N_BEGINNINGS + 1); /* the last: none */
        size_t shared = which == N_BEGINNINGS ? 0 : 8 + 9 * which;
        size_t prompt = 1 + shoal_rng_below(&rng, length - 1);
        for (size_t k = 0; k < length; k++) {
            c->ids[i][k] =
                k < shared ? beginning_token(which, k) : (int32_t)shoal_rng_below(&rng, 64);
            c->mask[i][k] = k >= prompt && (k == prompt || shoal_rng_below(&rng, 3) > 0);
        }
        c->items[i] = (shoal_sample){c->ids[i], c->mask[i], length};
    }
}

/* A row of tokens with room for what packs hold. */
typedef struct rows {
    shoal_pack pack;
    int32_t ids[MAX_ROWS], sup_target[MAX_ROWS];
    uint32_t pos[MAX_ROWS], first[MAX_ROWS], hole[MAX_ROWS], hole_end[MAX_ROWS];
    uint32_t sup_row[MAX_ROWS], sup_sample[MAX_ROWS];
} rows;

static void open_rows(rows *r)
{
    r->pack = (shoal_pack){.ids = r->ids,
                           .pos = r->pos,
                           .first = r->first,
                           .hole = r->hole,
                           .hole_end = r->hole_end,
                           .sup_row = r->sup_row,
                           .sup_target = r->sup_target,
                           .sup_sample = r->sup_sample};
}

/* What row t sees must be the sample's tokens up to there, each at its own position. */
static void check_view(const shoal_pack *p, size_t t, const shoal_sample *s)
{
    size_t n = 0;
    for (size_t k = p->first[t]; k <= t; k++) {
        if (k >= p->hole[t] && k < p->hole_end[t]) continue;
        assert_int_equal(p->ids[k], s->ids[n]);
        assert_int_equal(p->pos[k], n);
        n++;
    }
    assert_int_equal(n, p->pos[t] + 1);
}

/* What an arrangement of all samples came to. */
typedef struct outcome {
    size_t packs, rows, tokens;
} outcome;

static outcome check_packing(const crowd *c, size_t max_rows)
{
    static shoal_packing packing;
    static rows r;
    static size_t targets[MAX_SAMPLES];
    outcome out = {0};
    memset(targets, 0, sizeof targets);
    open_rows(&r);
    for (size_t from = 0; from < c->n;) {
        from += shoal_packing_make(&packing, c->items, from, c->n, max_rows);
        for (size_t i = 0; i < packing.n_packs; i++) {
            shoal_packing_fill(&packing, i, &r.pack);
            assert_in_range(r.pack.n_rows, 1, max_rows);
            for (size_t k = 0; k < r.pack.n_sup; k++) {
                size_t t = r.sup_row[k];
                const shoal_sample *s = &c->items[r.sup_sample[k]];
                assert_true(t < r.pack.n_rows && (k == 0 || t > r.sup_row[k - 1]));
                check_view(&r.pack, t, s);
                assert_int_equal(s->mask[r.pos[t] + 1], 1);
                assert_int_equal(r.sup_target[k], s->ids[r.pos[t] + 1]);
                targets[r.sup_sample[k]]++;
            }
            out.packs++;
            out.rows += r.pack.n_rows;
            out.tokens += r.pack.n_tokens;
        }
    }
    size_t tokens = 0;
    for (size_t i = 0; i < c->n; i++) {
        assert_int_equal(targets[i], shoal_sample_targets(&c->items[i]));
        tokens += shoal_sample_rows(&c->items[i]);
    }
    assert_int_equal(out.tokens, tokens);
    return out;
}

static void test_every_sample_once_and_whole(void **state)
{
    (void)state;
    static crowd c;
    for (uint64_t seed = 0; seed < 40; seed++) {
        fill_crowd(&c, seed % 4 == 0 ? 1 + seed / 4 : 300 + seed, 2, 30 + 2 * (size_t)seed, seed);
        outcome some = check_packing(&c, MAX_LENGTH + seed);
        outcome most = check_packing(&c, MAX_ROWS);
        assert_true(some.rows <= some.tokens && most.rows <= most.tokens);
        assert_true(most.packs <= some.packs);
    }
}

static outcome pack_texts(const char *const *texts, size_t n, size_t max_rows)
{
    static crowd c;
    c.n = n;
    for (size_t i = 0; i < n; i++) { /* a letter a token, capital letters are learnt */
        size_t length = strlen(texts[i]);
        for (size_t k = 0; k < length; k++) {
            c.ids[i][k] = texts[i][k];
            c.mask[i][k] = texts[i][k] >= 'A' && texts[i][k] <= 'Z';
        }
        c.items[i] = (shoal_sample){c.ids[i], c.mask[i], length};
    }
    return check_packing(&c, max_rows);
}

#define PACK(max_rows, ...)                        \
    pack_texts((const char *const[]){__VA_ARGS__}, \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), max_rows)

static void test_what_is_shared(void **state)
{
    (void)state;
    /* The row of 'x' predicts the first target, the last target needs no row. */
    assert_int_equal(PACK(64, "abcdexQ", "abcdexR").rows, 6 + 1);
    assert_int_equal(PACK(64, "abcdexQ", "abcdeyzR").rows, 6 + 2);
    /* Three letters in common are too few, and targets end what is shared. */
    assert_int_equal(PACK(64, "abcxQ", "abcyR").rows, 8);
    assert_int_equal(PACK(64, "abcdEfgQ", "abcdEfgR").rows, 14);
    assert_int_equal(PACK(64, "abcdeFgQ", "abcdeFgR").rows, 4 + 3 + 3);
    /* Groups are cut where most is saved: three times 5 in common, or 13 once. */
    assert_int_equal(PACK(64, "abcdeqZ", "abcdewZ", "abcdehiZ").rows, 5 + 1 + 1 + 2);
    assert_int_equal(PACK(64, "abcdeqZ", "abcdehijklmnopZ", "abcdehijklmnopxZ").rows, 6 + 14 + 2);
    /* A beginning is laid once in every row of tokens that needs it. */
    outcome two = PACK(8, "abcdexQ", "abcdeyR", "abcdezS", "abcdewT");
    assert_int_equal(two.packs, 2);
    assert_int_equal(two.rows, 8 + 6);
}

/* Texts of chat length, a window of them: nearly full, and the same every time. */
static void test_rows_are_filled(void **state)
{
    (void)state;
    static crowd c;
    fill_crowd(&c, 256, 40, 100, 3);
    outcome o = check_packing(&c, MAX_ROWS);
    assert_true(o.rows * 100 >= o.packs * MAX_ROWS * 95);
    outcome again = check_packing(&c, MAX_ROWS);
    assert_memory_equal(&o, &again, sizeof o);
}

/* ---- through the trainer --------------------------------------------------------------------- */

/* Gradient of all samples, in one call or one by one, in which case nothing can be shared. */
static void gradient(shoal_trainer *tr, const fixture_samples *s, bool apart, double *nll,
                     shoal_loss *sum)
{
    shoal_error err = {0};
    size_t step = apart ? 1 : FIXTURE_SAMPLES;
    *sum = (shoal_loss){0};
    shoal_trainer_reset(tr);
    for (size_t i = 0; i < FIXTURE_SAMPLES; i += step) {
        shoal_loss loss = {.nll = nll + i};
        assert_int_equal(shoal_trainer_accumulate(tr, s->items + i, step, 0.05f, &loss, &err),
                         SHOAL_OK);
        sum->n_tokens += loss.n_tokens;
        sum->n_rows += loss.n_rows;
    }
}

static void check_parity(const shoal_tiny_opts *opts, unsigned threads, bool exact,
                         shoal_recompute recompute, size_t shared)
{
    fixture_exec f;
    fixture_samples s;
    double nll[2][FIXTURE_SAMPLES];
    shoal_loss sum[2];
    shoal_model *m = fixture_model(23, opts);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 9);
    fixture_exec_open(&f, threads, exact);
    fixture_samples_fill(&s, m->cfg.n_vocab, 37);
    fixture_samples_share(&s, shared);
    shoal_trainer *tr = fixture_trainer(m, a, &f.ex, 80, recompute);
    float *apart = shoal_alloc(a->n_params * sizeof *apart);
    assert_non_null(apart);

    gradient(tr, &s, true, nll[0], &sum[0]);
    memcpy(apart, shoal_trainer_grad(tr), a->n_params * sizeof *apart);
    gradient(tr, &s, false, nll[1], &sum[1]);
    assert_int_equal(sum[0].n_rows, sum[0].n_tokens);
    assert_int_equal(sum[1].n_tokens, sum[0].n_tokens);
    assert_int_equal(sum[1].n_rows, sum[0].n_rows - 3 * shared); /* four of five share */
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        assert_true(fabs(nll[1][i] - nll[0][i]) <= (exact ? 1e-6 : 5e-5) * nll[0][i]);
    }
    /* In 16 bit a shared row's gradient is rounded once, as a sum, instead of part by part, and a
     * last bit that attention's order changes may become a step of a binary16 of the stream. */
    double error = fixture_relative_error(shoal_trainer_grad(tr), apart, a->n_params);
    assert_true(error < (exact ? 1e-5 : 1e-3));
    shoal_free(apart);
    shoal_trainer_close(tr);
    fixture_exec_close(&f);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

static void test_sharing_changes_no_gradient(void **state)
{
    (void)state;
    const shoal_tiny_variant *v = NULL;
    for (size_t i = 0; (v = shoal_tiny_variant_at(i)) != NULL; i++) {
        check_parity(&v->opts, 1, true, SHOAL_RECOMPUTE_OFF, 6);
        check_parity(&v->opts, 2, true, SHOAL_RECOMPUTE_ON, 4);
    }
    check_parity(NULL, 2, false, SHOAL_RECOMPUTE_AUTO, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_once_and_whole),
        cmocka_unit_test(test_what_is_shared),
        cmocka_unit_test(test_rows_are_filled),
        cmocka_unit_test(test_sharing_changes_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
