/* test_pretokenize.c - the split patterns against the reference regular expressions
 * (tests/kat/gen/pretok.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "lora/model/pretokenize.h"

static const char *const KINDS[] = {"gpt-2", "smollm", "qwen2", "llama-bpe"};

static void check_split(const char *name, const char *text, size_t n, const json_t *want)
{
    shoal_pretok kind;
    assert_true(shoal_pretok_find(name, strlen(name), &kind));
    size_t at = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        assert_true(at < n);
        size_t got = shoal_pretok_next(kind, text + at, n - at);
        if (got != (size_t)json_integer_value(json_array_get(want, i))) {
            fail_msg("%s: piece %zu of '%s' has %zu bytes", name, i, text, got);
        }
        at += got;
    }
    assert_int_equal(at, n);
}

static void splits_are_those_of_the_patterns(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file("tests/kat/pretok.json", 0, &error);
    if (root == NULL) fail_msg("%s:%d: %s", error.source, error.line, error.text);
    assert_true(json_array_size(root) > 300);
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *row = json_array_get(root, i);
        const json_t *text = json_object_get(row, "text");
        for (size_t k = 0; k < sizeof KINDS / sizeof KINDS[0]; k++) {
            check_split(KINDS[k], json_string_value(text), json_string_length(text),
                        json_object_get(row, KINDS[k]));
        }
    }
    json_decref(root);
}

static void unknown_names_are_not_guessed(void **state)
{
    (void)state;
    shoal_pretok kind;
    assert_false(shoal_pretok_find("qwen", 4, &kind));
    assert_false(shoal_pretok_find("", 0, &kind));
    assert_false(shoal_pretok_find("qwen2x", 6, &kind));
}

/* Bytes that are not UTF-8 move on, one by one if need be, and never past the end. */
static void any_bytes_are_split(void **state)
{
    (void)state;
    char bytes[64];
    uint32_t x = 1;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            x = x * 1664525u + 1013904223u;
            bytes[i] = (char)(unsigned char)(x >> 24);
        }
        for (int kind = SHOAL_PRETOK_GPT2; kind <= SHOAL_PRETOK_LLAMA3; kind++) {
            for (size_t at = 0; at < sizeof bytes;) {
                size_t n = shoal_pretok_next((shoal_pretok)kind, bytes + at, sizeof bytes - at);
                assert_in_range(n, 1, sizeof bytes - at);
                at += n;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_those_of_the_patterns),
        cmocka_unit_test(unknown_names_are_not_guessed),
        cmocka_unit_test(any_bytes_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
