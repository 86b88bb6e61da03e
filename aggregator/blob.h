/* blob.h - adapter files by their SHA-256: written once, served to many.
 *
 * Layer: aggregator. Threads: put from any thread; the cache belongs to the loop's thread.
 */
#ifndef SHOAL_AGGREGATOR_BLOB_H
#define SHOAL_AGGREGATOR_BLOB_H

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

/* The few newest blobs in memory, shared by all downloads in progress. */
typedef struct shoal_blob_cache shoal_blob_cache;
typedef struct shoal_blob {
    shoal_buf bytes;
    uint8_t key[64]; /* SHA-256; zeros, or of a delta the SHA-256 that it starts from */
    size_t users;
    uint64_t used_at;
} shoal_blob;

SHOAL_MUST_USE shoal_status shoal_blob_cache_open(shoal_blob_cache **out, const char *dir,
                                                  shoal_error *err);
/* All blobs must have been released. */
void shoal_blob_cache_close(shoal_blob_cache *c);
/* The bytes stay until shoal_blob_release. */
SHOAL_MUST_USE shoal_status shoal_blob_use(shoal_blob_cache *c, const uint8_t sha256[32],
                                           shoal_blob **out, shoal_error *err);
/* The same for a delta; NOT_FOUND when there is none. Devices check what comes of it. */
SHOAL_MUST_USE shoal_status shoal_blob_use_delta(shoal_blob_cache *c, const uint8_t from[32],
                                                 const uint8_t to[32], shoal_blob **out,
                                                 shoal_error *err);
void shoal_blob_release(void *blob);

#ifdef __cplusplus
}
#endif
#endif
