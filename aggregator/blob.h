/* blob.h - adapter files by their SHA-256, and the deltas between them.
 *
 * Layer: aggregator. Threads: any.
 */
#ifndef SHOAL_AGGREGATOR_BLOB_H
#define SHOAL_AGGREGATOR_BLOB_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes DIR/blobs/HEX (synced) and tells the hash. A blob that is there already is not rewritten.
 */
SHOAL_MUST_USE shoal_status shoal_blob_put(const char *dir, const void *data, size_t n,
                                           uint8_t sha256[32], shoal_error *err);
/* Writes DIR/blobs/TOHEX.FROMHEX: how the blob `to` follows from the blob `from` (proto/delta). */
SHOAL_MUST_USE shoal_status shoal_blob_put_delta(const char *dir, const uint8_t from[32],
                                                 const uint8_t to[32], const shoal_buf *delta,
                                                 shoal_error *err);

/* Reads and verifies: TAMPERED when the file is not what its name says. */
SHOAL_MUST_USE shoal_status shoal_blob_get(const char *dir, const uint8_t sha256[32],
                                           shoal_buf *out, shoal_error *err);

/* The delta as it was written; NOT_FOUND when there is none. Devices check what comes of it. */
SHOAL_MUST_USE shoal_status shoal_blob_get_delta(const char *dir, const uint8_t from[32],
                                                 const uint8_t to[32], shoal_buf *out,
                                                 shoal_error *err);
bool shoal_blob_has_delta(const char *dir, const uint8_t from[32], const uint8_t to[32]);

#ifdef __cplusplus
}
#endif
#endif
