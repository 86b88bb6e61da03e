/* threads.c - pool of workers that spin briefly, then sleep.
 *
 * A job is a list of ranges in equal shares, one a thread: a thread takes the ranges of its own
 * share in order, then what others have left of theirs. So threads meet the rows again that they
 * have in cache from the job before, unless one lags behind. Which thread runs a range is left
 * open; what a range is, is not.
 *
 * `epoch` grows by one per job and wakes the workers. `gate` lets them in: its high half is the
 * epoch of the open job (0: closed), its low half the workers inside. The caller closes the gate
 * when no range is left and waits for those inside only, so a worker that the system has not
 * scheduled yet costs nothing: on a busy machine the caller simply does the work itself.
 */
#include "kernels/base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"

#if defined(__x86_64__) || defined(__i386__)
#define SPIN_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define SPIN_PAUSE() __asm__ __volatile__("yield")
#else
#define SPIN_PAUSE() ((void)0)
#endif

/* About 20 us of spinning: longer than the gap between two kernels of a token, shorter than a
 * scheduler tick. */
enum { SPIN_LIMIT = 2000 };

enum { LINE = 64 };

/* Of one thread; a line of its own, since each counts most often in its own share. */
typedef struct share {
    _Alignas(LINE) _Atomic size_t next; /* next range to take */
    size_t end;
} share;

struct shoal_pool {
    unsigned n_threads;
    pthread_t threads[SHOAL_MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned sleeping; /* under lock */
    _Atomic uint32_t epoch;
    _Atomic bool stop;
    _Atomic uint64_t gate;
    size_t n, grain;
    shoal_range_fn *fn;
    void *ctx;
    unsigned long long sections;
    share shares[SHOAL_MAX_THREADS];
};

typedef struct worker_arg {
    shoal_pool *pool;
    unsigned index;
} worker_arg;

static void run_share(shoal_pool *p, share *from, unsigned worker)
{
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&from->next, 1, memory_order_relaxed);
        if (i >= from->end) return;
        size_t begin = i * p->grain;
        size_t end = p->n - begin < p->grain ? p->n : begin + p->grain;
        p->fn(p->ctx, begin, end, worker);
    }
}

static void run_ranges(shoal_pool *p, unsigned worker)
{
    for (unsigned i = 0; i < p->n_threads; i++) {
        run_share(p, &p->shares[(worker + i) % p->n_threads], worker);
    }
}

/* Ranges 0 .. n - 1 in shares that differ by one at most. */
static void share_out(shoal_pool *p, size_t n)
{
    size_t begin = 0;
    for (unsigned i = 0; i < p->n_threads; i++) {
        size_t end = begin + n / p->n_threads + (i < n % p->n_threads);
        p->shares[i].end = end;
        atomic_store_explicit(&p->shares[i].next, begin, memory_order_relaxed);
        begin = end;
    }
}

/* Returns the new epoch once it differs from `seen`. */
static uint32_t wait_epoch(shoal_pool *p, uint32_t seen)
{
    for (unsigned spin = 0; spin < SPIN_LIMIT; spin++) {
        uint32_t now = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (now != seen) return now;
        SPIN_PAUSE();
    }
    pthread_mutex_lock(&p->lock);
    p->sleeping++;
    while (atomic_load_explicit(&p->epoch, memory_order_acquire) == seen) {
        pthread_cond_wait(&p->wake, &p->lock);
    }
    p->sleeping--;
    pthread_mutex_unlock(&p->lock);
    return atomic_load_explicit(&p->epoch, memory_order_acquire);
}

