/* test_real_decode.c - on the real model: drafts do not change output, splits do not change bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "lora/infer/generate.h"
#include "lora/model/chat_template.h"
#include "lora/model/model.h"
#include "lora/model/tokenizer.h"
#include "tests/support/vectors.h"

enum { MAX_OUT = 64, ROWS = 24 };

static shoal_model *g_model;
static shoal_pool *g_pool;

static int set_up(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (shoal_model_open(&g_model, real_model_path(), &err) != SHOAL_OK ||
        shoal_pool_open(&g_pool, 2, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shoal_pool_close(g_pool);
    shoal_model_close(g_model);
    return 0;
}

typedef struct collected {
    int32_t ids[MAX_OUT];
    size_t n;
} collected;

static bool collect(void *ctx, int32_t id)
{
    collected *c = ctx;
    c->ids[c->n++] = id;
    return true;
}

static shoal_gen_result run(const shoal_exec *ex, const shoal_tokens *prompt,
                            const shoal_sampling *how, bool speculate, collected *out)
{
    shoal_session *s = NULL;
    shoal_sampler *sampler = NULL;
    shoal_session_opts opts = {.n_ctx = 512};
    assert_int_equal(shoal_session_open(&s, g_model, ex, &opts, NULL), SHOAL_OK);
    assert_int_equal(shoal_sampler_open(&sampler, how, g_model->cfg.n_vocab, NULL), SHOAL_OK);
    shoal_ngram_source ngram = shoal_ngram_source_init();
    const shoal_draft_source lookup = {shoal_ngram_draft, &ngram};
    shoal_gen_opts gen = {
        .max_tokens = MAX_OUT,
        .sampler = sampler,
        .draft = speculate ? &lookup : NULL,
        .on_token = collect,
        .ctx = out,
    };
    shoal_gen_result result;
    assert_int_equal(shoal_generate(s, prompt->ids, prompt->n, &gen, &result, NULL), SHOAL_OK);
    shoal_sampler_close(sampler);
    shoal_session_close(s);
    return result;
}

static void encode_prompt(const char *user, shoal_tokens *ids)
{
    shoal_chat_template chat;
    const shoal_message msg = {"user", shoal_str_of(user)};
    assert_int_equal(shoal_chat_template_init(&chat, g_model->gguf, g_model->tok, NULL), SHOAL_OK);
    assert_int_equal(shoal_chat_encode(&chat, &msg, 1, true, ids, NULL, NULL), SHOAL_OK);
}

static void drafts_do_not_change_output(void **state)
{
    (void)state;
    const char *const users[] = {
        "Repeat this list twice: red, green, blue, red, green, blue, yellow.",
        "What is the tallest mountain on Earth?",
    };
    const shoal_sampling hows[] = {
        {.temperature = 0.0f},
        {.temperature = 0.7f, .top_p = 0.95f, .seed = 42},
    };
    uint64_t accepted = 0;
    for (int exact = 0; exact < 2; exact++) {
        shoal_exec ex;
        assert_int_equal(shoal_exec_open(&ex, g_pool, SHOAL_CPU_ALL, exact != 0, NULL), SHOAL_OK);
        for (size_t i = 0; i < (exact != 0 ? 2u : 4u); i++) {
            shoal_tokens prompt = {0};
            collected plain = {.n = 0};
            collected drafted = {.n = 0};
            encode_prompt(users[i / 2], &prompt);
            run(&ex, &prompt, &hows[i % 2], false, &plain);
            shoal_gen_result r = run(&ex, &prompt, &hows[i % 2], true, &drafted);
            assert_int_equal(drafted.n, plain.n);
            assert_memory_equal(drafted.ids, plain.ids, plain.n * sizeof plain.ids[0]);
            accepted += r.accepted;
            print_message("%s, %s: %zu tokens in %zu evaluations, %llu of %llu guesses right\n",
                          exact ? "exact" : "fast", i % 2 == 0 ? "greedy" : "seeded", plain.n,
                          r.n_evals, (unsigned long long)r.accepted, (unsigned long long)r.drafted);
            shoal_tokens_clear(&prompt);
        }
        shoal_exec_close(&ex);
    }
    assert_true(accepted > 10); /* otherwise this showed nothing */
}

static void splits_do_not_change_bits(void **state)
{
    (void)state;
    size_t V = g_model->cfg.n_vocab;
    shoal_tokens ids = {0};
    encode_prompt("Splits must not change a single bit.", &ids);
    assert_true(ids.n >= ROWS);
    for (int exact = 0; exact < 2; exact++) {
        shoal_exec ex;
        assert_int_equal(shoal_exec_open(&ex, g_pool, SHOAL_CPU_ALL, exact != 0, NULL), SHOAL_OK);
        shoal_session *batch = NULL;
        shoal_session *single = NULL;
        shoal_session_opts opts = {.n_ctx = 128, .logit_rows = ROWS};
        assert_int_equal(shoal_session_open(&batch, g_model, &ex, &opts, NULL), SHOAL_OK);
        assert_int_equal(shoal_session_open(&single, g_model, &ex, &opts, NULL), SHOAL_OK);
        assert_int_equal(shoal_session_eval(batch, ids.ids, ROWS, SHOAL_LOGITS_ALL, NULL),
                         SHOAL_OK);
        for (size_t i = 0; i < ROWS; i++) {
            assert_int_equal(shoal_session_eval(single, ids.ids + i, 1, SHOAL_LOGITS_LAST, NULL),
                             SHOAL_OK);
            assert_memory_equal(shoal_session_logits(single, 0), shoal_session_logits(batch, i),
                                V * sizeof(float));
        }
        shoal_session_close(batch);
        shoal_session_close(single);
        shoal_exec_close(&ex);
    }
    shoal_tokens_clear(&ids);
}

int main(void)
{
    (void)real_model_path(); /* skips before cmocka reports a failed set-up */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_do_not_change_output),
        cmocka_unit_test(splits_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
