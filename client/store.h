/* store.h - what a device keeps on disk: $SHOAL_HOME and its layout.
 *
 *     models/NAME.gguf            base models, verified before they appear
 *     adapters/TASK/vN.gguf       adapters of a task; latest.gguf is a link to the newest
 *     identity/key.der (0600)     the device's own key; cert.der, ca.der: what enrolment gave
 *     policy                      what the owner demands of a round (policy.h)
 *     enrolment                   server, task and keys pinned at enrolment
 *     tasks/TASK/state            last round answered; written before the first message of a round
 *     tasks/TASK/update (0600)    a finished update, kept until its round is over
 *     tasks/TASK/checkpoint       unfinished local training (0600)
 *     cache/ (0700)               what models have read, for a week at most (prompt_store.h)
 *     traffic                     bytes of the current month (budget.h)
 *     lock                        held while an agent runs
 *
 * $SHOAL_HOME defaults to $XDG_DATA_HOME/shoal, then ~/.local/share/shoal. The root is made with
 * mode 0700. Every file is written whole under another name and renamed into place.
 *
 * Layer: client/. Threads: a shoal_store is plain data, read by many.
 */
#ifndef SHOAL_CLIENT_STORE_H
#define SHOAL_CLIENT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_PATH_MAX = 1024 };

typedef struct shoal_store {
    char root[SHOAL_PATH_MAX];
} shoal_store;

/* Finds the root (`root` when not NULL, else the environment) and makes it with models/, adapters/,
 * identity/ and tasks/. */
SHOAL_MUST_USE shoal_status shoal_store_open(shoal_store *s, const char *root, shoal_error *err);

/* ROOT/<formatted relative path> into out; TOO_LARGE when it does not fit. */
SHOAL_MUST_USE shoal_status shoal_store_path(const shoal_store *s, char out[SHOAL_PATH_MAX],
                                             shoal_error *err, const char *fmt, ...)
    SHOAL_PRINTF(4, 5);

/* Where a model given on a command line lies: a path that exists is taken as it is, anything else
 * is a name under models/ (with or without ".gguf"). NOT_FOUND, with the command that fetches it,
 * when there is neither. */
SHOAL_MUST_USE shoal_status shoal_store_model_path(const char *name_or_path,
                                                   char out[SHOAL_PATH_MAX], shoal_error *err);

/* The same for an adapter: a path (file or directory), or TASK (its newest version), or TASK/vN. */
SHOAL_MUST_USE shoal_status shoal_store_adapter_path(const char *name_or_path,
                                                     char out[SHOAL_PATH_MAX], shoal_error *err);

/* True for a name that is safe as one path component: [A-Za-z0-9._-], 1..64, no leading dot. */
bool shoal_store_name_ok(const char *name);

/* Makes a directory (mode 0700) unless it is there. Its parent must exist. */
SHOAL_MUST_USE shoal_status shoal_store_mkdir(const char *path, shoal_error *err);

/* Writes adapters/TASK/vN.gguf and points latest.gguf at it. */
SHOAL_MUST_USE shoal_status shoal_store_put_adapter(const shoal_store *s, const char *task,
                                                    uint64_t version, const void *data, size_t n,
                                                    shoal_error *err);

/* One agent at a time: takes the lock file, or AGAIN when another process holds it. The lock goes
 * with the process; close releases it early. */
typedef struct shoal_store_lock {
    int fd; /* -1 when not held */
} shoal_store_lock;

SHOAL_MUST_USE shoal_status shoal_store_lock_take(const shoal_store *s, shoal_store_lock *lock,
                                                  shoal_error *err);
void shoal_store_lock_release(shoal_store_lock *lock);

#ifdef __cplusplus
}
#endif
#endif
