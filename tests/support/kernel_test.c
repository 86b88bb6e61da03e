/* kernel_test.c - see kernel_test.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/kernel_test.h"

#include "kernels/base/cpu.h"
#include "kernels/base/log.h"
#include "kernels/base/rng.h"
#include "kernels/table.h"

enum { MAX_LEVELS = 8 };

static uint32_t g_level[MAX_LEVELS];
static size_t g_levels;

/* A level is there when its mask selects the table of its name. */
static bool level_exists(const char *name, uint32_t *mask)
{
    shoal_table t;
    assert_true(shoal_cpu_mask_parse(name, mask));
    shoal_table_select(&t, *mask);
    return strcmp(t.name, name) == 0;
}

/* SHOAL_TEST_LEVELS, when set, names the levels to test. */
static bool level_wanted(const char *name)
{
    const char *only = getenv("SHOAL_TEST_LEVELS");
    return only == NULL || strstr(only, name) != NULL;
}

static void find_levels(void)
{
    static const char *const names[] = {"c",    "avx2",    "avxvnni", "avx512",
                                        "neon", "dotprod", "i8mm"};
    char lacks[128] = "";
    fprintf(stderr, "kernel levels:");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!level_wanted(names[i])) continue;
        bool here = level_exists(names[i], &g_level[g_levels]);
        g_levels += here;
        if (here) {
            fprintf(stderr, " %s", names[i]);
        } else {
            if (getenv("SHOAL_TEST_LEVELS") != NULL) fail_msg("level %s is not here", names[i]);
            size_t used = strlen(lacks);
            snprintf(lacks + used, sizeof lacks - used, " %s", names[i]);
        }
    }
    fprintf(stderr, "; skipped, not on this machine:%s\n", lacks);
}

size_t kt_levels(void)
{
    if (g_levels == 0) find_levels();
    return g_levels;
}

uint32_t kt_level(size_t i)
{
    assert_true(i < kt_levels());
    return g_level[i];
}

/* A failed self-check is logged and the slot goes back to C, which would hide the fault. */
static void no_warnings(void *ctx, shoal_log_level level, const char *module, const char *line)
{
    (void)ctx;
    if (level <= SHOAL_LOG_WARN) fail_msg("%s: %s", module, line);
}

shoal_exec kt_exec_open(uint32_t mask, unsigned threads)
{
    shoal_pool *pool = NULL;
    shoal_exec ex;
    shoal_log_set(SHOAL_LOG_WARN, no_warnings, NULL);
    if (threads > 0) {
        assert_int_equal(shoal_pool_open(&pool, threads, NULL), SHOAL_OK);
    }
    assert_int_equal(shoal_exec_open(&ex, pool, mask, false, NULL), SHOAL_OK);
    return ex;
}

void kt_exec_close(shoal_exec *ex)
{
    shoal_pool *pool = ex->pool;
    shoal_exec_close(ex);
    shoal_pool_close(pool);
}

kt_buf kt_buf_open(size_t n, size_t skew)
{
    kt_buf b = {.n = n};
    b.mem = guarded_open(n * sizeof *b.p, skew * sizeof *b.p);
    b.p = b.mem.p;
    return b;
}

kt_buf kt_buf_random(size_t n, size_t skew, uint64_t seed)
{
    kt_buf b = kt_buf_open(n, skew);
    kt_fill(b.p, n, seed);
    return b;
}

void kt_buf_close(kt_buf *b)
{
    assert_true(guarded_intact(&b->mem));
    guarded_close(&b->mem);
    *b = (kt_buf){0};
}

void kt_fill(float *x, size_t n, uint64_t seed)
{
    shoal_rng r = shoal_rng_init(seed);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(2 * shoal_rng_double(&r) - 1);
    }
}

void kt_close(const float *got, const double *want, size_t n, double bound)
{
    for (size_t i = 0; i < n; i++) {
        double diff = fabs((double)got[i] - want[i]);
        if (!(diff <= bound)) {
            fail_msg("value %zu of %zu: %.9g, expected %.9g, bound %.3g", i, n, (double)got[i],
                     want[i], bound);
        }
    }
}

void kt_same_bits(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            fail_msg("value %zu of %zu differs: %.9g and %.9g", i, n, (double)a[i], (double)b[i]);
        }
    }
}
