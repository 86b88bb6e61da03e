/* upload.h - M5 in chunks: where they begin, their running hash, the state that answers carry.
 *
 * M5 is cut at the multiples of SHOAL_LIMIT_CHUNK. The running hash is R_0 = 32 zero bytes,
 * R_k = SHA-256(R_{k-1} || chunk k): one value stands for everything up to a chunk's end, so that
 * both sides can tell "the same bytes again" from others without having them. PROTOCOL.md 3.6.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_UPLOAD_H
#define SHOAL_PROTO_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "proto/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_UPLOAD_STATE_BYTES = 40 };

/* What the server holds of an M5. */
typedef struct shoal_upload_state {
    uint64_t have;    /* bytes; a multiple of SHOAL_LIMIT_CHUNK, or all of M5 */
    uint8_t hash[32]; /* running hash behind them; zeros while have is 0 */
} shoal_upload_state;

/* Bytes of the chunk that begins at `offset` of an M5 of `total` bytes; 0: none begins there. */
size_t shoal_upload_chunk_bytes(uint64_t total, uint64_t offset);
/* Chunks of an M5 of `total` bytes. */
size_t shoal_upload_chunks(uint64_t total);

/* hash = SHA-256(hash || chunk). */
SHOAL_MUST_USE shoal_status shoal_upload_extend(uint8_t hash[32], const void *chunk, size_t n,
                                                shoal_error *err);

/* u64 have || hash[32] */
bool shoal_upload_state_encode(const shoal_upload_state *s, shoal_buf *out);
/* FORMAT unless it is exactly that, with a `have` that an M5 of `total` bytes can have. */
SHOAL_MUST_USE shoal_status shoal_upload_state_decode(const void *data, size_t n, uint64_t total,
                                                      shoal_upload_state *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
