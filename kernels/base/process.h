/* process.h - what a process gives up so that less can be taken from it. Linux; elsewhere what does
 * not exist is UNSUPPORTED.
 *
 * Layer: kernels/base. Threads: before others are started.
 */
#ifndef SHOAL_KERNELS_BASE_PROCESS_H
#define SHOAL_KERNELS_BASE_PROCESS_H

#include <stdbool.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The user and group that own a file or directory. */
SHOAL_MUST_USE shoal_status shoal_process_owner(const char *path, unsigned *user, unsigned *group,
                                                shoal_error *err);

/* Becomes this user and group for good, with no other groups. Nothing when it is them already;
 * DENIED when it may not. */
SHOAL_MUST_USE shoal_status shoal_process_become(unsigned user, unsigned group, shoal_error *err);

/* No core file: it would hold keys. */
void shoal_process_no_core(void);

/* The same, and no other process of the same user may look into this one's memory. */
void shoal_process_hide(void);

/* From now on this thread, and every thread and process it starts, can neither read nor write what
 * lies under `path` (an existing directory), nor put something else in its place. Everything else
 * that exists now stays as it was; what others make later directly in one of the directories above
 * `path` cannot be opened. UNSUPPORTED when the kernel has no Landlock. */
SHOAL_MUST_USE shoal_status shoal_process_forgo(const char *path, shoal_error *err);

/* The user at the other end of a connected Unix socket. */
bool shoal_process_peer_user(int fd, unsigned *user);

#ifdef __cplusplus
}
#endif
#endif
