/* test_speculate.c - speculation changes the speed and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/infer/generate.h"
#include "tests/support/tiny_session.h"

enum { MAX_OUT = 400, PROMPT = 24 };

typedef struct collected {
    int32_t ids[MAX_OUT];
    size_t n;
    size_t stop_after; /* 0: never */
} collected;

static bool collect(void *ctx, int32_t id)
{
    collected *c = ctx;
    assert_true(c->n < MAX_OUT);
    c->ids[c->n++] = id;
    return c->n != c->stop_after;
}

/* What varies between runs that must give the same tokens. */
typedef struct setting {
    shoal_sampling how;
    const shoal_draft_source *draft;
    size_t max_draft;
    size_t n_ctx, max_tokens;
    bool ignore_stop;
} setting;

static shoal_gen_result run(const tiny_engine *e, const setting *set, const int32_t *prompt,
                            size_t n, collected *out)
{
    shoal_session_opts opts = {.n_ctx = set->n_ctx, .logit_rows = SHOAL_DRAFT_MAX + 1};
    shoal_session *s = NULL;
    shoal_sampler *sampler = NULL;
    assert_int_equal(shoal_session_open(&s, e->m, &e->ex, &opts, NULL), SHOAL_OK);
    assert_int_equal(shoal_sampler_open(&sampler, &set->how, e->m->cfg.n_vocab, NULL), SHOAL_OK);
    shoal_gen_opts gen = {
        .max_tokens = set->max_tokens,
        .ignore_stop = set->ignore_stop,
        .sampler = sampler,
        .draft = set->draft,
        .max_draft = set->max_draft,
        .on_token = collect,
        .ctx = out,
    };
    shoal_gen_result result;
    shoal_error err = {0};
    if (shoal_generate(s, prompt, n, &gen, &result, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    assert_int_equal(result.n_tokens, out->n);
    /* the session holds the prompt and what was generated, but perhaps the last */
    size_t past = shoal_session_past(s);
    assert_in_range(past + 1, n + out->n, n + out->n + 1);
    assert_memory_equal(shoal_session_tokens(s), prompt, n * sizeof *prompt);
    assert_memory_equal(shoal_session_tokens(s) + n, out->ids, (past - n) * sizeof *prompt);
    shoal_sampler_close(sampler);
    shoal_session_close(s);
    return result;
}

/* A source that knows the future and lies at some positions: every pattern of acceptance. */
typedef struct oracle {
    const int32_t *future; /* prompt and plain output */
    size_t n;
    uint64_t lie_of; /* one in this many guesses is wrong; 0: none */
    shoal_rng rng;
    int32_t n_vocab;
} oracle;

static size_t oracle_draft(void *ctx, const int32_t *history, size_t n, int32_t *out, size_t max)
{
    oracle *o = ctx;
    size_t len = 0;
    assert_memory_equal(history, o->future, n * sizeof *history);
    for (; len < max && n + len < o->n; len++) {
        out[len] = o->future[n + len];
        bool lie = o->lie_of > 0 && shoal_rng_below(&o->rng, o->lie_of) == 0;
        if (lie) out[len] = (out[len] + 1) % o->n_vocab;
    }
    return len;
}

static size_t nonsense_draft(void *ctx, const int32_t *history, size_t n, int32_t *out, size_t max)
{
    (void)ctx;
    (void)history;
    for (size_t i = 0; i < max; i++) {
        out[i] = n % 2 == 0 ? -1 : INT32_MAX; /* not even tokens */
    }
    return max + 5;
}

static void check_same(const collected *a, const collected *b, const char *what)
{
    bool same = a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof a->ids[0]) == 0;
    if (!same) fail_msg("%s: output differs (%zu and %zu tokens)", what, a->n, b->n);
}

/* One prompt, plain and with every source. */
static void check_sources(const tiny_engine *e, setting set, uint64_t seed)
{
    int32_t prompt[PROMPT];
    static int32_t future[PROMPT + MAX_OUT];
    tiny_random_ids(e, seed, prompt, PROMPT);
    collected plain = {.n = 0};
    shoal_gen_result base = run(e, &set, prompt, PROMPT, &plain);
    assert_int_equal(base.drafted, 0);
    memcpy(future, prompt, sizeof prompt);
    memcpy(future + PROMPT, plain.ids, plain.n * sizeof *future);

    shoal_ngram_source ngram = shoal_ngram_source_init();
    const shoal_draft_source lookup = {shoal_ngram_draft, &ngram};
    collected got = {.n = 0};
    set.draft = &lookup;
    shoal_gen_result r = run(e, &set, prompt, PROMPT, &got);
    check_same(&plain, &got, "prompt lookup");
    assert_int_equal(r.reason, base.reason);
    assert_true(r.accepted <= r.drafted);

    const uint64_t lies[] = {0, 2, 5};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        oracle o = {future, PROMPT + plain.n, lies[i], shoal_rng_init(seed),
                    (int32_t)e->m->cfg.n_vocab};
        const shoal_draft_source source = {oracle_draft, &o};
        got = (collected){.n = 0};
        set.draft = &source;
        set.max_draft = SHOAL_DRAFT_MAX;
        r = run(e, &set, prompt, PROMPT, &got);
        check_same(&plain, &got, "oracle");
        assert_int_equal(r.reason, base.reason);
        if (lies[i] == 0) assert_int_equal(r.accepted, r.drafted);
        if (lies[i] == 0 && plain.n > 20) assert_true(r.n_evals * 3 < base.n_evals);
    }
    const shoal_draft_source nonsense = {nonsense_draft, NULL};
    got = (collected){.n = 0};
    set.draft = &nonsense;
    r = run(e, &set, prompt, PROMPT, &got);
    check_same(&plain, &got, "nonsense");
    assert_int_equal(r.accepted, 0);
}

