/* dot_dotprod.c - block formats times 8-bit activations with sdot (Armv8.2 dotprod).
 *
 * Four weights of each of four rows times four activations, the activations as a lane of a vector
 * of sixteen: no broadcast, no sum across lanes. See dot_arm.h.
 */
#include "kernels/arm/arm.h"
#include "kernels/arm/dot_arm.h"

/* The lane of x must be a constant in every build, hence no loop. */
#define STEP(lane)                                               \
    sum[0] = vdotq_laneq_s32(sum[0], code[2 * (lane)], x, lane), \
    sum[1] = vdotq_laneq_s32(sum[1], code[2 * (lane) + 1], x, lane)

SHOAL_INLINE void sum_codes(const int8x16_t *code, size_t vectors, const int8_t *q, size_t run,
                            int32x4_t sum[2])
{
    (void)run;
    sum[0] = sum[1] = vdupq_n_s32(0);
    SHOAL_UNROLL
    for (size_t i = 0; i < vectors / 8; i++, code += 8, q += 16) {
        int8x16_t x = vld1q_s8(q);
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
    }
}

SHOAL_INLINE void add_rows(const group_type *type, const group_block *g, const int8_t *x, size_t n,
                           float32x4_t *acc)
{
    add_rows4(type, sum_codes, g, x, n, acc);
}

static const dot_level dotprod = {ROWS4, add_rows, store_rows4, NULL};

SHOAL_DOT_ARM_ALL(dotprod)

shoal_dot_q8_fn *const shoal_dot_dotprod[SHOAL_TYPE_SLOTS] = SHOAL_DOT_ARM_SLOTS;
