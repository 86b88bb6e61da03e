/* threads.h - one fixed thread pool and a parallel loop whose ranges do not depend on it.
 *
 * shoal_parallel_for cuts [0, n) into ranges of `grain` items. The cut depends on n and grain only,
 * never on the number of threads, and each range is run by exactly one thread, so a computation
 * that writes per range (or reduces in range order afterwards) gives the same bits with 1 or 16
 * threads.
 *
 * Layer: kernels/base. Threads: a pool is used by one caller at a time.
 */
#ifndef SHOAL_KERNELS_BASE_THREADS_H
#define SHOAL_KERNELS_BASE_THREADS_H

#include <stddef.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_MAX_THREADS = 64 };

typedef struct shoal_pool shoal_pool;

/* Called once per range: items [begin, end). `worker` is in [0, shoal_pool_size) and identifies the
 * calling thread, for per-thread scratch memory. */
typedef void shoal_range_fn(void *ctx, size_t begin, size_t end, unsigned worker);

/* n_threads 1..SHOAL_MAX_THREADS including the caller; 0 means one per online processor. */
SHOAL_MUST_USE shoal_status shoal_pool_open(shoal_pool **out, unsigned n_threads, shoal_error *err);
void shoal_pool_close(shoal_pool *pool);

/* Threads of the pool, the caller included; 1 for NULL. */
unsigned shoal_pool_size(const shoal_pool *pool);

/* Runs fn over all ranges and returns when all are done. A NULL pool runs them here, in order.
 * grain 0 counts as 1. Never allocates. */
void shoal_parallel_for(shoal_pool *pool, size_t n, size_t grain, shoal_range_fn *fn, void *ctx);

/* Parallel sections run by this pool so far: the number of barriers (for tests that count them). */
unsigned long long shoal_pool_sections(const shoal_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