/* True, and counted as inside, when the job of `epoch` is still open. */
static bool enter(shoal_pool *p, uint32_t epoch)
{
    uint64_t gate = atomic_load_explicit(&p->gate, memory_order_relaxed);
    while (gate >> 32 == epoch) {
        if (atomic_compare_exchange_weak_explicit(&p->gate, &gate, gate + 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static void *worker_main(void *arg)
{
    worker_arg *wa = arg;
    shoal_pool *p = wa->pool;
    unsigned index = wa->index;
    shoal_free(wa);
    uint32_t seen = 0;
    for (;;) {
        seen = wait_epoch(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_acquire)) return NULL;
        if (enter(p, seen)) {
            run_ranges(p, index);
            atomic_fetch_sub_explicit(&p->gate, 1, memory_order_release);
        }
    }
}

/* Opens the gate for the next job (or, when stopping, only wakes everyone). Epochs skip 0, which
 * means closed. */
static void publish_epoch(shoal_pool *p, bool open)
{
    pthread_mutex_lock(&p->lock);
    uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed) + 1;
    if (epoch == 0) {
        epoch = 1;
    }
    if (open) {
        atomic_store_explicit(&p->gate, (uint64_t)epoch << 32, memory_order_release);
    }
    atomic_store_explicit(&p->epoch, epoch, memory_order_release);
    if (p->sleeping > 0) {
        pthread_cond_broadcast(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);
}

static shoal_status start_worker(shoal_pool *p, unsigned index)
{
    worker_arg *wa = shoal_alloc(sizeof *wa);
    if (wa == NULL) return SHOAL_ERR_NOMEM;
    wa->pool = p;
    wa->index = index;
    if (pthread_create(&p->threads[index], NULL, worker_main, wa) != 0) {
        shoal_free(wa);
        return SHOAL_ERR_NOMEM;
    }
    return SHOAL_OK;
}

shoal_status shoal_pool_open(shoal_pool **out, unsigned n_threads, shoal_error *err)
{
    *out = NULL;
    if (n_threads == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        n_threads = online < 1 ? 1 : (unsigned)online;
    }
    if (n_threads > SHOAL_MAX_THREADS) {
        n_threads = SHOAL_MAX_THREADS;
    }
    shoal_pool *p = shoal_alloc_aligned(sizeof *p);
    if (p == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate the thread pool");
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->n_threads = 1;
    for (unsigned i = 1; i < n_threads; i++) {
        if (start_worker(p, i) != SHOAL_OK) {
            shoal_pool_close(p);
            return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot start thread %u of %u", i, n_threads);
        }
        p->n_threads++;
    }
    *out = p;
    return SHOAL_OK;
}

void shoal_pool_close(shoal_pool *p)
{
    if (p == NULL) return;
    atomic_store_explicit(&p->stop, true, memory_order_release);
    publish_epoch(p, false);
    for (unsigned i = 1; i < p->n_threads; i++) {
        pthread_join(p->threads[i], NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    shoal_free_aligned(p);
}

unsigned shoal_pool_size(const shoal_pool *pool)
{
    return pool == NULL ? 1 : pool->n_threads;
}

unsigned long long shoal_pool_sections(const shoal_pool *pool)
{
    return pool == NULL ? 0 : pool->sections;
}

static void run_serial(size_t n, size_t grain, shoal_range_fn *fn, void *ctx)
{
    for (size_t begin = 0; begin < n;) {
        size_t end = n - begin < grain ? n : begin + grain;
        fn(ctx, begin, end, 0);
        begin = end;
    }
}

/* Closes the gate and waits for the workers inside. Spins: ranges are short by design; yields after
 * a while so that an oversubscribed machine makes progress. */
static void close_job(shoal_pool *p)
{
    uint64_t inside = atomic_fetch_and_explicit(&p->gate, UINT32_MAX, memory_order_acquire);
    for (unsigned spin = 0; (inside & UINT32_MAX) != 0; spin++) {
        if (spin < SPIN_LIMIT) {
            SPIN_PAUSE();
        } else {
            sched_yield();
        }
        inside = atomic_load_explicit(&p->gate, memory_order_acquire);
    }
}

void shoal_parallel_for(shoal_pool *pool, size_t n, size_t grain, shoal_range_fn *fn, void *ctx)
{
    if (grain == 0) {
        grain = 1;
    }
    if (pool == NULL || pool->n_threads == 1 || n <= grain) {
        run_serial(n, grain, fn, ctx);
        return;
    }
    pool->n = n;
    pool->grain = grain;
    pool->fn = fn;
    pool->ctx = ctx;
    pool->sections++;
    share_out(pool, n / grain + (n % grain != 0));
    publish_epoch(pool, true);
    run_ranges(pool, 0);
    close_job(pool);
}
