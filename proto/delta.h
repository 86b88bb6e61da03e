/* delta.h - one adapter file as what differs from another of the same size. PROTOCOL.md 3.8.
 *
 * Both files are read as 32-bit words. A mean of a round is a whole number of steps
 * (1 / (2^scale_log2 * sum of weights)) in every coordinate, so the new word follows from the old
 * one and that small number; where it does not (other methods, other words) the two are XORed. The
 * numbers are cut into planes of bytes, so that like stands beside like, and the planes are
 * compressed (zstd). The bytes that come out are checked against the SHA-256 in the head, which the
 * caller takes from a signed release.
 *
 * Without zstd in the build shoal_delta_available is false, and the rest says UNSUPPORTED.
 *
 * Layer: proto/; delta.c is the only user of zstd. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_DELTA_H
#define SHOAL_PROTO_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_DELTA_HEAD_BYTES = 96 };

bool shoal_delta_available(void);

typedef struct shoal_delta_head {
    uint8_t form;             /* 0: XOR, 1: steps */
    uint32_t size;            /* of either file */
    uint8_t from[32], to[32]; /* their SHA-256 */
    double step;
    uint32_t exceptions; /* words that no number of steps gives */
    uint32_t packed;     /* bytes that follow the head */
} shoal_delta_head;

/* Appends the delta from `from` to `to`, n bytes each; `step` 0 when there is none. Takes the form
 * that comes out smaller. TOO_LARGE: over SHOAL_LIMIT_BLOB, or not smaller than the file. */
SHOAL_MUST_USE shoal_status shoal_delta_encode(const void *from, const void *to, size_t n,
                                               double step, shoal_buf *out, shoal_error *err);

/* The head alone, from the first bytes of a delta; FORMAT unless it is one of a file of `size`
 * bytes and smaller than that file. */
SHOAL_MUST_USE shoal_status shoal_delta_read_head(const void *delta, size_t n, size_t size,
                                                  shoal_delta_head *out, shoal_error *err);

/* Appends the new file to *out. Never writes or allocates more than three times n, whatever the
 * delta says. FORMAT: not a delta of this file. TAMPERED: what comes out is not what its head
 * names. */
SHOAL_MUST_USE shoal_status shoal_delta_apply(const void *from, size_t n, const void *delta,
                                              size_t delta_n, shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
