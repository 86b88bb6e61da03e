/* quant_avx2.c - expansion of weights and packing of activations, 8 values at a time.
 *
 * Bit for bit what quant.c and act.c compute: products and sums are written apart (no FMA).
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/act.h"
#include "kernels/blocks.h"
#include "kernels/matmul.h"
#include "kernels/simd.h"

SHOAL_INLINE __m128i load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

SHOAL_INLINE __m256 broadcast_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}

static void dequant_f16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(load16(p + 2 * i)));
    }
    for (; i < n; i++) {
        out[i] = shoal_load_f16(p + 2 * i);
    }
}

/* 16 signed bytes as floats, in two vectors. */
SHOAL_INLINE void widen16(__m128i q, __m256 *lo, __m256 *hi)
{
    *lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
    *hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q)));
}

/* out [16] = q * d + m */
SHOAL_INLINE void scale16(__m128i q, __m256 d, __m256 m, float *out)
{
    __m256 lo;
    __m256 hi;
    widen16(q, &lo, &hi);
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(lo, d), m));
    _mm256_storeu_ps(out + 8, _mm256_add_ps(_mm256_mul_ps(hi, d), m));
}

/* out [16] = q * d */
SHOAL_INLINE void scale16_plain(__m128i q, __m256 d, float *out)
{
    __m256 lo;
    __m256 hi;
    widen16(q, &lo, &hi);
    _mm256_storeu_ps(out, _mm256_mul_ps(lo, d));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(hi, d));
}

static void dequant_q4_0(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const __m128i low = _mm_set1_epi8(15);
    const __m128i eight = _mm_set1_epi8(8);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_0_BYTES) {
        __m256 d = broadcast_f16(p);
        __m128i q = load16(p + 2);
        __m128i lo = _mm_sub_epi8(_mm_and_si128(q, low), eight);
        __m128i hi = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), low), eight);
        scale16_plain(lo, d, out + i);
        scale16_plain(hi, d, out + i + 16);
    }
}

static void dequant_q4_1(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const __m128i low = _mm_set1_epi8(15);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_1_BYTES) {
        __m256 d = broadcast_f16(p);
        __m256 m = broadcast_f16(p + 2);
        __m128i q = load16(p + 4);
        scale16(_mm_and_si128(q, low), d, m, out + i);
        scale16(_mm_and_si128(_mm_srli_epi16(q, 4), low), d, m, out + i + 16);
    }
}

static void dequant_q8_0(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q8_0_BYTES) {
        __m256 d = broadcast_f16(p);
        scale16_plain(load16(p + 2), d, out + i);
        scale16_plain(load16(p + 18), d, out + i + 16);
    }
}

/* Dwords 0, 8, 16, 24 from p: a row's code bytes in a packed block, p at its lane. */
SHOAL_INLINE __m128i lane16(const uint8_t *p)
{
    int32_t v[4];
    for (int i = 0; i < 4; i++) {
        memcpy(&v[i], p + 32 * i, sizeof v[i]);
    }
    return _mm_setr_epi32(v[0], v[1], v[2], v[3]);
}

static void dequant_p4_0(const void *row, size_t lane, float *out, size_t n)
{
    const __m128i low = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q4_0_BYTES) {
        __m256 d = broadcast_f16(p + 2 * lane);
        __m128i q = lane16(p + 16 + 4 * lane);
        __m128i hi = _mm_and_si128(_mm_srli_epi16(q, 4), low);
        scale16_plain(_mm_sub_epi8(_mm_and_si128(q, low), eight), d, out + i);
        scale16_plain(_mm_sub_epi8(hi, eight), d, out + i + 16);
    }
}

static void dequant_p4_1(const void *row, size_t lane, float *out, size_t n)
{
    const __m128i low = _mm_set1_epi8(15);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q4_1_BYTES) {
        __m256 d = broadcast_f16(p + 2 * lane);
        __m256 m = broadcast_f16(p + 16 + 2 * lane);
        __m128i q = lane16(p + 32 + 4 * lane);
        scale16(_mm_and_si128(q, low), d, m, out + i);
        scale16(_mm_and_si128(_mm_srli_epi16(q, 4), low), d, m, out + i + 16);
    }
}

static void dequant_p8_0(const void *row, size_t lane, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q8_0_BYTES) {
        __m256 d = broadcast_f16(p + 2 * lane);
        scale16_plain(lane16(p + 16 + 4 * lane), d, out + i);
        scale16_plain(lane16(p + 144 + 4 * lane), d, out + i + 16);
    }
}

/* d and m = -d z of the affine word at p; z = u * unit. */
SHOAL_INLINE void affine_scales(const uint8_t *p, float unit, __m256 *d, __m256 *m)
{
    unsigned word = (unsigned)p[0] | (unsigned)p[1] << 8;
    float scale = shoal_affine_scale(word >> SHOAL_AFFINE_ZERO_BITS);
    float z = (float)(word & ((1u << SHOAL_AFFINE_ZERO_BITS) - 1)) * unit;
    *d = _mm256_set1_ps(scale);
    *m = _mm256_set1_ps(-scale * z);
}

static void dequant_q4_a(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const __m128i low = _mm_set1_epi8(15);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_A_BYTES) {
        __m256 d, m;
        affine_scales(p, 1.0f / 8, &d, &m);
        __m128i q = load16(p + 2);
        scale16(_mm_and_si128(q, low), d, m, out + i);
        scale16(_mm_and_si128(_mm_srli_epi16(q, 4), low), d, m, out + i + 16);
    }
}

