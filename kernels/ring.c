/* ring.c - elements of a ring of 2^R, packed R bits each, added to an array: masked updates arrive
 * so.
 *
 * Eight words take R bytes, so groups of eight begin at bytes. PROTOCOL.md 5.6.3.
 */
#include "kernels/kernels.h"
#include "kernels/rowops.h"
#include "kernels/table.h"

enum { GROUP = 8, BEYOND = 8 };

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t ring_mask(uint32_t bits)
{
    return bits >= 32 ? UINT32_MAX : (1u << bits) - 1u;
}

/* A word lies in the eight bytes from the one it begins in. */
void shoal_ring_add_c(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t groups)
{
    uint32_t mask = ring_mask(bits);
    for (size_t g = 0; g < groups; g++, packed += bits, acc += GROUP) {
        for (uint32_t k = 0; k < GROUP; k++) {
            const uint8_t *p = packed + (k * bits >> 3);
            uint64_t word = (uint64_t)load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
            acc[k] += (uint32_t)(word >> (k * bits & 7)) & mask;
        }
    }
}

/* Words that begin at a byte, read no further than they reach. */
static void add_last(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t n)
{
    uint64_t pending = 0;
    unsigned held = 0;
    for (size_t i = 0; i < n; i++) {
        for (; held < bits; held += 8) {
            pending |= (uint64_t)*packed++ << held;
        }
        acc[i] += (uint32_t)pending & ring_mask(bits);
        pending >>= bits;
        held -= bits;
    }
}

void shoal_ring_add(const shoal_exec *ex, const uint8_t *packed, uint32_t bits, uint32_t *acc,
                    size_t n)
{
    size_t bytes = n / GROUP * bits + (n % GROUP * bits + 7) / 8;
    size_t groups = bytes > BEYOND ? (bytes - BEYOND) / bits : 0;
    if (groups > n / GROUP) groups = n / GROUP;
    ex->table->ring_add(packed, bits, acc, groups);
    add_last(packed + groups * bits, bits, acc + groups * GROUP, n - groups * GROUP);
}
