/* mem.h - checked sizes, the allocator, the arena and the wipe.
 *
 * Every heap byte of the project comes through here (a lint test refuses malloc elsewhere), so
 * tests can count allocations and make the n-th one fail. Sizes that come from outside go through
 * shoal_mul_size / shoal_add_size. Steady state (a token, a training step) allocates nothing:
 * what it needs is carved from an arena when the object is opened.
 *
 * Layer: kernels/base. Threads: the allocator is thread-safe; an arena has one owner.
 */
#ifndef SHOAL_KERNELS_BASE_MEM_H
#define SHOAL_KERNELS_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *out = a * b or a + b. Returns false, *out untouched, when the result does not fit. */
bool shoal_mul_size(size_t a, size_t b, size_t *out);
bool shoal_add_size(size_t a, size_t b, size_t *out);

/* Heap memory, 16-byte aligned. Zero bytes give a valid unique pointer. NULL when memory is out or
 * n * size overflows. shoal_calloc zeroes. shoal_free accepts NULL. */
void *shoal_alloc(size_t bytes);
void *shoal_calloc(size_t n, size_t size);
void *shoal_realloc(void *p, size_t bytes);
void shoal_free(void *p);

/* 64-byte aligned, not zeroed; release with shoal_free_aligned (never shoal_free). */
void *shoal_alloc_aligned(size_t bytes);
void shoal_free_aligned(void *p);

/* Gives freed memory back to the system, where the allocator would keep it: before resident memory
 * is measured. */
void shoal_mem_give_back(void);

/* Copies of a string; NULL when memory is out. */
char *shoal_strdup(const char *s);
char *shoal_strndup(const char *s, size_t n);

/* Overwrites secrets so that the compiler cannot drop the stores. */
void shoal_wipe(void *p, size_t bytes);

/* Number of successful allocations since the program started (for tests of steady state). */
uint64_t shoal_mem_count(void);

/* Bytes asked for in all of them, freed since or not: over a call, a bound on its peak. */
uint64_t shoal_mem_bytes(void);

/* Test hook: the n-th allocation from now on (1 = the next) returns NULL; once, or from then on
 * when `persistent`. 0 turns it off. Not for use outside tests. */
void shoal_mem_fail_at(uint64_t n, bool persistent);

/* A bump allocator over one aligned block. Plan first with shoal_arena_add, open once, carve. */
typedef struct shoal_arena {
    unsigned char *base;
    size_t size;
    size_t used;
} shoal_arena;

/* Adds n * size bytes, rounded up to 64, to a plan total. False on overflow. */
bool shoal_arena_add(size_t *total, size_t n, size_t size);

/* Allocates `bytes` (not zeroed). The arena must be zero-initialised or cleared before. */
SHOAL_MUST_USE shoal_status shoal_arena_open(shoal_arena *a, size_t bytes, shoal_error *err);

/* 64-byte aligned piece of n * size bytes; NULL when the plan was too small (a bug of ours). */
void *shoal_arena_take(shoal_arena *a, size_t n, size_t size);

/* Frees the block; NULL and repeated calls are fine. */
void shoal_arena_close(shoal_arena *a);

#ifdef __cplusplus
}
#endif
#endif
