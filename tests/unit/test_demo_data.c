/* test_demo_data.c - the households' data: repeatable, held out, and the same as in examples/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/demo.h"
#include "client/demo_data.h"
#include "kernels/base/file.h"
#include "tests/support/temp_dir.h"

static void demo_rows_repeat_and_hold_out_what_is_new(void **state)
{
    (void)state;
    for (size_t h = 0; shoal_demo_household(h) != NULL; h++) {
        shoal_buf a = shoal_buf_init(1 << 18);
        shoal_buf b = shoal_buf_init(1 << 18);
        shoal_buf held = shoal_buf_init(1 << 18);
        assert_int_equal(shoal_demo_rows(h, 1, 48, 8, &a, &held, NULL), SHOAL_OK);
        shoal_buf_clear(&held);
        assert_int_equal(shoal_demo_rows(h, 1, 48, 8, &b, &held, NULL), SHOAL_OK);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        for (char *line = (char *)held.data, *end; (end = strchr(line, '\n')) != NULL;
             line = end + 1) {
            *end = '\0';
            assert_null(strstr(shoal_buf_str(&a), strstr(line, "assistant")));
        }
        shoal_buf_clear(&a);
        shoal_buf_clear(&b);
        shoal_buf_clear(&held);
    }
}

static void assert_same_file(const char *dir, const char *name)
{
    static const char examples[] = "examples/data/households";
    char path[TEMP_DIR_MAX + 80];
    shoal_buf here;
    shoal_buf there;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(shoal_file_read(path, 1 << 20, &here, NULL), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/%s", examples, name);
    assert_int_equal(shoal_file_read(path, 1 << 20, &there, NULL), SHOAL_OK);
    assert_int_equal(here.len, there.len);
    assert_memory_equal(here.data, there.data, here.len);
    shoal_buf_clear(&here);
    shoal_buf_clear(&there);
}

static void the_examples_are_what_the_program_writes(void **state)
{
    static const char *const names[] = {"attic-flat.jsonl", "music-house.jsonl",
                                        "big-kitchen.jsonl", "garden-cottage.jsonl",
                                        "held-out.jsonl"};
    char dir[TEMP_DIR_MAX];
    (void)state;
    temp_dir_make(dir);
    assert_int_equal(shoal_demo_write_data(dir, 4, 1, NULL), SHOAL_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_same_file(dir, names[i]);
    temp_dir_remove(dir);
}

static void more_than_there_is_to_say_is_refused(void **state)
{
    (void)state;
    shoal_buf a = shoal_buf_init(1 << 20);
    shoal_buf b = shoal_buf_init(1 << 20);
    assert_int_equal(shoal_demo_rows(0, 1, 4000, 8, &a, &b, NULL), SHOAL_ERR_TOO_LARGE);
    assert_int_equal(shoal_demo_rows(SHOAL_DEMO_HOUSEHOLDS, 1, 1, 1, &a, &b, NULL), SHOAL_ERR_ARG);
    shoal_buf_clear(&a);
    shoal_buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_rows_repeat_and_hold_out_what_is_new),
        cmocka_unit_test(the_examples_are_what_the_program_writes),
        cmocka_unit_test(more_than_there_is_to_say_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
