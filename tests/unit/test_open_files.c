/* The limit on open files: raised, or refused with what to do. In child processes, since a limit
 * that was lowered stays low. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "aggregator/open_files.h"

enum { NOBODY = 65534 };

/* 0 when `check` holds in a process with these limits that has no privileges. */
static int in_child(rlim_t soft, rlim_t hard, int (*check)(void))
{
    int status = -1;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim = {.rlim_cur = soft, .rlim_max = hard};
        bool ready =
            setrlimit(RLIMIT_NOFILE, &lim) == 0 && (geteuid() != 0 || setuid((uid_t)NOBODY) == 0);
        _exit(ready ? check() : 99);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static rlim_t soft_limit(void)
{
    struct rlimit lim = {0};
    return getrlimit(RLIMIT_NOFILE, &lim) == 0 ? lim.rlim_cur : 0;
}

static int raises(void)
{
    return shoal_open_files_reserve(300, NULL) == SHOAL_OK && soft_limit() >= 556 ? 0 : 1;
}

static int leaves_alone(void)
{
    return shoal_open_files_reserve(100, NULL) == SHOAL_OK && soft_limit() == 600 ? 0 : 1;
}

static int refuses(void)
{
    shoal_error err = {0};
    if (shoal_open_files_reserve(5000, &err) != SHOAL_ERR_FULL || soft_limit() != 100) {
        return 1;
    }
    return strstr(err.msg, "5256 open files") != NULL && strstr(err.msg, "allows 700") != NULL &&
                   strstr(err.hint, "ulimit -Hn") != NULL &&
                   strstr(err.hint, "max_connections in config.yaml to 444") != NULL
               ? 0
               : 2;
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(in_child(100, 700, raises), 0);
    assert_int_equal(in_child(600, 700, leaves_alone), 0);
    assert_int_equal(in_child(100, 700, refuses), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
