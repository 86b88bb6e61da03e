/* pages.c - madvise over whole fault-around windows. */
#define _DEFAULT_SOURCE /* madvise: posix_madvise's DONTNEED does nothing in glibc */
#include "lora/model/pages.h"

#include <errno.h>
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

/* Linux maps a huge page wherever one of the page cache fits in, whatever was advised, once anyone
 * has read the file in huge pages. It does not fit where address and offset differ in their
 * remainders, so that is how the file is placed: in a reservation, one page off. */
static void *map_small(int fd, size_t n)
{
    size_t huge = (size_t)2 << 20, page = page_bytes();
    if (n > SIZE_MAX - 2 * huge - page) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    size_t room = n + huge + page + (page - n % page) % page;
    void *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return p;
    uintptr_t begin = (uintptr_t)p, end = begin + room;
    uintptr_t at = (begin + huge - 1) / huge * huge + page;
    uintptr_t after = (at + n + page - 1) / page * page;
    if (mmap((void *)at, n, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED) {
        (void)munmap(p, room);
        return MAP_FAILED;
    }
    if (at > begin) (void)munmap(p, at - begin);
    if (end > after) (void)munmap((void *)after, end - after);
    return (void *)at;
}

const void *shoal_pages_map(int fd, size_t n, shoal_page_size pages)
{
    void *p = MAP_FAILED;
    if (pages == SHOAL_PAGES_SMALL) {
        p = map_small(fd, n);
    } else {
        p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
#ifdef MADV_HUGEPAGE
        if (p != MAP_FAILED) (void)madvise(p, n, MADV_HUGEPAGE);
#endif
    }
    return p == MAP_FAILED ? NULL : p;
}

void shoal_pages_unmap(const void *p, size_t n)
{
    (void)munmap((void *)(uintptr_t)p, n);
}

size_t shoal_pages_bytes(const void *p, size_t n)
{
    size_t before = (uintptr_t)p % SHOAL_PAGES_WINDOW;
    size_t windows = (before + n + SHOAL_PAGES_WINDOW - 1) / SHOAL_PAGES_WINDOW;
    return n == 0 ? 0 : windows * SHOAL_PAGES_WINDOW;
}

/* Nothing depends on the readahead that this advice is about: shoal_pages_fetch asks for what it
 * wants. */
void shoal_pages_part(shoal_mapping map, const void *p, size_t n, bool odd)
{
    if (map.p == NULL || n == 0) return;
    advise(round_out(map, p, n, page_bytes()), odd ? MADV_RANDOM : MADV_NORMAL);
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
