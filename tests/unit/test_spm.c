/* test_spm.c - SentencePiece on small vocabularies: scores, spaces, bytes, bad files. The real
 * vocabulary is in test_gemma_vocabulary.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "lora/model/gguf_write.h"
#include "lora/model/tokenizer.h"

#define SP "\xe2\x96\x81" /* U+2581, how SentencePiece writes a space */

enum { MAX_FILE = 1 << 16 };

typedef struct entry {
    const char *text;
    float score;
    int32_t type; /* 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte */
} entry;

static const entry VOCAB[] = {
    {"<unk>", 0, 2},  {"<s>", 0, 3},    {"</s>", 0, 3},  {"<0x41>", 0, 6}, {"<0xC3>", 0, 6},
    {SP, -1, 1},      {"a", -2, 1},     {"b", -3, 1},    {"c", -4, 1},     {"ab", -10, 1},
    {"bc", -9, 1},    {SP "a", -11, 1}, {"abc", -12, 1}, {"aa", -8, 1},    {SP "abc", -13, 1},
    {"[go]", -20, 4}, {"  ", -20, 4},
};
enum { N_VOCAB = sizeof VOCAB / sizeof VOCAB[0] };

typedef struct fixture {
    shoal_buf file;
    shoal_gguf *gguf;
    shoal_tokenizer *tok;
} fixture;

typedef enum prefix_key { PREFIX_UNSAID, PREFIX_ON, PREFIX_OFF } prefix_key;

static shoal_status open_spm(fixture *f, prefix_key prefix, size_t n_scores, float first_score)
{
    shoal_str tokens[N_VOCAB];
    float scores[N_VOCAB];
    int32_t types[N_VOCAB];
    for (size_t i = 0; i < N_VOCAB; i++) {
        tokens[i] = shoal_str_of(VOCAB[i].text);
        scores[i] = i == 0 ? first_score : VOCAB[i].score;
        types[i] = VOCAB[i].type;
    }
    *f = (fixture){.file = shoal_buf_init(MAX_FILE)};
    shoal_gguf_writer w = shoal_gguf_writer_init(MAX_FILE);
    shoal_gguf_put_str(&w, "tokenizer.ggml.model", shoal_str_of("llama"));
    shoal_gguf_put_strs(&w, "tokenizer.ggml.tokens", tokens, N_VOCAB);
    shoal_gguf_put_i32s(&w, "tokenizer.ggml.token_type", types, N_VOCAB);
    shoal_gguf_put_f32s(&w, "tokenizer.ggml.scores", scores, n_scores);
    shoal_gguf_put_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    shoal_gguf_put_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    if (prefix != PREFIX_UNSAID) {
        shoal_gguf_put_bool(&w, "tokenizer.ggml.add_space_prefix", prefix == PREFIX_ON);
    }
    assert_int_equal(shoal_gguf_writer_finish(&w, &f->file, NULL), SHOAL_OK);
    shoal_gguf_writer_clear(&w);
    assert_int_equal(shoal_gguf_open_memory(&f->gguf, f->file.data, f->file.len, "spm", NULL),
                     SHOAL_OK);
    return shoal_tokenizer_open(&f->tok, f->gguf, NULL);
}

static void close_spm(fixture *f)
{
    shoal_tokenizer_close(f->tok);
    shoal_gguf_close(f->gguf);
    shoal_buf_clear(&f->file);
}

/* Text becomes the tokens written `want`, separated by '/'. */
static void check(const fixture *f, const char *text, bool special, const char *want)
{
    shoal_tokens ids = {0};
    shoal_buf got = shoal_buf_init(MAX_FILE);
    assert_int_equal(shoal_tokenize(f->tok, text, strlen(text), special, &ids, NULL), SHOAL_OK);
    for (size_t i = 0; i < ids.n; i++) {
        if (i > 0) shoal_buf_put_u8(&got, '/');
        shoal_buf_put(&got, VOCAB[ids.ids[i]].text, strlen(VOCAB[ids.ids[i]].text));
    }
    assert_string_equal(shoal_buf_str(&got), want);
    shoal_buf_clear(&got);
    shoal_tokens_clear(&ids);
}

static void best_scores_merge_first(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(open_spm(&f, PREFIX_OFF, N_VOCAB, 0), SHOAL_OK);
    check(&f, "", false, "");
    check(&f, "abc", false, "abc");  /* bc (-9) before ab (-10), then a + bc */
    check(&f, "aaa", false, "aa/a"); /* equals: leftmost */
    check(&f, "ab c", false, "ab/" SP "/c");
    check(&f, "c abc", false, "c/" SP "abc");
    check(&f, "c" SP "abc", false, "c/" SP "abc"); /* as good as a space */
    check(&f, "A\xc3\xa9", false, "<0x41>/<0xC3>/<unk>");
    check(&f, "a[go]b", false, "a/[go]/b"); /* user-defined tokens are always found */
    check(&f, "a  b", false, "a/  /b");
    check(&f, "a</s>b", true, "a/</s>/b");
    check(&f, "a<s>", false, "a/<unk>/<unk>/<unk>");
    assert_true(shoal_tokenizer_adds_bos(f.tok)); /* the habit of this kind */
    close_spm(&f);
}

static void texts_get_a_space_before_them(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(open_spm(&f, PREFIX_UNSAID, N_VOCAB, 0), SHOAL_OK);
    check(&f, "abc", false, SP "abc");
    check(&f, "", false, "");
    check(&f, "</s>abc", true, "</s>/" SP "abc"); /* also after a special token */
    close_spm(&f);
    assert_int_equal(open_spm(&f, PREFIX_ON, N_VOCAB, 0), SHOAL_OK);
    check(&f, "abc", false, SP "abc");
    close_spm(&f);
}

static void tokens_come_back_as_text(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(open_spm(&f, PREFIX_OFF, N_VOCAB, 0), SHOAL_OK);
    const int32_t ids[] = {1, 14, 16, 4, 3};
    shoal_buf out = shoal_buf_init(64);
    assert_int_equal(shoal_detokenize(f.tok, ids, 5, false, &out, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&out), " abc  \xc3"
                                             "A");
    shoal_buf_clear(&out);
    close_spm(&f);
}

static void bad_scores_are_refused(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(open_spm(&f, PREFIX_OFF, N_VOCAB - 1, 0), SHOAL_ERR_FORMAT);
    close_spm(&f);
    assert_int_equal(open_spm(&f, PREFIX_OFF, N_VOCAB, NAN), SHOAL_ERR_FORMAT);
    close_spm(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_scores_merge_first),
        cmocka_unit_test(texts_get_a_space_before_them),
        cmocka_unit_test(tokens_come_back_as_text),
        cmocka_unit_test(bad_scores_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
