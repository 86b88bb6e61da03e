/* guarded.c - see guarded.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include "tests/support/guarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/blocks.h"

enum { GUARD = 128, INSIDE = 0xff, OUTSIDE = 0xa5 };

guarded guarded_open(size_t bytes, size_t offset)
{
    guarded g = {.bytes = bytes};
    g.base = shoal_alloc_aligned(GUARD + 64 + bytes + GUARD);
    assert_non_null(g.base);
    memset(g.base, OUTSIDE, GUARD + 64 + bytes + GUARD);
    g.p = g.base + GUARD + offset % 64;
    memset(g.p, INSIDE, bytes);
    return g;
}

static bool all_outside(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != OUTSIDE) return false;
    }
    return true;
}

bool guarded_intact(const guarded *g)
{
    const unsigned char *p = g->p;
    return all_outside(g->base, (size_t)(p - g->base)) && all_outside(p + g->bytes, GUARD);
}

void guarded_close(guarded *g)
{
    shoal_free_aligned(g->base);
    *g = (guarded){0};
}

fenced fenced_open(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (bytes + page - 1) / page * page;
    fenced f = {.map_bytes = body + page};
    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect((char *)f.map + body, page, PROT_NONE), 0);
    f.p = (char *)f.map + body - bytes;
    return f;
}

void fenced_close(fenced *f)
{
    munmap(f->map, f->map_bytes);
    *f = (fenced){0};
}

void fill_normal(shoal_rng *rng, float *x, size_t n, double sigma)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(sigma * shoal_rng_normal(rng));
    }
}

/* Random bytes, except for the scales: those are between 2^-12 and 2^-11. */
static void fill_blocks(shoal_rng *rng, shoal_type type, size_t bytes, unsigned char *w)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t at[2];
    shoal_block_scales(type, at);
    for (size_t i = 0; i < bytes; i++) {
        w[i] = (unsigned char)(shoal_rng_u64(rng) >> 56);
    }
    for (size_t b = 0; b < bytes / info->block_bytes; b++) {
        for (size_t i = 0; i < 2 && at[i] != SIZE_MAX; i++) {
            float d = (float)(1.0 + shoal_rng_double(rng)) * 0x1p-12f;
            uint16_t h = shoal_f32_to_f16(d);
            w[b * info->block_bytes + at[i]] = (unsigned char)(h & 0xff);
            w[b * info->block_bytes + at[i] + 1] = (unsigned char)(h >> 8);
        }
    }
}

void fill_weights(shoal_rng *rng, shoal_type type, size_t rows, size_t cols, void *w)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t row_bytes = shoal_type_row_bytes(info, cols);
    if (info->block > 1 && !shoal_type_writable(type)) {
        fill_blocks(rng, type, rows * row_bytes, w);
        return;
    }
    float *row = shoal_alloc((cols + 1) * sizeof *row);
    assert_non_null(row);
    for (size_t r = 0; r < rows; r++) {
        fill_normal(rng, row, cols, 0.1);
        shoal_quantize(type, row, (char *)w + r * row_bytes, cols);
    }
    shoal_free(row);
}
