/* test_store.c - $SHOAL_HOME, names, records, adapters and the agent's lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/record.h"
#include "client/store.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "tests/support/temp_dir.h"

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    shoal_store store;
} fixture;

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    temp_dir_make(f->dir);
    assert_int_equal(setenv("SHOAL_HOME", f->dir, 1), 0);
    assert_int_equal(shoal_store_open(&f->store, NULL, NULL), SHOAL_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    temp_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(shoal_file_write_atomic(path, text, strlen(text), 0644, NULL), SHOAL_OK);
}

static void root_comes_from_the_environment(void **state)
{
    fixture *f = *state;
    char want[TEMP_DIR_MAX + 16];
    struct stat sb;
    shoal_store s;
    (void)snprintf(want, sizeof want, "%s/deep/er", f->dir);
    assert_int_equal(shoal_store_open(&s, want, NULL), SHOAL_OK);
    assert_string_equal(s.root, want);
    assert_int_equal(stat(want, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0700);

    unsetenv("SHOAL_HOME");
    assert_int_equal(setenv("XDG_DATA_HOME", f->dir, 1), 0);
    (void)snprintf(want, sizeof want, "%s/shoal", f->dir);
    assert_int_equal(shoal_store_open(&s, NULL, NULL), SHOAL_OK);
    assert_string_equal(s.root, want);
    unsetenv("XDG_DATA_HOME");
    assert_int_equal(setenv("SHOAL_HOME", f->dir, 1), 0);
}

static void a_root_that_is_a_file_is_refused(void **state)
{
    fixture *f = *state;
    char path[TEMP_DIR_MAX + 16];
    shoal_store s;
    shoal_error err = {0};
    (void)snprintf(path, sizeof path, "%s/file", f->dir);
    write_file(path, "x");
    assert_int_not_equal(shoal_store_open(&s, path, &err), SHOAL_OK);
    assert_non_null(strstr(err.msg, path));
}

static void models_resolve_by_name_and_path(void **state)
{
    fixture *f = *state;
    char path[SHOAL_PATH_MAX];
    char out[SHOAL_PATH_MAX];
    assert_int_equal(shoal_store_path(&f->store, path, NULL, "models/m.gguf"), SHOAL_OK);
    write_file(path, "x");
    assert_int_equal(shoal_store_model_path("m", out, NULL), SHOAL_OK);
    assert_string_equal(out, path);
    assert_int_equal(shoal_store_model_path("m.gguf", out, NULL), SHOAL_OK);
    assert_string_equal(out, path);
    assert_int_equal(shoal_store_model_path(path, out, NULL), SHOAL_OK);
    assert_string_equal(out, path);
}

static void a_missing_model_says_how_to_get_it(void **state)
{
    (void)state;
    char out[SHOAL_PATH_MAX];
    shoal_error err = {0};
    assert_int_equal(shoal_store_model_path("absent", out, &err), SHOAL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.hint, "shoal model list"));
    assert_int_equal(shoal_store_model_path("../etc/passwd", out, &err), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_store_model_path("", out, &err), SHOAL_ERR_NOT_FOUND);
}

static void names_are_one_safe_path_component(void **state)
{
    (void)state;
    assert_true(shoal_store_name_ok("smollm2-135m"));
    assert_true(shoal_store_name_ok("A.b_c-9"));
    assert_false(shoal_store_name_ok(""));
    assert_false(shoal_store_name_ok("."));
    assert_false(shoal_store_name_ok(".."));
    assert_false(shoal_store_name_ok("a/b"));
    assert_false(shoal_store_name_ok("a b"));
    char longest[66];
    memset(longest, 'a', 65);
    longest[65] = '\0';
    assert_false(shoal_store_name_ok(longest));
    longest[64] = '\0';
    assert_true(shoal_store_name_ok(longest));
}

static void adapters_keep_versions_and_a_latest(void **state)
{
    fixture *f = *state;
    char out[SHOAL_PATH_MAX];
    shoal_buf text;
    assert_int_equal(shoal_store_put_adapter(&f->store, "home", 1, "one", 3, NULL), SHOAL_OK);
    assert_int_equal(shoal_store_put_adapter(&f->store, "home", 2, "two", 3, NULL), SHOAL_OK);
    assert_int_equal(shoal_store_adapter_path("home", out, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_read(out, 16, &text, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&text), "two");
    shoal_buf_clear(&text);
    assert_int_equal(shoal_store_adapter_path("home/v1", out, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_read(out, 16, &text, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&text), "one");
    shoal_buf_clear(&text);
    assert_int_equal(shoal_store_adapter_path("home/v3", out, NULL), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_store_adapter_path("other", out, NULL), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_store_put_adapter(&f->store, "../x", 1, "x", 1, NULL), SHOAL_ERR_ARG);
}

static void a_full_disk_leaves_the_old_adapter(void **state)
{
    fixture *f = *state;
    char out[SHOAL_PATH_MAX];
    shoal_buf text;
    assert_int_equal(shoal_store_put_adapter(&f->store, "home", 1, "one", 3, NULL), SHOAL_OK);
    shoal_file_fail_at(1, ENOSPC);
    assert_int_equal(shoal_store_put_adapter(&f->store, "home", 2, "two", 3, NULL), SHOAL_ERR_FULL);
    shoal_file_fail_at(0, 0);
    assert_int_equal(shoal_store_adapter_path("home", out, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_read(out, 16, &text, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&text), "one");
    shoal_buf_clear(&text);
}

static void two_agents_do_not_run_at_once(void **state)
{
    fixture *f = *state;
    shoal_store_lock lock;
    assert_int_equal(shoal_store_lock_take(&f->store, &lock, NULL), SHOAL_OK);
    pid_t pid = fork(); /* a record lock binds processes: only another one can be refused */
    assert_true(pid >= 0);
    if (pid == 0) {
        shoal_store_lock other;
        _exit(shoal_store_lock_take(&f->store, &other, NULL) == SHOAL_ERR_AGAIN ? 7 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
    shoal_store_lock_release(&lock);
    pid = fork();
    if (pid == 0) {
        shoal_store_lock other;
        _exit(shoal_store_lock_take(&f->store, &other, NULL) == SHOAL_OK ? 7 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void records_come_back_as_written(void **state)
{
    fixture *f = *state;
    char path[SHOAL_PATH_MAX];
    static shoal_record r;
    uint8_t bytes[4] = {0xde, 0xad, 0xbe, 0xef};
    uint64_t n = 0;
    struct stat sb;
    assert_int_equal(shoal_store_path(&f->store, path, NULL, "enrolment"), SHOAL_OK);
    r.n = 0;
    assert_int_equal(shoal_record_put(&r, "server", "https://a b:1", NULL), SHOAL_OK);
    assert_int_equal(shoal_record_put_u64(&r, "round", UINT64_MAX, NULL), SHOAL_OK);
    assert_int_equal(shoal_record_put_u64(&r, "round", 7, NULL), SHOAL_OK);
    assert_int_equal(shoal_record_put_hex(&r, "key", bytes, 4, NULL), SHOAL_OK);
    assert_int_equal(shoal_record_put(&r, "empty", "", NULL), SHOAL_OK);
    assert_int_equal(shoal_record_save(&r, path, NULL), SHOAL_OK);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);

    memset(&r, 0, sizeof r);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(shoal_record_load(&r, path, NULL), SHOAL_OK);
    assert_int_equal(r.n, 4);
    assert_string_equal(shoal_record_get(&r, "server"), "https://a b:1");
    assert_string_equal(shoal_record_get(&r, "empty"), "");
    assert_int_equal(shoal_record_get_u64(&r, "round", &n, NULL), SHOAL_OK);
    assert_int_equal(n, 7);
    assert_int_equal(shoal_record_get_hex(&r, "key", bytes, 4, NULL), SHOAL_OK);
    assert_int_equal(bytes[3], 0xef);
    assert_int_equal(shoal_record_get_hex(&r, "key", bytes, 3, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_record_get_u64(&r, "server", &n, NULL), SHOAL_ERR_FORMAT);
    assert_null(shoal_record_get(&r, "absent"));
}

static void a_damaged_record_names_its_line(void **state)
{
    fixture *f = *state;
    char path[SHOAL_PATH_MAX];
    static shoal_record r;
    static const char *const bad[] = {"a 1\nnovalue\n", "a 1\nb 2", "a 1\nB 2\n", "a 1\nb \x01\n"};
    assert_int_equal(shoal_store_path(&f->store, path, NULL, "enrolment"), SHOAL_OK);
    assert_int_equal(shoal_record_load(&r, path, NULL), SHOAL_ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shoal_error err = {0};
        write_file(path, bad[i]);
        assert_int_equal(shoal_record_load(&r, path, &err), SHOAL_ERR_FORMAT);
        assert_non_null(strstr(err.msg, "line 2"));
    }
}

static void a_value_with_a_line_break_is_refused(void **state)
{
    (void)state;
    static shoal_record r;
    r.n = 0;
    assert_int_equal(shoal_record_put(&r, "a", "b\nc d", NULL), SHOAL_ERR_ARG);
    assert_int_equal(shoal_record_put(&r, "a b", "c", NULL), SHOAL_ERR_ARG);
    assert_int_equal(r.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(root_comes_from_the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_root_that_is_a_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(models_resolve_by_name_and_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_model_says_how_to_get_it, set_up, tear_down),
        cmocka_unit_test(names_are_one_safe_path_component),
        cmocka_unit_test_setup_teardown(adapters_keep_versions_and_a_latest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_old_adapter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_agents_do_not_run_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_come_back_as_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_record_names_its_line, set_up, tear_down),
        cmocka_unit_test(a_value_with_a_line_break_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
