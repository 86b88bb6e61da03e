/* tiny_session.c - opens and closes what a tiny session needs. */
#include "tests/support/tiny_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/rng.h"

void tiny_engine_open(tiny_engine *e, uint64_t seed, const shoal_tiny_opts *opts, unsigned threads,
                      bool exact)
{
    *e = (tiny_engine){.m = NULL};
    shoal_error err = {0};
    if (shoal_tiny_model_temp(e->path, seed, opts, &err) != SHOAL_OK ||
        shoal_model_open(&e->m, e->path, &err) != SHOAL_OK ||
        shoal_pool_open(&e->pool, threads, &err) != SHOAL_OK ||
        shoal_exec_open(&e->ex, e->pool, SHOAL_CPU_ALL, exact, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
}

void tiny_engine_close(tiny_engine *e)
{
    shoal_exec_close(&e->ex);
    shoal_pool_close(e->pool);
    shoal_model_close(e->m);
    (void)remove(e->path);
}

void tiny_random_ids(const tiny_engine *e, uint64_t seed, int32_t *ids, size_t n)
{
    shoal_rng rng = shoal_rng_init(seed);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)shoal_rng_below(&rng, e->m->cfg.n_vocab);
    }
}
