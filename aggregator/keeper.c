/* keeper.c - the CA as a child process. */
#include "aggregator/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aggregator/ca.h"
#include "aggregator/signer.h"
#include "kernels/base/log.h"
#include "kernels/base/process.h"

enum { AGAIN_MS = 200, EXIT_OK = 0, EXIT_FAILED = 1 };

static shoal_status run_ca(const char *dir, int fd, shoal_error *err)
{
    char ca_dir[SHOAL_DIR_PATH];
    unsigned user = 0;
    unsigned group = 0;
    shoal_ca *ca = NULL;
    SHOAL_TRY(shoal_dir_path(dir, "ca", ca_dir, err));
    SHOAL_TRY(shoal_process_owner(ca_dir, &user, &group, err));
    if (geteuid() == 0) {
        SHOAL_TRY(shoal_process_become(user, group, err));
    }
    shoal_process_hide();
    SHOAL_TRY(shoal_ca_open(&ca, dir, err));
    shoal_signer_serve_options o = {.peer = fd, .listener = -1};
    shoal_status st = shoal_signer_serve(ca, &o, err);
    shoal_ca_close(ca);
    return st;
}

static int ca_process(const char *dir, int fd)
{
    shoal_error err = {0};
    if (run_ca(dir, fd, &err) == SHOAL_OK) {
        return EXIT_OK;
    }
    shoal_log(SHOAL_LOG_ERROR, "ca", "%s", err.msg);
    if (err.hint[0] != '\0') {
        shoal_log(SHOAL_LOG_ERROR, "ca", "hint: %s", err.hint);
    }
    return EXIT_FAILED;
}

/* How it ended; false when there was nobody to wait for. */
static bool wait_for(pid_t pid, int *status)
{
    pid_t got;
    do {
        got = waitpid(pid, status, 0);
    } while (got < 0 && errno == EINTR);
    return got == pid;
}

/* A CA that was killed is started again; one that says it cannot go on is not. */
static int keep(const char *dir, int fd)
{
    for (;;) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            _exit(ca_process(dir, fd));
        }
        if (pid < 0 || !wait_for(pid, &status) || WIFEXITED(status)) {
            return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
        }
        shoal_log(SHOAL_LOG_WARN, "ca", "the CA was ended by signal %d; it is started again",
                  WTERMSIG(status));
        struct timespec pause = {0, AGAIN_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
}

shoal_status shoal_keeper_start(const char *dir, int *fd, shoal_error *err)
{
    int ends[2];
    SHOAL_TRY(shoal_signer_pair(ends, err));
    pid_t pid = fork();
    if (pid < 0) {
        shoal_status st = shoal_fail_errno(err, errno, "cannot start the CA");
        (void)close(ends[0]);
        (void)close(ends[1]);
        return st;
    }
    if (pid == 0) {
        (void)close(ends[0]);
        (void)signal(SIGINT, SIG_IGN); /* Ctrl-C is the aggregator's; we follow when it ends */
        _exit(keep(dir, ends[1]));
    }
    (void)close(ends[1]);
    *fd = ends[0];
    return SHOAL_OK;
}
