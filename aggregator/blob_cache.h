/* blob_cache.h - the few newest adapter files and deltas in memory, shared by all downloads.
 *
 * Reading a file and checking its hash takes tens of milliseconds: a worker thread's, while the
 * loop serves others. Who asks for a file that is being read waits for it with those before.
 *
 * Layer: aggregator. Threads: the loop's.
 */
#ifndef SHOAL_AGGREGATOR_BLOB_CACHE_H
#define SHOAL_AGGREGATOR_BLOB_CACHE_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_blob_cache shoal_blob_cache;
typedef struct shoal_blob shoal_blob;

/* The file, to be given back with shoal_blob_release; or NULL and why not: AGAIN when too many
 * others are being downloaded, TAMPERED when it is damaged. */
typedef void shoal_blob_fn(void *ctx, shoal_blob *blob, shoal_status st, const shoal_error *err);

/* Of DIR/blobs. */
SHOAL_MUST_USE shoal_status shoal_blob_cache_open(shoal_blob_cache **out, shoal_loop *loop,
                                                  const char *dir, shoal_error *err);
/* After the loop was closed, which waits for what is being read. All blobs must have been released.
 * NULL is fine. */
void shoal_blob_cache_close(shoal_blob_cache *c);

/* Calls fn(ctx) once, now or later, with the blob `to`, or (from not NULL) with the delta that
 * leads to it; NOT_FOUND when there is no such delta. */
void shoal_blob_use(shoal_blob_cache *c, const uint8_t to[32], const uint8_t *from,
                    shoal_blob_fn *fn, void *ctx);

/* Its bytes; they stay until shoal_blob_release(blob). */
const uint8_t *shoal_blob_bytes(const shoal_blob *b, size_t *n);
void shoal_blob_release(void *blob);

#ifdef __cplusplus
}
#endif
#endif
