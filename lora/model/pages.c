/* pages.c - madvise over whole fault-around windows. */
#define _DEFAULT_SOURCE /* madvise: posix_madvise's DONTNEED does nothing in glibc */
#include "lora/model/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* [begin, end) in addresses. */
typedef struct range {
    uintptr_t begin, end;
} range;

/* n bytes at p in whole units, but nothing beyond the mapping: its neighbours are not ours. */
static range round_out(shoal_mapping map, const void *p, size_t n, size_t unit)
{
    uintptr_t first = (uintptr_t)map.p;
    uintptr_t begin = (uintptr_t)p - (uintptr_t)p % unit;
    uintptr_t end = (uintptr_t)p + n;
    uintptr_t up = (unit - end % unit) % unit;
    return (range){begin < first ? first : begin,
                   up > first + map.n - end ? first + map.n : end + up};
}

static size_t page_bytes(void)
{
    long n = sysconf(_SC_PAGESIZE);
    return n > 0 ? (size_t)n : 4096;
}

static void advise(range r, int advice)
{
    (void)madvise((void *)r.begin, r.end - r.begin, advice); /* advice: to fail is no error */
}

size_t shoal_pages_bytes(const void *p, size_t n)
{
    size_t before = (uintptr_t)p % SHOAL_PAGES_WINDOW;
    size_t windows = (before + n + SHOAL_PAGES_WINDOW - 1) / SHOAL_PAGES_WINDOW;
    return n == 0 ? 0 : windows * SHOAL_PAGES_WINDOW;
}

/* The advice starts all reads at once, for which flash is far quicker than for one fault after
 * another; the loop waits for them and maps the pages. */
void shoal_pages_fetch(shoal_mapping map, const void *p, size_t n)
{
    if (map.p == NULL || n == 0) return;
    size_t page = page_bytes();
    range r = round_out(map, p, n, page);
    advise(r, MADV_WILLNEED);
    for (uintptr_t at = r.begin; at < r.end; at += page) {
        (void)*(const volatile unsigned char *)at;
    }
}

void shoal_pages_drop(shoal_mapping map, const void *p, size_t n)
{
    if (map.p == NULL || n == 0) return;
    advise(round_out(map, p, n, SHOAL_PAGES_WINDOW), MADV_DONTNEED);
}
