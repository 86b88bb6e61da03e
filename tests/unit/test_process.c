/* test_process.c - a process that gave up a directory cannot get at it any more, and can still do
 * everything else. Each attempt is made in a child, since there is no way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/process.h"
#include "tests/support/temp_dir.h"

enum { PATH = TEMP_DIR_MAX + 64, SKIPPED = 77 };

static char g_dir[TEMP_DIR_MAX];

static const char *at(const char *name)
{
    static char path[4][PATH];
    static unsigned next;
    char *out = path[next++ % 4];
    (void)snprintf(out, PATH, "%s/%s", g_dir, name);
    return out;
}

static void put(const char *name)
{
    assert_int_equal(shoal_file_write_atomic(at(name), "secret", 6, 0600, NULL), SHOAL_OK);
}

/* DIR with ca/key, blobs/, state and another directory beside it. */
static int set_up(void **state)
{
    (void)state;
    temp_dir_make(g_dir);
    assert_int_equal(mkdir(at("agg"), 0700) | mkdir(at("agg/ca"), 0700) |
                         mkdir(at("agg/blobs"), 0700) | mkdir(at("beside"), 0700),
                     0);
    put("agg/ca/key");
    put("agg/state");
    put("beside/model");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_dir_remove(g_dir);
    return 0;
}

static bool can_open(const char *name, int flags)
{
    int fd = open(at(name), flags, 0600);
    if (fd >= 0) (void)close(fd);
    return fd >= 0;
}

/* Runs `what` in a child that has given up agg/ca; its number names the check that failed. */
static void in_child(int (*what)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        shoal_status st = shoal_process_forgo(at("agg/ca"), NULL);
        _exit(st == SHOAL_ERR_UNSUPPORTED ? SKIPPED : st == SHOAL_OK ? what() : 99);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int reads_and_writes(void)
{
    if (can_open("agg/ca/key", O_RDONLY)) return 1;
    if (can_open("agg/ca/key", O_WRONLY)) return 2;
    if (can_open("agg/ca/new", O_RDWR | O_CREAT)) return 3;
    if (!can_open("agg/state", O_RDWR)) return 4;
    if (!can_open("agg/blobs/new", O_RDWR | O_CREAT)) return 5;
    if (!can_open("beside/model", O_RDONLY)) return 6;
    if (!can_open("beside/new", O_RDWR | O_CREAT)) return 7;
    return shoal_file_write_atomic(at("agg/blobs/whole"), "x", 1, 0644, NULL) == SHOAL_OK ? 0 : 8;
}

/* Another name for the directory or the key does not help, nor another directory in its place. */
static int tricks(void)
{
    if (link(at("agg/ca/key"), at("agg/blobs/key")) == 0) return 1;
    if (rename(at("agg/ca/key"), at("agg/blobs/key")) == 0) return 2;
    if (rename(at("agg/ca"), at("agg/blobs/ca")) == 0) return 3;
    if (rename(at("agg/ca"), at("agg/other")) == 0) return 4;
    if (symlink(at("agg/blobs"), at("agg/ca/in")) == 0) return 5;
    if (mkdir(at("agg/ca/sub"), 0700) == 0) return 6;
    if (symlink(at("agg/ca/key"), at("agg/blobs/alias")) == 0 &&
        can_open("agg/blobs/alias", O_RDONLY))
        return 7;
    if (truncate(at("agg/ca/key"), 0) == 0) return 8;
    char proc[PATH];
    (void)snprintf(proc, sizeof proc, "/proc/self/root%s", at("agg/ca/key"));
    int fd = open(proc, O_RDONLY);
    return fd < 0 ? 0 : 9;
}

static void *try_in_thread(void *out)
{
    *(bool *)out = can_open("agg/ca/key", O_RDONLY);
    return NULL;
}

/* Threads and processes that are started later have no more rights. */
static int heirs(void)
{
    pthread_t t;
    bool got = true;
    if (pthread_create(&t, NULL, try_in_thread, &got) != 0 || pthread_join(t, NULL) != 0 || got) {
        return 1;
    }
    pid_t pid = fork();
    if (pid == 0) _exit(can_open("agg/ca/key", O_RDONLY) ? 1 : 0);
    int status = 1;
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 2;
}

static void test_forgo(void **state)
{
    (void)state;
    in_child(reads_and_writes);
    in_child(tricks);
    in_child(heirs);
    assert_true(can_open("agg/ca/key", O_RDONLY)); /* we did not give it up */
}

/* A file that was opened for writing before can still be committed into a directory above. */
static void test_writers_opened_before(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        shoal_file_writer w;
        bool ok = shoal_file_writer_open(&w, at("port"), 0644, NULL) == SHOAL_OK;
        shoal_status st = shoal_process_forgo(at("agg/ca"), NULL);
        if (st == SHOAL_ERR_UNSUPPORTED) _exit(SKIPPED);
        ok = ok && st == SHOAL_OK && shoal_file_writer_put(&w, "7", 1, NULL) == SHOAL_OK &&
             shoal_file_writer_commit(&w, NULL) == SHOAL_OK;
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) skip();
    assert_int_equal(status, 0);
    assert_true(can_open("port", O_RDONLY));
}

static void test_become(void **state)
{
    (void)state;
    if (geteuid() != 0) skip(); /* only root can become somebody else */
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = shoal_process_become(12345, 12345, NULL) == SHOAL_OK && getuid() == 12345 &&
                  getegid() == 12345 && setuid(0) != 0 &&
                  shoal_process_become(0, 0, NULL) == SHOAL_ERR_DENIED;
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_peer(void **state)
{
    (void)state;
    int fd[2];
    unsigned user = 99;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
    assert_true(shoal_process_peer_user(fd[0], &user));
    assert_int_equal(user, geteuid());
    (void)close(fd[0]);
    (void)close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forgo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writers_opened_before, set_up, tear_down),
        cmocka_unit_test(test_become), cmocka_unit_test(test_peer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
