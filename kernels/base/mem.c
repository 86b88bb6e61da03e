/* mem.c - the only file that calls the C allocator. */
#include "kernels/base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum { SHOAL_ALIGN = 64 };

static _Atomic uint64_t g_count;
static _Atomic uint64_t g_bytes;
static _Atomic uint64_t g_fail_at; /* 0: off; otherwise allocations left until the failing one */
static _Atomic bool g_fail_persistent;

bool shoal_mul_size(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

bool shoal_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

void shoal_mem_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

/* True when the test hook wants this allocation to fail. */
static bool must_fail(void)
{
    uint64_t left = atomic_load_explicit(&g_fail_at, memory_order_relaxed);
    if (left == 0) return false;
    if (left > 1) {
        atomic_store_explicit(&g_fail_at, left - 1, memory_order_relaxed);
        return false;
    }
    if (!atomic_load_explicit(&g_fail_persistent, memory_order_relaxed)) {
        atomic_store_explicit(&g_fail_at, 0, memory_order_relaxed);
    }
    return true;
}

static void *counted(void *p, size_t bytes)
{
    if (p != NULL) {
        atomic_fetch_add_explicit(&g_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&g_bytes, bytes, memory_order_relaxed);
    }
    return p;
}

void *shoal_alloc(size_t bytes)
{
    if (must_fail()) return NULL;
    return counted(malloc(bytes == 0 ? 1 : bytes), bytes);
}

void *shoal_calloc(size_t n, size_t size)
{
    size_t bytes = 0;
    if (!shoal_mul_size(n, size, &bytes) || must_fail()) return NULL;
    return counted(calloc(bytes == 0 ? 1 : bytes, 1), bytes);
}

void *shoal_realloc(void *p, size_t bytes)
{
    if (must_fail()) return NULL;
    return counted(realloc(p, bytes == 0 ? 1 : bytes), bytes);
}

void shoal_free(void *p)
{
    free(p);
}

void *shoal_alloc_aligned(size_t bytes)
{
    size_t padded = 0;
    if (!shoal_add_size(bytes, SHOAL_ALIGN - 1, &padded) || must_fail()) return NULL;
    padded &= ~(size_t)(SHOAL_ALIGN - 1);
    return counted(aligned_alloc(SHOAL_ALIGN, padded == 0 ? SHOAL_ALIGN : padded), padded);
}

void shoal_free_aligned(void *p)
{
    free(p);
}

char *shoal_strndup(const char *s, size_t n)
{
    size_t bytes = 0;
    if (!shoal_add_size(n, 1, &bytes)) return NULL;
    char *copy = shoal_alloc(bytes);
    if (copy == NULL) return NULL;
    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *shoal_strdup(const char *s)
{
    return shoal_strndup(s, strlen(s));
}

/* Which function is called is read anew each time, so no compiler can leave the call out. */
static void *(*const volatile g_memset)(void *, int, size_t) = memset;

void shoal_wipe(void *p, size_t bytes)
{
    if (bytes > 0) (void)g_memset(p, 0, bytes);
}

uint64_t shoal_mem_count(void)
{
    return atomic_load_explicit(&g_count, memory_order_relaxed);
}

uint64_t shoal_mem_bytes(void)
{
    return atomic_load_explicit(&g_bytes, memory_order_relaxed);
}

void shoal_mem_fail_at(uint64_t n, bool persistent)
{
    atomic_store_explicit(&g_fail_persistent, persistent, memory_order_relaxed);
    atomic_store_explicit(&g_fail_at, n, memory_order_relaxed);
}

bool shoal_arena_add(size_t *total, size_t n, size_t size)
{
    size_t bytes = 0;
    size_t padded = 0;
    if (!shoal_mul_size(n, size, &bytes)) return false;
    if (!shoal_add_size(bytes, SHOAL_ALIGN - 1, &padded)) return false;
    return shoal_add_size(*total, padded & ~(size_t)(SHOAL_ALIGN - 1), total);
}

shoal_status shoal_arena_open(shoal_arena *a, size_t bytes, shoal_error *err)
{
    a->base = shoal_alloc_aligned(bytes);
    a->size = bytes;
    a->used = 0;
    if (a->base == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate %zu bytes", bytes);
    }
    return SHOAL_OK;
}

void *shoal_arena_take(shoal_arena *a, size_t n, size_t size)
{
    size_t end = a->used;
    if (a->base == NULL || !shoal_arena_add(&end, n, size) || end > a->size) return NULL;
    void *piece = a->base + a->used;
    a->used = end;
    return piece;
}

void shoal_arena_close(shoal_arena *a)
{
    if (a == NULL) return;
    shoal_free_aligned(a->base);
    a->base = NULL;
    a->size = 0;
    a->used = 0;
}
