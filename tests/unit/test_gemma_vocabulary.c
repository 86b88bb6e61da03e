/* test_gemma_vocabulary.c - reference texts on Gemma's SentencePiece vocabulary, to the id.
 * Source of the vectors: shared/vectors/README.md (llama.cpp and Hugging Face tokenizers agree). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"
#include "tests/support/vectors.h"

static shoal_gguf *g_gguf;
static shoal_tokenizer *g_tok;

static int set_up(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (shoal_gguf_open(&g_gguf, gemma_path(), &err) != SHOAL_OK ||
        shoal_tokenizer_open(&g_tok, g_gguf, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shoal_tokenizer_close(g_tok);
    shoal_gguf_close(g_gguf);
    return 0;
}

static void check_line(const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    bool special = json_is_true(json_object_get(line, "parse_special"));
    shoal_tokens got = {0};
    assert_int_equal(shoal_tokenize(g_tok, json_string_value(text), json_string_length(text),
                                    special, &got, NULL),
                     SHOAL_OK);
    size_t n = 0;
    int32_t *ids = vectors_ids(json_object_get(line, "ids"), &n);
    if (got.n != n || (n > 0 && memcmp(got.ids, ids, n * sizeof *ids) != 0)) {
        fail_msg("ids differ (%zu, expected %zu): '%s'", got.n, n, json_string_value(text));
    }
    const json_t *decoded = json_object_get(line, "decoded");
    shoal_buf back = shoal_buf_init(1 << 20);
    assert_int_equal(shoal_detokenize(g_tok, got.ids, got.n, true, &back, NULL), SHOAL_OK);
    assert_int_equal(back.len, json_string_length(decoded));
    assert_memory_equal(shoal_buf_str(&back), json_string_value(decoded), back.len);
    shoal_buf_clear(&back);
    shoal_free(ids);
    shoal_tokens_clear(&got);
}

static void texts_become_the_reference_ids(void **state)
{
    (void)state;
    FILE *f = fopen(vectors_path("gemma3-270m/tokenizer.jsonl"), "r");
    assert_non_null(f);
    size_t lines = 0;
    json_error_t error;
    json_t *line = NULL;
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error)) != NULL) {
        check_line(line);
        json_decref(line);
        lines++;
    }
    (void)fclose(f);
    assert_int_equal(lines, 267);
}

static void the_file_says_what_begins_and_ends_a_text(void **state)
{
    (void)state;
    assert_true(shoal_tokenizer_adds_bos(g_tok));
    assert_int_equal(shoal_tokenizer_bos(g_tok), 2);
    assert_true(shoal_tokenizer_is_stop(g_tok, shoal_tokenizer_eos(g_tok)));
    assert_true(shoal_tokenizer_is_stop(g_tok, shoal_tokenizer_find(g_tok, "<end_of_turn>")));
    assert_false(shoal_tokenizer_is_stop(g_tok, shoal_tokenizer_find(g_tok, "<start_of_turn>")));
}

int main(void)
{
    (void)gemma_path(); /* skips before cmocka reports a failed set-up */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_the_reference_ids),
        cmocka_unit_test(the_file_says_what_begins_and_ends_a_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