static void dequant_p4_a(const void *row, size_t lane, float *out, size_t n)
{
    const __m128i low = _mm_set1_epi8(15);
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q4_A_BYTES) {
        __m256 d, m;
        affine_scales(p + 2 * lane, 1.0f / 8, &d, &m);
        __m128i q = lane16(p + 16 + 4 * lane);
        scale16(_mm_and_si128(q, low), d, m, out + i);
        scale16(_mm_and_si128(_mm_srli_epi16(q, 4), low), d, m, out + i + 16);
    }
}

/* Codes of 6 bits: q holds the low nibbles, `pairs` the rest of weights 0..7 in each of its halves
 * at bits 0, of 8..15 at bits 2 and so on. */
SHOAL_INLINE void expand_six(__m128i q, __m128i pairs, __m256 d, __m256 m, float *out)
{
    const __m128i low = _mm_set1_epi8(15), top = _mm_set1_epi8(0x30);
    __m128i first = _mm_unpacklo_epi64(_mm_slli_epi16(pairs, 4), _mm_slli_epi16(pairs, 2));
    __m128i second = _mm_unpacklo_epi64(pairs, _mm_srli_epi16(pairs, 2));
    __m128i lo = _mm_or_si128(_mm_and_si128(q, low), _mm_and_si128(first, top));
    __m128i hi = _mm_and_si128(_mm_srli_epi16(q, 4), low);
    scale16(lo, d, m, out);
    scale16(_mm_or_si128(hi, _mm_and_si128(second, top)), d, m, out + 16);
}

static void dequant_q6_a(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q6_A_BYTES) {
        __m256 d, m;
        affine_scales(p, 1.0f / 2, &d, &m);
        __m128i pairs = _mm_loadl_epi64((const __m128i *)(const void *)(p + 18));
        expand_six(load16(p + 2), pairs, d, m, out + i);
    }
}

static void dequant_p6_a(const void *row, size_t lane, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q6_A_BYTES) {
        __m256 d, m;
        int64_t pairs;
        affine_scales(p + 2 * lane, 1.0f / 2, &d, &m);
        memcpy(&pairs, p + 144 + 4 * lane, 4);
        memcpy((char *)&pairs + 4, p + 176 + 4 * lane, 4);
        expand_six(lane16(p + 16 + 4 * lane), _mm_cvtsi64_si128(pairs), d, m, out + i);
    }
}

/* ---- activations ------------------------------------------------------------------------------
 */

SHOAL_INLINE float max_lane(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

SHOAL_INLINE __m256i to_codes(__m256 x, __m256 scale)
{
    const __m256 top = _mm256_set1_ps(127.0f);
    __m256 v = _mm256_max_ps(_mm256_mul_ps(x, scale), _mm256_set1_ps(-127.0f));
    return _mm256_cvtps_epi32(_mm256_min_ps(v, top));
}

/* Sum of 32 signed bytes. */
SHOAL_INLINE int sum_bytes(__m256i q)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

SHOAL_INLINE void pack_block(const float *x, int8_t *q, float ds[2])
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 v[4];
    __m256 peaks = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        peaks = _mm256_max_ps(peaks, _mm256_and_ps(v[i], magnitude));
    }
    float peak = max_lane(peaks);
    __m256 scale = _mm256_set1_ps(peak > SHOAL_ACT_PEAK_MIN ? 127.0f / peak : 0.0f);
    /* packs work within 128-bit halves; the permute puts the dwords back in order. */
    __m256i ab = _mm256_packs_epi32(to_codes(v[0], scale), to_codes(v[1], scale));
    __m256i cd = _mm256_packs_epi32(to_codes(v[2], scale), to_codes(v[3], scale));
    __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd),
                                                _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)q, codes);
    ds[0] = peak > SHOAL_ACT_PEAK_MIN ? peak / 127.0f : 0.0f;
    ds[1] = ds[0] * (float)sum_bytes(codes);
}

static void act_pack(const float *x, size_t n, size_t N, void *tile)
{
    int8_t *block = tile;
    for (size_t b = 0; b < N / SHOAL_QBLOCK; b++, block += n * SHOAL_ACT_BLOCK_BYTES) {
        int8_t *scales = block + n * SHOAL_QBLOCK;
        for (size_t t = 0; t < n; t++) {
            float ds[2];
            pack_block(x + t * N + b * SHOAL_QBLOCK, block + t * SHOAL_QBLOCK, ds);
            memcpy(scales + t * sizeof ds, ds, sizeof ds);
        }
    }
}

void shoal_quant_init_avx2(shoal_table *t)
{
    t->dequant[SHOAL_TYPE_F16] = dequant_f16;
    t->dequant[SHOAL_TYPE_Q4_0] = dequant_q4_0;
    t->dequant[SHOAL_TYPE_Q4_1] = dequant_q4_1;
    t->dequant[SHOAL_TYPE_Q8_0] = dequant_q8_0;
    t->dequant[SHOAL_TYPE_P4_0] = dequant_p4_0;
    t->dequant[SHOAL_TYPE_P4_1] = dequant_p4_1;
    t->dequant[SHOAL_TYPE_P8_0] = dequant_p8_0;
    t->dequant[SHOAL_TYPE_Q4_A] = dequant_q4_a;
    t->dequant[SHOAL_TYPE_Q6_A] = dequant_q6_a;
    t->dequant[SHOAL_TYPE_P4_A] = dequant_p4_a;
    t->dequant[SHOAL_TYPE_P6_A] = dequant_p6_a;
    t->act_pack = act_pack;
}
