/* chacha_avx2.c - ChaCha20, eight blocks at once: vector w holds word w of eight blocks.
 *
 * Rotations by 16 and 8 are byte shuffles. The words are turned into blocks by two 8 x 8 transposes
 * and added straight into memory, so that no key stream is stored except for a partial last group.
 */
#include "kernels/x86/rowops_avx2.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/rowops.h"
#include "kernels/x86/avx2_math.h"
#include "kernels/simd.h"

enum { WORDS = 16, BLOCKS = 8, GROUP = WORDS * BLOCKS, DOUBLE_ROUNDS = 10 };

#define ADD _mm256_add_epi32
#define XOR _mm256_xor_si256

SHOAL_INLINE __m256i rotate(__m256i v, int left)
{
    return _mm256_or_si256(_mm256_slli_epi32(v, left), _mm256_srli_epi32(v, 32 - left));
}

SHOAL_INLINE void quarter_round(__m256i *a, __m256i *b, __m256i *c, __m256i *d)
{
    const __m256i by16 = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2,
                                          3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    const __m256i by8 = _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0,
                                         1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
    *a = ADD(*a, *b);
    *d = _mm256_shuffle_epi8(XOR(*d, *a), by16);
    *c = ADD(*c, *d);
    *b = rotate(XOR(*b, *c), 12);
    *a = ADD(*a, *b);
    *d = _mm256_shuffle_epi8(XOR(*d, *a), by8);
    *c = ADD(*c, *d);
    *b = rotate(XOR(*b, *c), 7);
}

SHOAL_INLINE void double_rounds(__m256i x[WORDS])
{
    for (int i = 0; i < DOUBLE_ROUNDS; i++) {
        SHOAL_UNROLL
        for (int q = 0; q < 4; q++) {
            quarter_round(&x[q], &x[4 + q], &x[8 + q], &x[12 + q]);
        }
        SHOAL_UNROLL
        for (int q = 0; q < 4; q++) {
            quarter_round(&x[q], &x[4 + (q + 1) % 4], &x[8 + (q + 2) % 4], &x[12 + (q + 3) % 4]);
        }
    }
}

/* Eight vectors of one word each become eight half blocks: out[i] = words of block i. */
SHOAL_INLINE void transpose(const __m256i in[8], __m256i out[8])
{
    __m256i t[8], u[8];
    SHOAL_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(in[i], in[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(in[i], in[i + 1]);
    }
    SHOAL_UNROLL
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    SHOAL_UNROLL
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
        out[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
    }
}

/* acc [GROUP] += (stream ^ flip) - flip, flip being 0 or all ones. */
SHOAL_INLINE void add_group(const __m256i start[WORDS], __m256i flip, uint32_t *acc)
{
    __m256i x[WORDS], half[8];
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = start[w];
    }
    double_rounds(x);
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = ADD(x[w], start[w]);
    }
    for (int h = 0; h < 2; h++) {
        transpose(x + 8 * h, half);
        SHOAL_UNROLL
        for (int i = 0; i < BLOCKS; i++) {
            __m256i *at = (__m256i *)(void *)(acc + WORDS * i + 8 * h);
            __m256i word = _mm256_sub_epi32(XOR(half[i], flip), flip);
            _mm256_storeu_si256(at, ADD(_mm256_loadu_si256(at), word));
        }
    }
}

void shoal_chacha_avx2(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n,
                       bool subtract)
{
    static const int constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    const __m256i eight = _mm256_set1_epi32(BLOCKS);
    __m256i start[WORDS], flip = _mm256_set1_epi32(subtract ? -1 : 0);
    for (int w = 0; w < WORDS; w++) {
        start[w] = _mm256_set1_epi32(w < 4 ? constants[w] : w < 12 ? (int)key[w - 4] : 0);
    }
    start[12] = ADD(_mm256_set1_epi32((int)counter), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    size_t at = 0;
    for (; at + GROUP <= n; at += GROUP) {
        add_group(start, flip, acc + at);
        start[12] = ADD(start[12], eight);
    }
    if (at < n) {
        uint32_t last[GROUP] = {0};
        add_group(start, flip, last);
        for (size_t i = at; i < n; i++) {
            acc[i] += last[i - at];
        }
        shoal_wipe(last, sizeof last);
    }
    shoal_wipe(start, sizeof start);
}