static void output_is_that_of_plain_decoding(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        tiny_engine e;
        tiny_engine_open(&e, seed, NULL, 1, seed % 2 == 0);
        setting set = {.max_tokens = 60, .n_ctx = 512};
        check_sources(&e, set, seed); /* greedy */
        set.how = (shoal_sampling){.temperature = 0.3f, .seed = seed};
        check_sources(&e, set, seed + 100);
        set.how = (shoal_sampling){.temperature = 0.9f, .top_k = 40, .top_p = 0.95f, .seed = seed};
        check_sources(&e, set, seed + 200);
        tiny_engine_close(&e);
    }
}

/* The last token of the context, and of max_tokens, is the same with and without drafts. */
static void limits_fall_at_the_same_token(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 31, NULL, 1, false);
    for (size_t more = 1; more < 12; more++) {
        setting set = {.n_ctx = PROMPT + more, .ignore_stop = true};
        check_sources(&e, set, more);
        set = (setting){.n_ctx = 512, .max_tokens = more, .ignore_stop = true};
        check_sources(&e, set, more);
    }
    tiny_engine_close(&e);
}

static void generation_ends_for_the_reason_it_says(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 31, NULL, 1, false);
    int32_t prompt[PROMPT];
    tiny_random_ids(&e, 1, prompt, PROMPT);
    collected out = {.n = 0};
    setting set = {.n_ctx = 512, .max_tokens = 9, .ignore_stop = true};
    assert_int_equal(run(&e, &set, prompt, PROMPT, &out).reason, SHOAL_STOP_LENGTH);
    assert_int_equal(out.n, 9);
    out = (collected){.stop_after = 4};
    assert_int_equal(run(&e, &set, prompt, PROMPT, &out).reason, SHOAL_STOP_CALLBACK);
    assert_int_equal(out.n, 4);
    out = (collected){.n = 0};
    set = (setting){.n_ctx = PROMPT + 5, .ignore_stop = true};
    assert_int_equal(run(&e, &set, prompt, PROMPT, &out).reason, SHOAL_STOP_CONTEXT);
    assert_int_equal(out.n, 6); /* five were read back, the sixth was only sampled */

    shoal_session *s = NULL;
    atomic_bool cancel = true;
    shoal_gen_result result;
    shoal_gen_opts gen = {.cancel = &cancel};
    shoal_session_opts opts = {.n_ctx = 16};
    shoal_error err = {0};
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, NULL, NULL), SHOAL_OK);
    assert_int_equal(shoal_generate(s, prompt, PROMPT, &gen, &result, NULL), SHOAL_OK);
    assert_int_equal(result.reason, SHOAL_STOP_CANCELLED);
    shoal_session_close(s);
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, &opts, NULL), SHOAL_OK);
    gen.cancel = NULL;
    assert_int_equal(shoal_generate(s, prompt, PROMPT, &gen, &result, &err), SHOAL_ERR_TOO_LARGE);
    assert_true(err.hint[0] != '\0');
    assert_int_equal(shoal_generate(s, prompt, 0, &gen, &result, &err), SHOAL_ERR_ARG);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

