/* halves_neon.c - rows in binary16 under a power of two, the bits of halves.c. */
#include <arm_neon.h>

#include "kernels/arm/rowops_neon.h"
#include "kernels/halves.h"
#include "kernels/quant.h"

enum { LANES = 4 };

static float peak_of(const float *x, size_t n)
{
    float32x4_t peak = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        peak = vmaxq_f32(vabsq_f32(vld1q_f32(x + i)), peak);
    }
    float most = vmaxvq_f32(peak);
    for (; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

float shoal_half_put_neon(const float *x, size_t n, uint16_t *out)
{
    int exponent = shoal_half_exponent(peak_of(x, n));
    float factor = shoal_half_power(SHOAL_HALF_TOP - exponent);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), factor);
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(v)));
    }
    for (; i < n; i++) {
        out[i] = shoal_f32_to_f16(x[i] * factor);
    }
    return shoal_half_power(exponent - SHOAL_HALF_TOP);
}

void shoal_half_take_neon(const uint16_t *in, size_t n, float scale, float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i)));
        vst1q_f32(x + i, vmulq_n_f32(v, scale));
    }
    for (; i < n; i++) {
        x[i] = shoal_f16_to_f32(in[i]) * scale;
    }
}
