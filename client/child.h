/* child.h - child processes: started without a shell, watched, ended by their own id.
 *
 * Layer: client/. Threads: main thread.
 */
#ifndef SHOAL_CLIENT_CHILD_H
#define SHOAL_CLIENT_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_child {
    pid_t pid;     /* 0: none, or already waited for */
    int exit_code; /* once ended: 0..255, or 128 + signal */
} shoal_child;

typedef struct shoal_child_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH unless it has a '/' */
    const char *stdout_path; /* file to write (truncated), NULL for /dev/null */
    const char *stderr_path; /* the same; equal to stdout_path for both in one file */
    const char *const *env;  /* "NAME=value" to set in the child, NULL-terminated; may be NULL */
} shoal_child_spec;

/* Starts a child in its own process group, so that Ctrl-C reaches the parent alone, which then ends
 * its children in order. Its stdin is /dev/null. NOT_FOUND when there is no such program. */
SHOAL_MUST_USE shoal_status shoal_child_start(shoal_child *c, const shoal_child_spec *spec,
                                              shoal_error *err);

/* True while it runs; collects the exit code once it has ended. */
bool shoal_child_running(shoal_child *c);

/* Waits up to timeout_s seconds for its end; TIMEOUT when it still runs, CANCELLED when `stop`
 * (may be NULL) says so. `tick` (may be NULL) is called ten times a second. */
SHOAL_MUST_USE shoal_status shoal_child_wait(shoal_child *c, double timeout_s, bool (*stop)(void),
                                             void (*tick)(void *ctx), void *ctx, shoal_error *err);

/* Sends a signal to the child if it still runs. */
void shoal_child_signal(shoal_child *c, int signo);

/* SIGTERM, up to grace_s seconds of patience, then SIGKILL; the child is gone afterwards. */
void shoal_child_end(shoal_child *c, double grace_s);

#ifdef __cplusplus
}
#endif
#endif
