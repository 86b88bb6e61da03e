/* expand_avx2.c - expansion of BF16, 5-bit, IQ4_NL and K types, 32 weights at a time.
 *
 * Bit for bit what quant.c computes: w = (d * scale) * code - (m * min), each rounded once. The
 * codes' places in a block are those of blocks_legacy.c and blocks_k.c.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/x86/init.h"
#include "kernels/simd.h"

/* 32 weights: signed codes in order; w = d[h] * code - m[h] in half h. */
typedef struct part32 {
    __m256i code;
    float d[2], m[2];
} part32;

SHOAL_INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

SHOAL_INLINE float half_float(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

SHOAL_INLINE __m256i every8(int v)
{
    return _mm256_set1_epi8((char)v);
}

/* Bits `from` .. of every byte, of which `mask` are kept; mask << from fits a byte. */
SHOAL_INLINE __m256i bits(__m256i v, size_t from, int mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128((int)from)), every8(mask));
}

/* Low nibbles of 16 bytes, then high ones. */
SHOAL_INLINE __m256i nibbles(const uint8_t *p)
{
    __m128i q = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(q), _mm_srli_epi16(q, 4), 1);
    return _mm256_and_si256(both, every8(15));
}

/* 16 in byte i where bit i of the word at p is set. */
SHOAL_INLINE __m256i fifth_bits(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i one_bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int word;
    memcpy(&word, p, sizeof word);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(v, one_bit), one_bit);
    return _mm256_and_si256(set, every8(16));
}

SHOAL_INLINE void set_scales(part32 *w, float d, float m)
{
    w->d[0] = w->d[1] = d;
    w->m[0] = w->m[1] = m;
}

SHOAL_INLINE void take_q5_0(const uint8_t *p, size_t sub, part32 *w)
{
    (void)sub;
    set_scales(w, half_float(p), 0.0f);
    w->code = _mm256_sub_epi8(_mm256_or_si256(nibbles(p + 6), fifth_bits(p + 2)), every8(16));
}

SHOAL_INLINE void take_q5_1(const uint8_t *p, size_t sub, part32 *w)
{
    (void)sub;
    set_scales(w, half_float(p), -half_float(p + 2));
    w->code = _mm256_or_si256(nibbles(p + 8), fifth_bits(p + 4));
}

SHOAL_INLINE void take_iq4_nl(const uint8_t *p, size_t sub, part32 *w)
{
    (void)sub;
    __m128i levels = _mm_loadu_si128((const __m128i *)(const void *)shoal_iq4_levels);
    set_scales(w, half_float(p), 0.0f);
    w->code = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), nibbles(p + 2));
}

SHOAL_INLINE void take_q2_k(const uint8_t *p, size_t sub, part32 *w)
{
    float d = half_float(p + 80), m = half_float(p + 82);
    for (size_t h = 0; h < 2; h++) {
        w->d[h] = d * (float)(p[2 * sub + h] & 15);
        w->m[h] = m * (float)(p[2 * sub + h] >> 4);
    }
    w->code = bits(load32(p + 16 + sub / 4 * 32), sub % 4 * 2, 3);
}

SHOAL_INLINE void take_q3_k(const uint8_t *p, size_t sub, part32 *w)
{
    float d = half_float(p + 108);
    for (size_t h = 0; h < 2; h++) {
        w->d[h] = d * (float)shoal_q3_k_scale(p + 96, 2 * sub + h);
        w->m[h] = 0.0f;
    }
    __m256i low = bits(load32(p + 32 + sub / 4 * 32), sub % 4 * 2, 3);
    __m256i high = _mm256_slli_epi16(bits(load32(p), sub, 1), 2);
    w->code = _mm256_sub_epi8(_mm256_or_si256(low, high), every8(4));
}

/* Scales of Q4_K and Q5_K, which start alike. */
SHOAL_INLINE void take_k_scales(const uint8_t *p, size_t sub, part32 *w)
{
    int scale, min;
    shoal_k_scale_min(p + 4, sub, &scale, &min);
    set_scales(w, half_float(p) * (float)scale, half_float(p + 2) * (float)min);
}

