/* Whole-file reads and atomic replacement: contents, permissions, limits, failure at every call. */
#define _GNU_SOURCE /* O_TMPFILE */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/file.h"

static char dir[64];
static char path[96];

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir, "/tmp/shoal-file-XXXXXX", sizeof "/tmp/shoal-file-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_true(snprintf(path, sizeof path, "%s/f", dir) > 0);
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(dir);
}

/* Entries of the directory besides . and .. */
static size_t count_entries(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    assert_int_equal(closedir(d), 0);
    return n;
}

static void assert_contents(const char *want)
{
    shoal_buf b;
    shoal_error err = {0};
    assert_int_equal(shoal_file_read(path, 1u << 20, &b, &err), SHOAL_OK);
    assert_int_equal(b.len, strlen(want));
    assert_string_equal(shoal_buf_str(&b), want);
    shoal_buf_clear(&b);
}

static void test_replaces(void **state)
{
    (void)state;
    shoal_error err = {0};
    assert_int_equal(shoal_file_write_atomic(path, "old", 3, 0644, &err), SHOAL_OK);
    assert_contents("old");
    assert_int_equal(shoal_file_write_atomic(path, "newer", 5, 0600, &err), SHOAL_OK);
    assert_contents("newer");
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(count_entries(), 1);
}

/* Whatever call fails, the file holds the old or the new contents whole and no litter stays. */
static void test_failure_keeps_a_whole_file(void **state)
{
    (void)state;
    shoal_error err = {0};
    size_t failures = 0;
    for (uint64_t n = 1; n <= 8; n++) {
        assert_int_equal(shoal_file_write_atomic(path, "old", 3, 0644, &err), SHOAL_OK);
        shoal_file_fail_at(n, ENOSPC);
        shoal_status st = shoal_file_write_atomic(path, "new", 3, 0644, &err);
        shoal_file_fail_at(0, 0);
        if (st == SHOAL_OK) {
            assert_contents("new");
        } else {
            failures++;
            assert_int_equal(st, SHOAL_ERR_FULL);
            assert_contents(n <= 3 ? "old" : "new"); /* write, fsync, rename | directory sync */
        }
        assert_int_equal(count_entries(), 1);
    }
    assert_int_equal(failures, 4);
}

static void test_limits(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_buf b;
    static const char data[20000] = "x";
    assert_int_equal(shoal_file_write_atomic(path, data, sizeof data, 0644, &err), SHOAL_OK);
    assert_int_equal(shoal_file_read(path, sizeof data, &b, &err), SHOAL_OK);
    assert_int_equal(b.len, sizeof data);
    shoal_buf_clear(&b);
    assert_int_equal(shoal_file_read(path, sizeof data - 1, &b, &err), SHOAL_ERR_TOO_LARGE);
    assert_int_equal(b.len, 0);
    assert_int_equal(shoal_file_read("/nonexistent/f", 9, &b, &err), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_file_write_atomic("/nonexistent/f", "x", 1, 0644, &err),
                     SHOAL_ERR_NOT_FOUND);
}

/* Appears whole or not at all, and no failure leaves anything behind. */
static void test_unsynced_appears_whole(void **state)
{
    (void)state;
    shoal_error err = {0};
    assert_int_equal(shoal_file_write_atomic(path, "old", 3, 0600, &err), SHOAL_OK);
    for (uint64_t k = 1;; k++) {
        shoal_file_writer w;
        assert_int_equal(shoal_file_writer_open(&w, path, 0600, &err), SHOAL_OK);
        shoal_file_fail_at(k, ENOSPC);
        shoal_status st = shoal_file_writer_put(&w, "new", 3, &err);
        if (st == SHOAL_OK) st = shoal_file_writer_commit_unsynced(&w, &err);
        shoal_file_fail_at(0, 0);
        assert_int_equal(count_entries(), 1);
        assert_contents(st == SHOAL_OK ? "new" : "old");
        if (st == SHOAL_OK) {
            assert_int_equal(k, 3); /* a write and a rename, no fsync */
            break;
        }
        assert_int_equal(st, SHOAL_ERR_FULL);
    }
}

/* Can a file have no name here? */
static bool has_nameless_files(void)
{
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) assert_int_equal(close(fd), 0);
    return fd >= 0 && access("/proc/self/fd", X_OK) == 0;
}

/* A process that is killed while it writes leaves nothing, and the old file as it was. */
static void test_killed_leaves_nothing(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (!has_nameless_files()) {
        print_message("skipped: no files without a name in %s\n", dir);
        skip();
    }
    assert_int_equal(shoal_file_write_atomic(path, "old", 3, 0644, &err), SHOAL_OK);
    pid_t child = fork();
    if (child == 0) {
        shoal_file_writer w;
        if (shoal_file_writer_open(&w, path, 0644, &err) != SHOAL_OK) _exit(1);
        if (shoal_file_writer_put(&w, "new", 3, &err) != SHOAL_OK) _exit(1);
        (void)raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(count_entries(), 1);
    assert_contents("old");
}

/* Names that others took are passed over; they keep what they have. */
static void test_names_are_not_taken_from_others(void **state)
{
    (void)state;
    shoal_error err = {0};
    char other[128];
    unsigned mark = (unsigned)getpid() * 1000;
    (void)snprintf(other, sizeof other, "%s.%06x", path, mark & 0xffffff);
    FILE *f = fopen(other, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(shoal_file_write_atomic(path, "new", 3, 0644, &err), SHOAL_OK);
    assert_contents("new");
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(count_entries(), 2);
    assert_int_equal(unlink(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replaces, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_failure_keeps_a_whole_file, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_limits, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_unsynced_appears_whole, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_killed_leaves_nothing, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(test_names_are_not_taken_from_others, make_dir, drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
