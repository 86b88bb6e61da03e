/* test_tokenizer.c - ids of the reference texts on the real vocabulary; bad vocabularies; streams.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/gguf_write.h"
#include "lora/model/tokenizer.h"
#include "tests/support/tiny_model.h"

/* A tokenizer over the tiny vocabulary. */
typedef struct fixture {
    shoal_buf file;
    shoal_gguf *gguf;
    shoal_tokenizer *tok;
} fixture;

static int set_up(void **state)
{
    fixture *f = shoal_calloc(1, sizeof *f);
    f->file = shoal_buf_init(1 << 24);
    assert_int_equal(shoal_tiny_model_encode(&f->file, 1, NULL, NULL), SHOAL_OK);
    assert_int_equal(shoal_gguf_open_memory(&f->gguf, f->file.data, f->file.len, "tiny", NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_tokenizer_open(&f->tok, f->gguf, NULL), SHOAL_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    shoal_tokenizer_close(f->tok);
    shoal_gguf_close(f->gguf);
    shoal_buf_clear(&f->file);
    shoal_free(f);
    return 0;
}

static shoal_tokens ids_of(const fixture *f, const char *text, size_t n, bool special)
{
    shoal_tokens out = {0};
    assert_int_equal(shoal_tokenize(f->tok, text, n, special, &out, NULL), SHOAL_OK);
    return out;
}

/* Checks that text becomes the tokens spelt `want`, separated by '/'. */
static void check_pieces(const fixture *f, const char *text, const char *want)
{
    shoal_tokens ids = ids_of(f, text, strlen(text), false);
    shoal_buf got = shoal_buf_init(1 << 16);
    for (size_t i = 0; i < ids.n; i++) {
        shoal_str piece = shoal_token_piece(f->tok, ids.ids[i]);
        if (i > 0) shoal_buf_put_u8(&got, '/');
        shoal_buf_put(&got, piece.p, piece.n);
    }
    assert_string_equal(shoal_buf_str(&got), want);
    shoal_buf_clear(&got);
    shoal_tokens_clear(&ids);
}

static void merges_by_rank_within_pieces(void **state)
{
    const fixture *f = *state;
    check_pieces(f, "the system and user", "t/he/ s/ystem/ and/ /user");
    check_pieces(f, "system\nuser", "system/\n/user");
    check_pieces(f, "turn on 12", "turn/ /on/ /1/2");
    check_pieces(f, "a  b", "a/ / b");
    check_pieces(f, "it's", "it/'/s");
}

static void every_byte_comes_back(void **state)
{
    const fixture *f = *state;
    char all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (char)(unsigned char)i;
    }
    shoal_tokens ids = ids_of(f, all, sizeof all, true);
    shoal_buf back = shoal_buf_init(4096);
    assert_int_equal(shoal_detokenize(f->tok, ids.ids, ids.n, true, &back, NULL), SHOAL_OK);
    assert_int_equal(back.len, sizeof all);
    assert_memory_equal(back.data, all, sizeof all);
    shoal_buf_clear(&back);
    shoal_tokens_clear(&ids);
}

static void control_tokens_only_when_asked(void **state)
{
    const fixture *f = *state;
    static const char text[] = "<|im_start|>a<|im_end|>";
    shoal_tokens with = ids_of(f, text, strlen(text), true);
    shoal_tokens without = ids_of(f, text, strlen(text), false);
    assert_int_equal(with.n, 3);
    assert_int_equal(with.ids[0], 1);
    assert_int_equal(with.ids[2], 2);
    for (size_t i = 0; i < without.n; i++) {
        assert_false(shoal_tokenizer_is_control(f->tok, without.ids[i]));
    }
    assert_int_equal(shoal_tokenizer_find(f->tok, "<|im_end|>"), 2);
    assert_int_equal(shoal_tokenizer_find(f->tok, "<|im_en"), -1);
    assert_true(shoal_tokenizer_is_stop(f->tok, 2));
    assert_true(shoal_tokenizer_is_stop(f->tok, 0));
    assert_false(shoal_tokenizer_is_stop(f->tok, 1));
    assert_false(shoal_tokenizer_is_stop(f->tok, -5));
    shoal_tokens_clear(&with);
    shoal_tokens_clear(&without);
}

/* One word of 2 MiB: quadratic merging would take hours. */
static void a_very_long_word_is_quick(void **state)
{
    const fixture *f = *state;
    size_t n = 2u << 20;
    char *text = shoal_alloc(n);
    for (size_t i = 0; i < n; i++) {
        text[i] = "heinanthouightst"[i * 7 % 16];
    }
    shoal_tokens ids = ids_of(f, text, n, true);
    shoal_buf back = shoal_buf_init(n);
    assert_int_equal(shoal_detokenize(f->tok, ids.ids, ids.n, false, &back, NULL), SHOAL_OK);
    assert_int_equal(back.len, n);
    assert_memory_equal(back.data, text, n);
    shoal_buf_clear(&back);
    shoal_tokens_clear(&ids);
    shoal_free(text);
}

static void token_lists_have_a_maximum(void **state)
{
    (void)state;
    shoal_tokens t = {.max = 2};
    shoal_error err = {0};
    assert_int_equal(shoal_tokens_push(&t, 1, &err), SHOAL_OK);
    assert_int_equal(shoal_tokens_push(&t, 2, &err), SHOAL_OK);
    assert_int_equal(shoal_tokens_push(&t, 3, &err), SHOAL_ERR_TOO_LARGE);
    shoal_tokens_clear(&t);
}

/* ---- bad vocabularies -------------------------------------------------------------------------
 */

typedef struct vocab {
    const char *model, *pre;
    const char *tokens[4];
    size_t n_tokens;
    const char *merge;
    int32_t types[4];
    size_t n_types;
    uint32_t eos;
} vocab;

static shoal_status open_vocab(const vocab *v)
{
    shoal_gguf_writer w = shoal_gguf_writer_init(1 << 16);
    shoal_str tokens[4];
    for (size_t i = 0; i < v->n_tokens; i++) {
        tokens[i] = shoal_str_of(v->tokens[i]);
    }
    shoal_str merge = shoal_str_of(v->merge);
    shoal_gguf_put_str(&w, "tokenizer.ggml.model", shoal_str_of(v->model));
    shoal_gguf_put_str(&w, "tokenizer.ggml.pre", shoal_str_of(v->pre));
    shoal_gguf_put_strs(&w, "tokenizer.ggml.tokens", tokens, v->n_tokens);
    shoal_gguf_put_strs(&w, "tokenizer.ggml.merges", &merge, 1);
    shoal_gguf_put_i32s(&w, "tokenizer.ggml.token_type", v->types, v->n_types);
    shoal_gguf_put_u32(&w, "tokenizer.ggml.eos_token_id", v->eos);
    shoal_buf file = shoal_buf_init(1 << 16);
    assert_int_equal(shoal_gguf_writer_finish(&w, &file, NULL), SHOAL_OK);
    shoal_gguf *g = NULL;
    assert_int_equal(shoal_gguf_open_memory(&g, file.data, file.len, "vocab", NULL), SHOAL_OK);
    shoal_tokenizer *tok = NULL;
    shoal_error err = {0};
    shoal_status st = shoal_tokenizer_open(&tok, g, &err);
    assert_true((st == SHOAL_OK) == (tok != NULL));
    assert_true(st == SHOAL_OK || err.msg[0] != '\0');
    shoal_tokenizer_close(tok);
    shoal_gguf_close(g);
    shoal_gguf_writer_clear(&w);
    shoal_buf_clear(&file);
    return st;
}

static void bad_vocabularies_are_refused(void **state)
{
    (void)state;
    const vocab good = {"gpt2", "smollm", {"a", "b", "ab", "<e>"}, 4, "a b", {1, 1, 1, 3}, 4, 3};
    assert_int_equal(open_vocab(&good), SHOAL_OK);
    vocab v = good;
    v.model = "llama"; /* and no scores */
    assert_int_equal(open_vocab(&v), SHOAL_ERR_NOT_FOUND);
    v = good;
    v.model = "unigram";
    assert_int_equal(open_vocab(&v), SHOAL_ERR_UNSUPPORTED);
    v = good;
    v.pre = "tekken";
    assert_int_equal(open_vocab(&v), SHOAL_ERR_UNSUPPORTED);
    v = good;
    v.pre = "qwen2";
    assert_int_equal(open_vocab(&v), SHOAL_OK);
    v = good;
    v.n_tokens = 0;
    assert_int_equal(open_vocab(&v), SHOAL_ERR_TOO_LARGE);
    v = good;
    v.n_types = 3;
    assert_int_equal(open_vocab(&v), SHOAL_ERR_FORMAT);
    v = good;
    v.types[1] = 77;
    assert_int_equal(open_vocab(&v), SHOAL_ERR_FORMAT);
    v = good;
    v.eos = 4;
    assert_int_equal(open_vocab(&v), SHOAL_ERR_FORMAT);
    const char *const merges[] = {"", "a", " ", "  ", "a ", " b", "b a", "a c", "a b c", "\xff b"};
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        v = good;
        v.merge = merges[i];
        assert_int_equal(open_vocab(&v), SHOAL_ERR_FORMAT);
    }
}

