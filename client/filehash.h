/* filehash.h - SHA-256 of files, and a memory of it so that a model is not read again every start.
 *
 * The memory, models/.hashes, holds one record a file: device, inode, size, time of last change and
 * the hash. A file that was touched in any way is hashed again. It saves time only: whoever can
 * write there can replace the model as well.
 *
 * Layer: client/. Threads: one writer at a time (the last one wins).
 */
#ifndef SHOAL_CLIENT_FILEHASH_H
#define SHOAL_CLIENT_FILEHASH_H

#include <stdbool.h>
#include <stdint.h>

#include "client/store.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the whole file. `stop` may be NULL; CANCELLED when it says so. */
SHOAL_MUST_USE shoal_status shoal_file_sha256(const char *path, bool (*stop)(void), uint8_t out[32],
                                              shoal_error *err);

/* The same through the memory. */
SHOAL_MUST_USE shoal_status shoal_store_model_hash(const shoal_store *s, const char *path,
                                                   uint8_t out[32], shoal_error *err);

/* The memory alone: false when it does not know the file as it is now. Reads no model. */
bool shoal_store_model_hash_recall(const shoal_store *s, const char *path, uint8_t out[32]);

#ifdef __cplusplus
}
#endif
#endif
