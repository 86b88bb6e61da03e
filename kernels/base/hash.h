/* hash.h - a small hash for telling things apart and noticing damage.
 *
 * FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923). NOT a security measure: digests, tags and
 * signatures come from proto/crypto.h.
 *
 * Layer: kernels/base. Threads: pure functions.
 */
#ifndef SHOAL_KERNELS_BASE_HASH_H
#define SHOAL_KERNELS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHOAL_FNV64_INIT UINT64_C(0xcbf29ce484222325)

/* Continues `h` over n bytes; start with SHOAL_FNV64_INIT. data may be NULL when n is 0. */
uint64_t shoal_fnv64(uint64_t h, const void *data, size_t n);

#ifdef __cplusplus
}
#endif
#endif
