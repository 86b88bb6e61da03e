/* child.c - start, watch and end child processes. */
#include "client/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/term.h"
#include "kernels/base/mem.h"

extern char **environ;

enum { ENV_MAX = 4096 };

/* The parent's environment with the given variables in front: getenv finds the first. The array is
 * the caller's to free; the strings are borrowed. */
static char **merged_env(const char *const *extra)
{
    size_t n_extra = 0;
    size_t n = 0;
    while (extra != NULL && extra[n_extra] != NULL)
        n_extra++;
    while (environ[n] != NULL && n < ENV_MAX)
        n++;
    const char **env = shoal_calloc(n_extra + n + 1, sizeof *env);
    if (env == NULL) return NULL;
    size_t o = 0;
    for (; o < n_extra; o++)
        env[o] = extra[o];
    for (size_t i = 0; i < n; i++) {
        bool replaced = false;
        for (size_t k = 0; k < n_extra; k++) {
            size_t name = strcspn(extra[k], "=") + 1;
            replaced = replaced || strncmp(environ[i], extra[k], name) == 0;
        }
        if (!replaced) env[o++] = environ[i];
    }
    return (char **)(void *)env;
}

static int redirect(posix_spawn_file_actions_t *fa, const shoal_child_spec *spec)
{
    const char *out = spec->stdout_path != NULL ? spec->stdout_path : "/dev/null";
    const char *log = spec->stderr_path != NULL ? spec->stderr_path : "/dev/null";
    int flags = O_WRONLY | O_CREAT | O_TRUNC;
    int rc = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(fa, STDOUT_FILENO, out, flags, 0600);
    if (rc != 0) return rc;
    if (strcmp(out, log) == 0) {
        return posix_spawn_file_actions_adddup2(fa, STDOUT_FILENO, STDERR_FILENO);
    }
    return posix_spawn_file_actions_addopen(fa, STDERR_FILENO, log, flags, 0600);
}

/* Own process group, no signal blocked or ignored. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none;
    sigset_t defaults;
    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0) rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(attr, &defaults);
    return rc;
}

shoal_status shoal_child_start(shoal_child *c, const shoal_child_spec *spec, shoal_error *err)
{
    memset(c, 0, sizeof *c);
    char **env = merged_env(spec->env);
    if (env == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&fa);
    if (rc == 0) rc = posix_spawnattr_init(&attr);
    if (rc != 0) {
        shoal_free(env);
        return shoal_fail_errno(err, rc, "cannot prepare a child process");
    }
    rc = redirect(&fa, spec);
    if (rc == 0) rc = set_attributes(&attr);
    if (rc == 0) {
        rc = posix_spawnp(&c->pid, spec->argv[0], &fa, &attr,
                          (char *const *)(const void *)spec->argv, env);
    }
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&fa);
    shoal_free(env);
    if (rc == 0) return SHOAL_OK;
    c->pid = 0;
    return shoal_fail_errno(err, rc, "cannot start %s", spec->argv[0]);
}

bool shoal_child_running(shoal_child *c)
{
    if (c->pid == 0) return false;
    int status = 0;
    pid_t got = waitpid(c->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR)) return true;
    c->pid = 0;
    if (got < 0)
        c->exit_code = 255;
    else if (WIFEXITED(status))
        c->exit_code = WEXITSTATUS(status);
    else
        c->exit_code = 128 + (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return false;
}

shoal_status shoal_child_wait(shoal_child *c, double timeout_s, bool (*stop)(void),
                              void (*tick)(void *ctx), void *ctx, shoal_error *err)
{
    double end = shoal_clock_s() + timeout_s;
    while (shoal_child_running(c)) {
        if (stop != NULL && stop()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        if (shoal_clock_s() > end) {
            return shoal_fail(err, SHOAL_ERR_TIMEOUT, "a child process takes too long");
        }
        if (tick != NULL) tick(ctx);
        struct timespec tenth = {0, 100 * 1000 * 1000};
        (void)nanosleep(&tenth, NULL);
    }
    return SHOAL_OK;
}

void shoal_child_signal(shoal_child *c, int signo)
{
    if (shoal_child_running(c)) (void)kill(c->pid, signo);
}

void shoal_child_end(shoal_child *c, double grace_s)
{
    shoal_child_signal(c, SIGTERM);
    if (shoal_child_wait(c, grace_s, NULL, NULL, NULL, NULL) == SHOAL_OK) return;
    shoal_child_signal(c, SIGKILL);
    int status = 0;
    while (c->pid != 0 && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    c->pid = 0;
    c->exit_code = 128 + SIGKILL;
}
