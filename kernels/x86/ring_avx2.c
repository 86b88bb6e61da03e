/* ring_avx2.c - eight packed words at once: four in each half of a vector.
 *
 * Each half loads 16 bytes, from where its first word begins; a shuffle takes the four bytes of
 * each word, a shift its first bit to the bottom. That holds while a word and the bits before it in
 * its first byte fit 32 bits, R <= 25, and no load reaches 8 bytes beyond the group, R >= 16. R =
 * 32 is plain addition; the others go the portable way.
 */
#include "kernels/x86/rowops_avx2.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/rowops.h"
#include "kernels/simd.h"

enum { LANES = 8, FIRST = 16, FOUR_BYTES_HOLD = 25 };

typedef struct unpacking {
    __m256i bytes;  /* which of its half's 16 each byte of a word is */
    __m256i shifts; /* of each word */
    __m256i mask;
    size_t upper; /* byte in which word 4 begins */
} unpacking;

static unpacking plan(uint32_t bits)
{
    unpacking u;
    uint8_t bytes[32];
    uint32_t shifts[LANES];
    u.upper = 4 * bits / 8;
    for (uint32_t k = 0; k < LANES; k++) {
        uint32_t first = k * bits / 8 - (k < 4 ? 0 : (uint32_t)u.upper);
        shifts[k] = k * bits % 8;
        for (uint32_t b = 0; b < 4; b++) {
            bytes[4 * k + b] = (uint8_t)(first + b);
        }
    }
    memcpy(&u.bytes, bytes, sizeof u.bytes);
    memcpy(&u.shifts, shifts, sizeof u.shifts);
    u.mask = _mm256_set1_epi32((int32_t)((1u << bits) - 1u));
    return u;
}

SHOAL_INLINE __m128i load_half(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

SHOAL_INLINE void add_to(uint32_t *acc, __m256i words)
{
    __m256i *at = (__m256i *)(void *)acc;
    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), words));
}

static void add_whole(const uint8_t *packed, uint32_t *acc, size_t groups)
{
    for (size_t g = 0; g < groups; g++) {
        const void *p = packed + 4 * LANES * g;
        add_to(acc + LANES * g, _mm256_loadu_si256((const __m256i *)p));
    }
}

void shoal_ring_add_avx2(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t groups)
{
    if (bits == 32) {
        add_whole(packed, acc, groups);
        return;
    }
    if (bits < FIRST || bits > FOUR_BYTES_HOLD) {
        shoal_ring_add_c(packed, bits, acc, groups);
        return;
    }
    unpacking u = plan(bits);
    for (size_t g = 0; g < groups; g++, packed += bits, acc += LANES) {
        __m256i raw = _mm256_inserti128_si256(_mm256_castsi128_si256(load_half(packed)),
                                              load_half(packed + u.upper), 1);
        __m256i words = _mm256_srlv_epi32(_mm256_shuffle_epi8(raw, u.bytes), u.shifts);
        add_to(acc, _mm256_and_si256(words, u.mask));
    }
}
