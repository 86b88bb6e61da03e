/* dot_neon.c - block formats times 8-bit activations with what every 64-bit ARM has.
 *
 * Four activations are broadcast and multiplied with four weights of two rows at a time (smull,
 * smlal), adding up in 16 bits for `run` steps: eight of |code| <= 32 reach 8 * 32 * 127 = 32512,
 * four of codes to 63 reach 32004, two of eight-bit codes 2 * 128 * 127 = 32512. See dot_arm.h.
 */
#include "kernels/arm/arm.h"
#include "kernels/arm/dot_arm.h"

/* acc = or += products of the vectors a and b with x; acc [i] holds rows 2 i and 2 i + 1. */
SHOAL_INLINE void multiply(bool first, int8x16_t a, int8x16_t b, int8x16_t x, int16x8_t acc[4])
{
    int8x8_t low = vget_low_s8(x);
    acc[0] = first ? vmull_s8(vget_low_s8(a), low) : vmlal_s8(acc[0], vget_low_s8(a), low);
    acc[1] = first ? vmull_high_s8(a, x) : vmlal_high_s8(acc[1], a, x);
    acc[2] = first ? vmull_s8(vget_low_s8(b), low) : vmlal_s8(acc[2], vget_low_s8(b), low);
    acc[3] = first ? vmull_high_s8(b, x) : vmlal_high_s8(acc[3], b, x);
}

SHOAL_INLINE void sum_codes(const int8x16_t *code, size_t vectors, const int8_t *q, size_t run,
                            int32x4_t sum[2])
{
    const size_t steps = vectors / 2;
    if (run > steps) run = steps;
    int32x4_t pairs[4];
    int16x8_t acc[4];
    SHOAL_UNROLL
    for (size_t j = 0; j < steps; j++) {
        uint32_t four;
        memcpy(&four, q + 4 * j, sizeof four);
        int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(four));
        multiply(j % run == 0, code[2 * j], code[2 * j + 1], x, acc);
        if (j % run != run - 1) continue;
        SHOAL_UNROLL
        for (size_t i = 0; i < 4; i++) {
            pairs[i] = j < run ? vpaddlq_s16(acc[i]) : vpadalq_s16(pairs[i], acc[i]);
        }
    }
    sum[0] = vpaddq_s32(pairs[0], pairs[1]);
    sum[1] = vpaddq_s32(pairs[2], pairs[3]);
}

SHOAL_INLINE void add_rows(const group_type *type, const group_block *g, const int8_t *x, size_t n,
                           float32x4_t *acc)
{
    add_rows4(type, sum_codes, g, x, n, acc);
}

static const dot_level neon = {ROWS4, add_rows, store_rows4, NULL};

SHOAL_DOT_ARM_ALL(neon)

shoal_dot_q8_fn *const shoal_dot_neon[SHOAL_TYPE_SLOTS] = SHOAL_DOT_ARM_SLOTS;