/* ---- streams ----------------------------------------------------------------------------------
 */

static void check_stream(const char *bytes, size_t n, const char *want)
{
    shoal_utf8_stream s = {{0}, 0};
    shoal_buf out = shoal_buf_init(256);
    for (size_t i = 0; i < n; i++) {
        shoal_utf8_push(&s, (shoal_str){bytes + i, 1}, &out);
    }
    shoal_utf8_flush(&s, &out);
    assert_string_equal(shoal_buf_str(&out), want);
    shoal_buf_clear(&out);
}

static void streams_hold_back_unfinished_characters(void **state)
{
    (void)state;
    shoal_utf8_stream s = {{0}, 0};
    shoal_buf out = shoal_buf_init(64);
    shoal_utf8_push(&s, (shoal_str){"a\xf0\x9f", 3}, &out);
    assert_string_equal(shoal_buf_str(&out), "a");
    shoal_utf8_push(&s,
                    (shoal_str){"\x90\x9f"
                                "b",
                                3},
                    &out);
    assert_string_equal(shoal_buf_str(&out), "a\xf0\x9f\x90\x9f"
                                             "b");
    shoal_buf_clear(&out);
#define REPLACED "\xef\xbf\xbd"
    check_stream("\xc3\xa9", 2, "\xc3\xa9");
    check_stream("\xc3(", 2, REPLACED "(");
    check_stream("\xe2\x82", 2, REPLACED);
    check_stream("\xf0\x80\x80", 3, REPLACED REPLACED REPLACED); /* Unicode 3.9, table 3-8 */
    check_stream("\xed\xa0\x80", 3, REPLACED REPLACED REPLACED); /* a surrogate */
    check_stream("\xe2\x82\xe2\x82\xac", 5, REPLACED "\xe2\x82\xac");
    check_stream("\xff\x41", 2, REPLACED "A");
#undef REPLACED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank_within_pieces),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(control_tokens_only_when_asked),
        cmocka_unit_test(a_very_long_word_is_quick),
        cmocka_unit_test(token_lists_have_a_maximum),
        cmocka_unit_test(bad_vocabularies_are_refused),
        cmocka_unit_test(streams_hold_back_unfinished_characters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
