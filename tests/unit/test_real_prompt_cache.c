/* test_real_prompt_cache.c - real models: a prompt restored from disk goes on with the bits of one
 * that was read, also far beyond a sliding window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "lora/infer/prompt_cache.h"
#include "lora/infer/sampler.h"
#include "lora/model/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/vectors.h"

static const shoal_prompt_key KEY = {.model = {9}};

typedef struct keeper {
    shoal_prompt_cache *c;
    shoal_session *s;
} keeper;

static void keep_on_chunk(void *ctx, size_t done, size_t total)
{
    const keeper *k = ctx;
    (void)done;
    (void)total;
    assert_int_equal(shoal_prompt_cache_keep(k->c, &KEY, k->s, false, NULL), SHOAL_OK);
}

static void make_prompt(const shoal_model *m, size_t n, shoal_tokens *out)
{
    char text[64];
    for (size_t i = 0; out->n < n; i++) {
        int len = snprintf(text, sizeof text, "Fish %zu of %zu swims on. ", i * i % 97, i);
        assert_int_equal(shoal_tokenize(m->tok, text, (size_t)len, false, out, NULL), SHOAL_OK);
    }
    out->n = n;
}

/* Reads n tokens and keeps them; a fresh session restores most of them, reads the rest and writes
 * eight tokens, as a session that read everything does. */
static void check(const shoal_model *m, const shoal_exec *ex, shoal_kv_kind kind, size_t n)
{
    char dir[TEMP_DIR_MAX];
    shoal_tokens p = {0};
    shoal_session *read = NULL;
    shoal_session *restored = NULL;
    shoal_prompt_cache *c = NULL;
    const shoal_session_opts so = {.n_ctx = n + 64, .kv = kind};
    temp_dir_make(dir);
    make_prompt(m, n + 20, &p);
    const shoal_prompt_cache_opts co = {.dir = dir, .dir_bytes = (uint64_t)256 << 20};
    assert_int_equal(shoal_prompt_cache_open(&c, &co, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_open(&read, m, ex, &so, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_open(&restored, m, ex, &so, NULL), SHOAL_OK);
    keeper k = {c, read};
    shoal_session_set_on_chunk(read, keep_on_chunk, &k);
    assert_int_equal(shoal_session_sync(read, p.ids, n, NULL), SHOAL_OK);
    assert_int_equal(shoal_prompt_cache_keep(c, &KEY, read, true, NULL), SHOAL_OK);
    shoal_session_set_on_chunk(read, NULL, NULL);
    assert_int_equal(shoal_prompt_cache_restore(c, &KEY, restored, p.ids, n + 20), n);
    assert_int_equal(shoal_session_sync(read, p.ids, n + 20, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_sync(restored, p.ids, n + 20, NULL), SHOAL_OK);
    for (size_t i = 0; i < 8; i++) {
        const float *logits = shoal_session_logits(read, 0);
        assert_memory_equal(logits, shoal_session_logits(restored, 0),
                            m->cfg.n_vocab * sizeof *logits);
        int32_t next = shoal_argmax(logits, m->cfg.n_vocab);
        assert_int_equal(shoal_session_eval(read, &next, 1, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
        assert_int_equal(shoal_session_eval(restored, &next, 1, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
    }
    shoal_session_close(read);
    shoal_session_close(restored);
    shoal_prompt_cache_close(c);
    shoal_tokens_clear(&p);
    temp_dir_remove(dir);
}

static void check_model(const char *path, size_t n)
{
    shoal_model *m = NULL;
    shoal_pool *pool = NULL;
    shoal_exec ex;
    shoal_error err = {0};
    if (shoal_model_open(&m, path, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    assert_int_equal(shoal_pool_open(&pool, 2, NULL), SHOAL_OK);
    assert_int_equal(shoal_exec_open(&ex, pool, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
    check(m, &ex, SHOAL_KV_F16, n);
    check(m, &ex, SHOAL_KV_Q8, n - 37);
    shoal_exec_close(&ex);
    shoal_pool_close(pool);
    shoal_model_close(m);
}

static void smollm2_restores_to_the_bit(void **state)
{
    (void)state;
    check_model(real_model_path(), 333);
}

/* Past its window of 512, so that local layers have forgotten the beginning. */
static void gemma_restores_to_the_bit(void **state)
{
    (void)state;
    check_model(gemma_path(), 900);
}

int main(void)
{
    const struct CMUnitTest first[] = {cmocka_unit_test(smollm2_restores_to_the_bit)};
    const struct CMUnitTest second[] = {cmocka_unit_test(gemma_restores_to_the_bit)};
    (void)real_model_path(); /* skips when it is missing */
    if (cmocka_run_group_tests(first, NULL, NULL) != 0) return 1;
    (void)gemma_path();
    return cmocka_run_group_tests(second, NULL, NULL);
}
