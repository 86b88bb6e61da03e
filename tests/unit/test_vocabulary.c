/* test_vocabulary.c - reference texts and conversations on the real model's vocabulary, to the id.
 * Source of the vectors: shared/vectors/README.md (llama.cpp and Hugging Face tokenizers agree). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/model/chat_template.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"
#include "tests/support/vectors.h"

enum { MAX_MESSAGES = 16 };

static shoal_gguf *g_gguf;
static shoal_tokenizer *g_tok;
static shoal_chat_template g_chat;

static int set_up(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (shoal_gguf_open(&g_gguf, real_model_path(), &err) != SHOAL_OK ||
        shoal_tokenizer_open(&g_tok, g_gguf, &err) != SHOAL_OK ||
        shoal_chat_template_init(&g_chat, g_gguf, g_tok, &err) != SHOAL_OK) {
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

static void check_ids(const shoal_tokens *got, const json_t *want, const char *what)
{
    size_t n = 0;
    int32_t *ids = vectors_ids(want, &n);
    bool equal = got->n == n && (n == 0 || memcmp(got->ids, ids, n * sizeof *ids) == 0);
    if (!equal) {
        fail_msg("ids differ (%zu, expected %zu): %s", got->n, n, what);
    }
    shoal_free(ids);
}

static void check_line(const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    const char *p = json_string_value(text);
    size_t n = json_string_length(text);
    shoal_tokens ids = {0};
    bool special = json_is_true(json_object_get(line, "parse_special"));
    assert_int_equal(shoal_tokenize(g_tok, p, n, special, &ids, NULL), SHOAL_OK);
    check_ids(&ids, json_object_get(line, "ids"), p);

    const json_t *decoded = json_object_get(line, "decoded");
    shoal_buf back = shoal_buf_init(1 << 20);
    assert_int_equal(shoal_detokenize(g_tok, ids.ids, ids.n, true, &back, NULL), SHOAL_OK);
    assert_int_equal(back.len, json_string_length(decoded));
    assert_memory_equal(shoal_buf_str(&back), json_string_value(decoded), back.len);
    shoal_buf_clear(&back);
    shoal_tokens_clear(&ids);
}

static void texts_become_the_reference_ids(void **state)
{
    (void)state;
    FILE *f = fopen(vectors_path("smollm2-135m/tokenizer.jsonl"), "r");
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
    assert_int_equal(lines, 268);
}

static size_t read_messages(const json_t *array, shoal_message *msgs)
{
    size_t n = json_array_size(array);
    assert_in_range(n, 1, MAX_MESSAGES);
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(array, i);
        const json_t *content = json_object_get(m, "content");
        msgs[i].role = json_string_value(json_object_get(m, "role"));
        msgs[i].content = (shoal_str){json_string_value(content), json_string_length(content)};
    }
    return n;
}

static void conversations_become_the_reference_ids_and_masks(void **state)
{
    (void)state;
    json_t *chats = vectors_load("smollm2-135m/chat.json");
    json_t *batch = vectors_load("smollm2-135m/train_batch.json");
    const json_t *samples = json_object_get(batch, "samples");
    assert_int_equal(json_array_size(samples), json_array_size(chats));
    for (size_t i = 0; i < json_array_size(chats); i++) {
        const json_t *chat = json_array_get(chats, i);
        shoal_message msgs[MAX_MESSAGES];
        size_t n = read_messages(json_object_get(chat, "messages"), msgs);
        const char *want = json_string_value(json_object_get(chat, "text"));
        shoal_buf text = shoal_buf_init(1 << 20);
        assert_int_equal(shoal_chat_text(&g_chat, msgs, n, false, &text, NULL), SHOAL_OK);
        assert_string_equal(shoal_buf_str(&text), want);

        shoal_tokens ids = {0};
        shoal_buf mask = shoal_buf_init(1 << 20);
        assert_int_equal(shoal_chat_encode(&g_chat, msgs, n, false, &ids, &mask, NULL), SHOAL_OK);
        check_ids(&ids, json_object_get(chat, "ids"), want);
        const json_t *sample = json_array_get(samples, i);
        check_ids(&ids, json_object_get(sample, "ids"), want);
        const json_t *want_mask = json_object_get(sample, "mask");
        assert_int_equal(mask.len, json_array_size(want_mask));
        for (size_t k = 0; k < mask.len; k++) {
            assert_int_equal(mask.data[k], json_integer_value(json_array_get(want_mask, k)));
        }
        shoal_buf_clear(&text);
        shoal_buf_clear(&mask);
        shoal_tokens_clear(&ids);
    }
    json_decref(chats);
    json_decref(batch);
}

int main(void)
{
    (void)real_model_path(); /* skips before cmocka reports a failed set-up */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_the_reference_ids),
        cmocka_unit_test(conversations_become_the_reference_ids_and_masks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
