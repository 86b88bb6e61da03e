/* Option tables: every kind of value, every wrong line, help, sizes, suggestions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/command.h"
#include "kernels/base/options.h"

typedef struct values {
    bool flag;
    const char *text;
    shoal_arguments list;
    uint64_t count, size;
    double number;
    bool size_given;
} values;

static values v;

/* Parses a line of words into `v` and `args`. */
static shoal_status parse(shoal_arguments *args, bool *help, shoal_error *err, int argc,
                          const char *const *words)
{
    static char copies[16][64]; /* values are borrowed from argv, so it outlives this call */
    char *argv[16] = {NULL};
    v = (values){.count = 5, .number = 0.5};
    const shoal_option a[] = {SHOAL_FLAG("flag", 'f', &v.flag, "a flag"),
                              SHOAL_STRING("text", 't', &v.text, "TEXT", "a text"),
                              SHOAL_LIST("item", 'i', &v.list, "ITEM", "items")};
    const shoal_option b[] = {SHOAL_COUNT("count", 'c', &v.count, "N", "a count", 1, 10),
                              SHOAL_SIZE("size", 0, &v.size, "SIZE", "a size", &v.size_given),
                              SHOAL_NUMBER("number", 0, &v.number, "X", "a number", 0, 1)};
    const shoal_option_group groups[] = {{"one", a, 3}, {"two", b, 3}};
    for (int i = 0; i < argc; i++) {
        assert_true(snprintf(copies[i], sizeof copies[i], "%s", words[i]) >= 0);
        argv[i] = copies[i];
    }
    return shoal_options_parse(groups, 2, argc, argv, args, help, err);
}

#define PARSE(args, err, ...)                                                                   \
    parse(args, &help, err, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)), \
          (const char *const[]){__VA_ARGS__})

static void test_takes_every_form(void **state)
{
    shoal_error err = {0};
    shoal_arguments args = {.n = 0};
    bool help = true;
    (void)state;
    assert_int_equal(PARSE(&args, &err, "cmd", "-f", "--text=a b", "-i", "x", "-iy", "--item", "z",
                           "-c", "7", "--size", "3M", "--number=0.25", "one", "-"),
                     SHOAL_OK);
    assert_false(help);
    assert_true(v.flag);
    assert_string_equal(v.text, "a b");
    assert_int_equal(v.list.n, 3);
    assert_string_equal(v.list.items[1], "y");
    assert_int_equal(v.count, 7);
    assert_int_equal(v.size, 3 << 20);
    assert_true(v.size_given);
    assert_true(v.number > 0.24 && v.number < 0.26);
    assert_int_equal(args.n, 2);
    assert_string_equal(args.items[1], "-");
}

static void test_double_dash_ends_options(void **state)
{
    shoal_error err = {0};
    shoal_arguments args = {.n = 0};
    bool help = false;
    (void)state;
    assert_int_equal(PARSE(&args, &err, "cmd", "--", "-f", "--text"), SHOAL_OK);
    assert_false(v.flag);
    assert_int_equal(args.n, 2);
}

static void test_help_stops_the_parse(void **state)
{
    shoal_error err = {0};
    bool help = false;
    (void)state;
    assert_int_equal(PARSE(NULL, &err, "cmd", "--help", "--nonsense"), SHOAL_OK);
    assert_true(help);
}

static void test_refuses_wrong_lines(void **state)
{
    bool help = false;
    static const struct {
        const char *words[3];
        const char *message;
        const char *hint;
    } wrong[] = {
        {{"cmd", "--cuont", "3"}, "unknown option --cuont", "did you mean --count?"},
        {{"cmd", "-z", "3"}, "unknown option -z", ""},
        {{"cmd", "--count", "0"}, "--count takes a value from 1 to 10, not \"0\"", ""},
        {{"cmd", "--count", "x"}, "--count takes a whole number, not \"x\"", ""},
        {{"cmd", "--count", "-1"}, "--count takes a whole number, not \"-1\"", ""},
        {{"cmd", "--number", "nan"}, "--number takes a number, not \"nan\"", ""},
        {{"cmd", "--number", "2"}, "--number takes a value from 0 to 1, not \"2\"", ""},
        {{"cmd", "--size", "3X"}, "--size takes a size such as 256M, not \"3X\"", ""},
        {{"cmd", "--flag=1", "a"}, "--flag takes no value", ""},
        {{"cmd", "-fx", "a"}, "unknown option -fx", ""},
        {{"cmd", "a", "--text"}, "unexpected argument \"a\"", ""},
        {{"cmd", "-f", "--text"}, "--text needs a value (TEXT)", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        shoal_error err = {0};
        assert_int_equal(parse(NULL, &help, &err, 3, wrong[i].words), SHOAL_ERR_ARG);
        assert_string_equal(err.msg, wrong[i].message);
        assert_string_equal(err.hint, wrong[i].hint);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"17", 17},
                {"1k", 1024},
                {"256M", 268435456},
                {"256MB", 268435456},
                {"2GiB", 2147483648u},
                {"1b", 1}};
    static const char *const bad[] = {"",
                                      "M",
                                      "1.5G",
                                      "-1",
                                      "1T",
                                      "1KK",
                                      "1iB",
                                      " 1",
                                      "18446744073709551616",
                                      "99999999999999999G"};
    uint64_t bytes = 0;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(shoal_parse_size(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(shoal_parse_size(bad[i], &bytes));
    }
}

static void test_nearest_word(void **state)
{
    static const char *const words[] = {"train", "tokenize", "chat", "generate"};
    (void)state;
    assert_string_equal(shoal_nearest_word("trian", words, 4), "train");
    assert_string_equal(shoal_nearest_word("generat", words, 4), "generate");
    assert_string_equal(shoal_nearest_word("chat", words, 4), "chat");
    assert_null(shoal_nearest_word("xyzzyq", words, 4));
    assert_null(shoal_nearest_word("", words, 4));
}

static void test_help_names_every_option(void **state)
{
    char text[4096] = "";
    bool flag = false;
    uint64_t count = 0;
    const shoal_usage usage = {"prog do [options]", "Does it.", "  prog do -f", 0, 0};
    const shoal_option t[] = {SHOAL_FLAG("flag", 'f', &flag, "turns it on"),
                              SHOAL_COUNT("a-rather-long-name", 0, &count, "N", "counts", 0, 0)};
    const shoal_option_group g = {"options", t, 2};
    FILE *f = fmemopen(text, sizeof text, "w");
    (void)state;
    assert_non_null(f);
    shoal_options_help(f, &usage, &g, 1);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "usage: prog do [options]\n"));
    assert_non_null(strstr(text, "-f, --flag"));
    assert_non_null(strstr(text, "--a-rather-long-name N\n"));
    assert_non_null(strstr(text, "example:\n  prog do -f\n"));
}

static void test_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(shoal_exit_code(SHOAL_OK), 0);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_IO), 1);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_CANCELLED), 1);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_ARG), 2);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_DENIED), 3);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_AGAIN), 3);
    assert_int_equal(shoal_exit_code(SHOAL_ERR_TAMPERED), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_every_form),
        cmocka_unit_test(test_double_dash_ends_options),
        cmocka_unit_test(test_help_stops_the_parse),
        cmocka_unit_test(test_refuses_wrong_lines),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_nearest_word),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
