/* chacha_neon.c - ChaCha20, four blocks at once: vector w holds word w of four blocks.
 *
 * Rotations by 16 and 8 are byte shuffles, the others a shift and a shift-insert. The words are
 * turned into blocks by four 4 x 4 transposes and added straight into memory, so that no key
 * stream is stored except for a partial last group.
 */
#include "kernels/arm/rowops_neon.h"

#include <arm_neon.h>

#include "kernels/base/mem.h"
#include "kernels/simd.h"

enum { WORDS = 16, BLOCKS = 4, GROUP = WORDS * BLOCKS, DOUBLE_ROUNDS = 10 };

SHOAL_INLINE uint32x4_t rotate16(uint32x4_t v)
{
    return vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(v)));
}

SHOAL_INLINE uint32x4_t rotate8(uint32x4_t v)
{
    static const uint8_t order[16] = {3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14};
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(v), vld1q_u8(order)));
}

#define ROTATE(v, left) vsriq_n_u32(vshlq_n_u32(v, left), v, 32 - (left))

SHOAL_INLINE void quarter_round(uint32x4_t *a, uint32x4_t *b, uint32x4_t *c, uint32x4_t *d)
{
    *a = vaddq_u32(*a, *b);
    *d = rotate16(veorq_u32(*d, *a));
    *c = vaddq_u32(*c, *d);
    uint32x4_t t = veorq_u32(*b, *c);
    *b = ROTATE(t, 12);
    *a = vaddq_u32(*a, *b);
    *d = rotate8(veorq_u32(*d, *a));
    *c = vaddq_u32(*c, *d);
    t = veorq_u32(*b, *c);
    *b = ROTATE(t, 7);
}

SHOAL_INLINE void double_rounds(uint32x4_t x[WORDS])
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

/* Four vectors of one word each become four quarter blocks: x[i] = words of block i. */
SHOAL_INLINE void transpose(uint32x4_t x[4])
{
    uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(x[0], x[1]));
    uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(x[0], x[1]));
    uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(x[2], x[3]));
    uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(x[2], x[3]));
    x[0] = vreinterpretq_u32_u64(vtrn1q_u64(a, c));
    x[1] = vreinterpretq_u32_u64(vtrn1q_u64(b, d));
    x[2] = vreinterpretq_u32_u64(vtrn2q_u64(a, c));
    x[3] = vreinterpretq_u32_u64(vtrn2q_u64(b, d));
}

/* acc [GROUP] += or -= the blocks that begin with `start`. */
SHOAL_INLINE void add_group(const uint32x4_t start[WORDS], bool subtract, uint32_t *acc)
{
    uint32x4_t x[WORDS];
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = start[w];
    }
    double_rounds(x);
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = vaddq_u32(x[w], start[w]);
    }
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w += 4) {
        transpose(x + w);
        SHOAL_UNROLL
        for (int i = 0; i < BLOCKS; i++) {
            uint32_t *at = acc + WORDS * i + w;
            uint32x4_t old = vld1q_u32(at);
            vst1q_u32(at, subtract ? vsubq_u32(old, x[w + i]) : vaddq_u32(old, x[w + i]));
        }
    }
}

void shoal_chacha_neon(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n,
                       bool subtract)
{
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    static const uint32_t lane[BLOCKS] = {0, 1, 2, 3};
    uint32x4_t start[WORDS];
    for (int w = 0; w < WORDS; w++) {
        start[w] = vdupq_n_u32(w < 4 ? constants[w] : w < 12 ? key[w - 4] : 0);
    }
    start[12] = vaddq_u32(vdupq_n_u32(counter), vld1q_u32(lane));
    size_t at = 0;
    for (; at + GROUP <= n; at += GROUP) {
        add_group(start, subtract, acc + at);
        start[12] = vaddq_u32(start[12], vdupq_n_u32(BLOCKS));
    }
    if (at < n) {
        uint32_t last[GROUP] = {0};
        add_group(start, subtract, last);
        for (size_t i = at; i < n; i++) {
            acc[i] += last[i - at];
        }
        shoal_wipe(last, sizeof last);
    }
    shoal_wipe(start, sizeof start);
}
