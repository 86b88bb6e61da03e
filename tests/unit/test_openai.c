/* The OpenAI API: requests with defaults, refusals by field, answers as clients read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/openai.h"

static shoal_openai_request r;

static shoal_status decode(const char *body, shoal_error *err)
{
    r = (shoal_openai_request){.temperature = 0.25, .top_p = 0.5};
    return shoal_openai_request_decode(&r, body, strlen(body), err);
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void test_defaults_hold(void **state)
{
    shoal_error err = {0};
    (void)state;
    assert_int_equal(decode("{" HI ",\"unknown\":1,\"temperature\":null}", &err), SHOAL_OK);
    assert_null(r.model);
    assert_int_equal(r.n_messages, 1);
    assert_true(r.temperature > 0.24 && r.temperature < 0.26);
    assert_false(r.stream);
    assert_false(r.seed_given);
    assert_int_equal(r.max_tokens, 0);
    shoal_openai_request_clear(&r);
}

static void test_reads_every_field(void **state)
{
    shoal_error err = {0};
    (void)state;
    assert_int_equal(
        decode(
            "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"},"
            "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\u0000\"},"
            "{\"type\":\"text\",\"text\":\"b\"}]}],\"temperature\":1.5,\"top_p\":0.9,"
            "\"min_p\":0.05,\"top_k\":40,\"seed\":7,\"max_completion_tokens\":9,"
            "\"stop\":[\"x\",\"yy\"],\"stream\":true,\"stream_options\":{\"include_usage\":true},"
            "\"n\":1,\"tools\":[],\"response_format\":{\"type\":\"text\"}}",
            &err),
        SHOAL_OK);
    assert_string_equal(r.model, "m");
    assert_string_equal(r.messages[0].role, "system");
    assert_int_equal(r.messages[1].content.n, 3);
    assert_memory_equal(r.messages[1].content.p, "a\0b", 3);
    assert_true(r.temperature > 1.4 && r.top_p > 0.8 && r.min_p > 0.04);
    assert_int_equal(r.top_k, 40);
    assert_true(r.seed_given && r.seed == 7);
    assert_int_equal(r.max_tokens, 9);
    assert_int_equal(r.n_stops, 2);
    assert_memory_equal(r.stops[1].p, "yy", 2);
    assert_true(r.stream && r.include_usage);
    shoal_openai_request_clear(&r);
}

static void test_refuses(void **state)
{
    static const struct {
        const char *body, *names;
    } wrong[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{}", "messages"},
        {"{\"messages\":\"hi\"}", "messages"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "text"},
        {"{" HI ",\"temperature\":\"hot\"}", "temperature"},
        {"{" HI ",\"temperature\":2.5}", "temperature"},
        {"{" HI ",\"top_p\":-1}", "top_p"},
        {"{" HI ",\"max_tokens\":0}", "max_tokens"},
        {"{" HI ",\"max_tokens\":1.5}", "max_tokens"},
        {"{" HI ",\"seed\":-1}", "seed"},
        {"{" HI ",\"stop\":\"\"}", "stop"},
        {"{" HI ",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "stop"},
        {"{" HI ",\"stream\":1}", "stream"},
        {"{" HI ",\"n\":2}", "\"n\""},
        {"{" HI ",\"tools\":[{}]}", "tools"},
        {"{" HI ",\"logprobs\":true}", "logprobs"},
        {"{" HI ",\"presence_penalty\":0.5}", "presence_penalty"},
        {"{" HI ",\"response_format\":{\"type\":\"json_object\"}}", "response_format"},
        {"{" HI ",\"model\":3}", "model"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        shoal_error err = {0};
        assert_int_not_equal(decode(wrong[i].body, &err), SHOAL_OK);
        if (strstr(err.msg, wrong[i].names) == NULL) fail_msg("%s: %s", wrong[i].body, err.msg);
        shoal_openai_request_clear(&r);
    }
}

static const shoal_openai_answer answer = {"chatcmpl-1", 1700000000, "base"};
static const shoal_openai_usage usage = {10, 4, 6, 3, 2};

static json_t *reread(shoal_buf *b)
{
    json_error_t why;
    json_t *v = json_loadb(shoal_buf_str(b), b->len, JSON_ALLOW_NUL, &why);
    assert_non_null(v);
    shoal_buf_clear(b);
    return v;
}

static const char *str_at(const json_t *v, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(v, a), b));
}

static void test_response(void **state)
{
    shoal_buf b = shoal_buf_init(65536);
    shoal_error err = {0};
    (void)state;
    assert_int_equal(
        shoal_openai_encode_response(&b, &answer, (shoal_str){"a\"\xff", 3}, "stop", &usage, &err),
        SHOAL_OK);
    json_t *v = reread(&b);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(v, "object")), "chat.completion");
    assert_string_equal(str_at(choice, "message", "role"), "assistant");
    assert_string_equal(str_at(choice, "message", "content"), "a\"\xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "stop");
    const json_t *u = json_object_get(v, "usage");
    assert_int_equal(json_integer_value(json_object_get(u, "total_tokens")), 14);
    assert_int_equal(json_integer_value(json_object_get(u, "drafted")), 3);
    assert_int_equal(json_integer_value(json_object_get(u, "accepted")), 2);
    json_decref(v);
}

static const json_t *first_choice(const json_t *v)
{
    return json_array_get(json_object_get(v, "choices"), 0);
}

static void test_chunks(void **state)
{
    shoal_buf b = shoal_buf_init(65536);
    shoal_error err = {0};
    (void)state;
    shoal_openai_chunk c = {.role = true};
    assert_int_equal(shoal_openai_encode_chunk(&b, &answer, &c, &err), SHOAL_OK);
    json_t *v = reread(&b);
    assert_string_equal(str_at(first_choice(v), "delta", "role"), "assistant");
    assert_true(json_is_null(json_object_get(first_choice(v), "finish_reason")));
    json_decref(v);
    c = (shoal_openai_chunk){.text = {"x", 1}};
    assert_int_equal(shoal_openai_encode_chunk(&b, &answer, &c, &err), SHOAL_OK);
    v = reread(&b);
    assert_string_equal(str_at(first_choice(v), "delta", "content"), "x");
    assert_string_equal(json_string_value(json_object_get(v, "object")), "chat.completion.chunk");
    json_decref(v);
    c = (shoal_openai_chunk){.finish = "length"};
    assert_int_equal(shoal_openai_encode_chunk(&b, &answer, &c, &err), SHOAL_OK);
    v = reread(&b);
    assert_int_equal(json_object_size(json_object_get(first_choice(v), "delta")), 0);
    assert_string_equal(json_string_value(json_object_get(first_choice(v), "finish_reason")),
                        "length");
    json_decref(v);
    c = (shoal_openai_chunk){.usage = &usage};
    assert_int_equal(shoal_openai_encode_chunk(&b, &answer, &c, &err), SHOAL_OK);
    v = reread(&b);
    assert_int_equal(json_array_size(json_object_get(v, "choices")), 0);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(v, "usage"), "prompt_tokens")), 10);
    json_decref(v);
}

static void test_errors_and_models(void **state)
{
    static const char *const ids[] = {"base", "notes"};
    shoal_buf b = shoal_buf_init(65536);
    shoal_error err = {0};
    (void)state;
    assert_int_equal(shoal_openai_encode_error(&b, 404, "model_not_found", "no", &err), SHOAL_OK);
    json_t *v = reread(&b);
    assert_string_equal(str_at(v, "error", "code"), "model_not_found");
    assert_string_equal(str_at(v, "error", "type"), "invalid_request_error");
    json_decref(v);
    assert_int_equal(shoal_openai_encode_models(&b, ids, 2, 5, &err), SHOAL_OK);
    v = reread(&b);
    const json_t *second = json_array_get(json_object_get(v, "data"), 1);
    assert_string_equal(json_string_value(json_object_get(second, "id")), "notes");
    json_decref(v);
}

int main(void)
{
    shoal_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_hold), cmocka_unit_test(test_reads_every_field),
        cmocka_unit_test(test_refuses),       cmocka_unit_test(test_response),
        cmocka_unit_test(test_chunks),        cmocka_unit_test(test_errors_and_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
