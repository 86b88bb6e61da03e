/* compact_neon.c - f32 to binary16 and to 8-bit blocks, the bits of compact.c. */
#include <arm_neon.h>

#include "kernels/blocks.h"
#include "kernels/compact.h"
#include "kernels/matmul.h"
#include "kernels/simd.h"

enum { QUAD = 4, QUADS = SHOAL_QBLOCK / QUAD };

static void half_pack(const float *x, size_t n, uint16_t *out)
{
    const float32x4_t most = vdupq_n_f32(SHOAL_HALF_MAX), least = vdupq_n_f32(-SHOAL_HALF_MAX);
    size_t i = 0;
    for (; i + QUAD <= n; i += QUAD) {
        float32x4_t v = vmaxq_f32(vminq_f32(vld1q_f32(x + i), most), least);
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(v)));
    }
    shoal_half_pack_c(x + i, n - i, out + i);
}

/* Eight codes of x by `scale`, to nearest even. */
SHOAL_INLINE int16x8_t codes8(const float *x, float scale)
{
    const float32x4_t most = vdupq_n_f32(127.0f), least = vdupq_n_f32(-127.0f);
    float32x4_t lo = vmulq_n_f32(vld1q_f32(x), scale), hi = vmulq_n_f32(vld1q_f32(x + QUAD), scale);
    lo = vminq_f32(vmaxq_f32(lo, least), most);
    hi = vminq_f32(vmaxq_f32(hi, least), most);
    return vcombine_s16(vmovn_s32(vcvtnq_s32_f32(lo)), vmovn_s32(vcvtnq_s32_f32(hi)));
}

static void q8_pack(const float *x, size_t blocks, uint8_t *out)
{
    for (; blocks > 0; blocks--, x += SHOAL_QBLOCK, out += SHOAL_Q8_0_BYTES) {
        float32x4_t peak = vdupq_n_f32(0.0f);
        SHOAL_UNROLL
        for (int i = 0; i < QUADS; i++) {
            peak = vmaxq_f32(vabsq_f32(vld1q_f32(x + QUAD * i)), peak);
        }
        float d = vmaxvq_f32(peak) / 127.0f;
        shoal_store_f16(out, d > SHOAL_HALF_MAX ? SHOAL_HALF_MAX : d);
        d = shoal_load_f16(out);
        float scale = d > 0.0f ? 1.0f / d : 0.0f;
        SHOAL_UNROLL
        for (int i = 0; i < 2; i++) {
            int8x8_t lo = vmovn_s16(codes8(x + 16 * i, scale));
            int8x8_t hi = vmovn_s16(codes8(x + 16 * i + 8, scale));
            vst1q_u8(out + 2 + 16 * i, vreinterpretq_u8_s8(vcombine_s8(lo, hi)));
        }
    }
}

void shoal_compact_init_neon(shoal_table *t)
{
    t->half_pack = half_pack;
    t->q8_pack = q8_pack;
}