SHOAL_INLINE void take_q4_k(const uint8_t *p, size_t sub, part32 *w)
{
    take_k_scales(p, sub, w);
    w->code = bits(load32(p + 16 + sub / 2 * 32), sub % 2 * 4, 15);
}

SHOAL_INLINE void take_q5_k(const uint8_t *p, size_t sub, part32 *w)
{
    take_k_scales(p, sub, w);
    __m256i low = bits(load32(p + 48 + sub / 2 * 32), sub % 2 * 4, 15);
    w->code = _mm256_or_si256(low, _mm256_slli_epi16(bits(load32(p + 16), sub, 1), 4));
}

SHOAL_INLINE void take_q6_k(const uint8_t *p, size_t sub, part32 *w)
{
    size_t half = sub / 4, quarter = sub % 4;
    float d = half_float(p + 208);
    for (size_t h = 0; h < 2; h++) {
        w->d[h] = d * (float)(int8_t)p[192 + 2 * sub + h];
        w->m[h] = 0.0f;
    }
    __m256i low = bits(load32(p + 64 * half + 32 * (quarter % 2)), quarter / 2 * 4, 15);
    __m256i high = bits(load32(p + 128 + 32 * half), 2 * quarter, 3);
    w->code = _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 4)), every8(32));
}

/* out [16] = codes times d - m. */
SHOAL_INLINE void expand16(__m128i code, float d, float m, float *out)
{
    const __m256 scale = _mm256_set1_ps(d), min = _mm256_set1_ps(m);
    __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(code));
    __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(code, code)));
    _mm256_storeu_ps(out, _mm256_sub_ps(_mm256_mul_ps(lo, scale), min));
    _mm256_storeu_ps(out + 8, _mm256_sub_ps(_mm256_mul_ps(hi, scale), min));
}

typedef void take_fn(const uint8_t *p, size_t sub, part32 *w);

SHOAL_INLINE void expand(take_fn *take, size_t subs, size_t block_bytes, const uint8_t *p,
                         size_t part, float *out, size_t n)
{
    for (size_t i = part; n > 0; i++, n -= SHOAL_QBLOCK, out += SHOAL_QBLOCK) {
        part32 w;
        take(p + i / subs * block_bytes, i % subs, &w);
        expand16(_mm256_castsi256_si128(w.code), w.d[0], w.m[0], out);
        expand16(_mm256_extracti128_si256(w.code, 1), w.d[1], w.m[1], out + 16);
    }
}

#define EXPAND(lower, UPPER, subs)                                                 \
    static void expand_##lower(const void *row, size_t part, float *out, size_t n) \
    {                                                                              \
        expand(take_##lower, subs, SHOAL_##UPPER##_BYTES, row, part, out, n);      \
    }

EXPAND(q5_0, Q5_0, 1)
EXPAND(q5_1, Q5_1, 1)
EXPAND(iq4_nl, IQ4_NL, 1)
EXPAND(q2_k, Q2_K, 8)
EXPAND(q3_k, Q3_K, 8)
EXPAND(q4_k, Q4_K, 8)
EXPAND(q5_k, Q5_K, 8)
EXPAND(q6_k, Q6_K, 8)

static void expand_bf16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i));
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16);
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
    }
    for (; i < n; i++) {
        uint32_t v = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;
        memcpy(out + i, &v, sizeof v);
    }
}

void shoal_expand_init_avx2(shoal_table *t)
{
    t->dequant[SHOAL_TYPE_BF16] = expand_bf16;
    t->dequant[SHOAL_TYPE_Q5_0] = expand_q5_0;
    t->dequant[SHOAL_TYPE_Q5_1] = expand_q5_1;
    t->dequant[SHOAL_TYPE_IQ4_NL] = expand_iq4_nl;
    t->dequant[SHOAL_TYPE_Q2_K] = expand_q2_k;
    t->dequant[SHOAL_TYPE_Q3_K] = expand_q3_k;
    t->dequant[SHOAL_TYPE_Q4_K] = expand_q4_k;
    t->dequant[SHOAL_TYPE_Q5_K] = expand_q5_k;
    t->dequant[SHOAL_TYPE_Q6_K] = expand_q6_k;
}