/* The tiny vocabulary has stop tokens 0 and 2; some greedy run must meet one. */
static void stop_tokens_end_and_are_not_given_out(void **state)
{
    (void)state;
    size_t ended = 0;
    for (uint64_t seed = 1; seed <= 20 && ended == 0; seed++) {
        tiny_engine e;
        tiny_engine_open(&e, seed, NULL, 1, false);
        int32_t prompt[PROMPT];
        tiny_random_ids(&e, seed, prompt, PROMPT);
        collected out = {.n = 0};
        setting set = {.how = {.temperature = 2.0f, .seed = seed}, .n_ctx = 512, .max_tokens = 390};
        shoal_gen_result r = run(&e, &set, prompt, PROMPT, &out);
        ended += r.reason == SHOAL_STOP_END;
        for (size_t i = 0; i < out.n; i++) {
            assert_true(out.ids[i] != 0 && out.ids[i] != 2);
        }
        tiny_engine_close(&e);
    }
    assert_true(ended > 0);
}

static void decoding_allocates_nothing_per_token(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 31, NULL, 1, false);
    int32_t prompt[PROMPT];
    tiny_random_ids(&e, 1, prompt, PROMPT);
    shoal_session *s = NULL;
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, NULL, NULL), SHOAL_OK);
    shoal_ngram_source ngram = shoal_ngram_source_init();
    const shoal_draft_source lookup = {shoal_ngram_draft, &ngram};
    shoal_gen_opts gen = {.max_tokens = 200, .ignore_stop = true, .draft = &lookup};
    shoal_gen_result result;
    uint64_t before = shoal_mem_count();
    assert_int_equal(shoal_generate(s, prompt, PROMPT, &gen, &result, NULL), SHOAL_OK);
    assert_int_equal(result.n_tokens, 200);
    assert_int_equal(shoal_mem_count(), before);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

/* ---- the parts --------------------------------------------------------------------------------
 */

static void check_lookup(const int32_t *history, size_t n, size_t max, const int32_t *want,
                         size_t n_want)
{
    shoal_ngram_source src = shoal_ngram_source_init();
    int32_t out[SHOAL_DRAFT_MAX];
    assert_int_equal(shoal_ngram_draft(&src, history, n, out, max), n_want);
    assert_memory_equal(out, want, n_want * sizeof *want);
}

static void lookup_prefers_long_and_late_matches(void **state)
{
    (void)state;
    const int32_t late[] = {1, 2, 3, 9, 9, 1, 2, 3, 7, 8, 1, 2, 3};
    check_lookup(late, 13, 3, (const int32_t[]){7, 8, 1}, 3);
    check_lookup(late, 13, 1, (const int32_t[]){7}, 1);
    const int32_t longer[] = {1, 2, 3, 4, 5, 2, 3, 6, 1, 2, 3};
    check_lookup(longer, 11, 3, (const int32_t[]){4, 5, 2}, 3); /* 1 2 3 beats the later 2 3 */
    const int32_t single[] = {4, 5, 6, 7, 4};
    check_lookup(single, 5, 3, (const int32_t[]){5}, 1); /* one token: one guess */
    const int32_t loop[] = {8, 8, 8, 8};
    check_lookup(loop, 4, 3, (const int32_t[]){8}, 1);
    const int32_t none[] = {1, 2, 3, 4};
    check_lookup(none, 4, 3, none, 0);
    check_lookup(none, 1, 3, none, 0);
    check_lookup(none, 0, 3, none, 0);
    shoal_ngram_source near = {.max_match = 3, .min_match = 1, .window = 3};
    int32_t out[SHOAL_DRAFT_MAX];
    assert_int_equal(shoal_ngram_draft(&near, single, 5, out, 3), 0); /* out of its window */
}

static void drafts_shorten_when_they_fail(void **state)
{
    (void)state;
    shoal_draft_control c = shoal_draft_control_init(0);
    assert_int_equal(shoal_draft_length(&c), 3);
    size_t asked = 0;
    for (size_t i = 0; i < 200; i++) {
        size_t n = shoal_draft_length(&c);
        shoal_draft_report(&c, n, 0);
        asked += i >= 100 ? n : 0;
    }
    assert_in_range(asked, 1, 12); /* only probes */
    for (size_t i = 0; i < 600; i++) {
        size_t n = shoal_draft_length(&c);
        shoal_draft_report(&c, n, n);
    }
    assert_int_equal(shoal_draft_length(&c), 3);
    assert_true(c.accepted > 0 && c.accepted < c.drafted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_that_of_plain_decoding),
        cmocka_unit_test(limits_fall_at_the_same_token),
        cmocka_unit_test(generation_ends_for_the_reason_it_says),
        cmocka_unit_test(stop_tokens_end_and_are_not_given_out),
        cmocka_unit_test(decoding_allocates_nothing_per_token),
        cmocka_unit_test(lookup_prefers_long_and_late_matches),
        cmocka_unit_test(drafts_shorten_when_they_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
