/* codec.c - clip, stochastic rounding, ring, packing. */
#include "proto/codec.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/secret.h"
#include "proto/limits.h"
#include "proto/rotate.h"

enum {
    CHUNK = 1024, /* words of rounding bits drawn at a time; a multiple of 16 */
    SCALE_MIN = -32,
    SCALE_MAX = 40
};

/* ---- the proof that a sum cannot wrap ---- */

/* L of Spec 5.6.4: what a coordinate is cut at before it is weighted. The factor is a power of
 * two. */
static double coordinate_limit(const shoal_codec *c)
{
    if (c->rotation == 0) return c->clip_norm;
    return c->clip_norm * ldexp(SHOAL_ROTATION_SLACK, -(int)(c->rotation / 2));
}

/* Largest magnitude of a coordinate of one client, rounding included; of the weight word too, since
 * W <= bound or the check below compares it separately. */
static double coordinate_bound(const shoal_codec *c)
{
    return (double)c->weight_max * coordinate_limit(c) * ldexp(1.0, c->scale_log2) + 1.0;
}

static bool sum_fits(const shoal_codec *c)
{
    double limit = ldexp(1.0, (int)c->ring_bits - 1);
    double n = (double)c->n_max;
    return n * coordinate_bound(c) < limit && n * (double)c->weight_max < limit;
}

static bool ranges_hold(const shoal_codec *c)
{
    return c->dim >= 1 && c->dim <= SHOAL_LIMIT_DIM && c->ring_bits >= SHOAL_LIMIT_RING_MIN &&
           c->ring_bits <= SHOAL_LIMIT_RING_MAX && c->scale_log2 >= SCALE_MIN &&
           c->scale_log2 <= SCALE_MAX && isfinite(c->clip_norm) && c->clip_norm > 0.0 &&
           c->weight_max >= 1 && c->n_max >= 1 && c->n_max <= SHOAL_LIMIT_COHORT_MAX &&
           shoal_rotation_valid(c->rotation, c->dim);
}

shoal_status shoal_codec_check(const shoal_codec *c, shoal_error *err)
{
    if (!ranges_hold(c)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a parameter of the number coding is out of range");
    }
    if (!sum_fits(c)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "a sum of %u clients could overflow a ring of %u bits",
                         c->n_max, c->ring_bits);
        shoal_hint(err, "lower the scale, the clip norm or the largest weight, or widen the ring");
        return SHOAL_ERR_ARG;
    }
    return SHOAL_OK;
}

shoal_status shoal_codec_fit_scale(shoal_codec *c, shoal_error *err)
{
    shoal_codec trial = *c;
    for (trial.scale_log2 = SCALE_MAX; trial.scale_log2 > SCALE_MIN; trial.scale_log2--) {
        if (ranges_hold(&trial) && sum_fits(&trial)) break;
    }
    SHOAL_TRY(shoal_codec_check(&trial, err));
    *c = trial;
    return SHOAL_OK;
}

size_t shoal_codec_words(const shoal_codec *c)
{
    return (size_t)c->dim + 1;
}

/* ---- encode ---- */

/* An update is a secret: nothing here branches on its values (tests/ct). */

/* Spec 5.6.4: what is not a number never leaves the device. */
static bool all_finite(const float *x, size_t n)
{
    const uint32_t exponent = 0x7f800000;
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & exponent) == exponent ? 1u : 0u;
    }
    SHOAL_PUBLIC(&bad, sizeof bad);
    return bad == 0;
}

/* floor(v) plus one with probability v - floor(v): unbiased. bits is uniform in [0, 2^32), |v| far
 * below 2^53. */
static uint32_t round_word(double v, uint32_t bits)
{
    int64_t below = (int64_t)v; /* towards zero, so one too many when v is negative and not whole */
    below -= v < (double)below ? 1 : 0;
    double fraction = v - (double)below;
    int64_t q = below + ((double)bits * 0x1p-32 < fraction ? 1 : 0);
    return (uint32_t)(uint64_t)q;
}

static void key_words(const uint8_t key[32], uint32_t words[8])
{
    for (size_t i = 0; i < 8; i++) {
        const uint8_t *p = key + 4 * i;
        words[i] =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
}

/* 1 up to C; above, a hair below C / norm, so that rounding of the factor and of the products
 * cannot lift the norm above C. The sign of C - norm is taken as a number, not compared. */
static double clip_factor(double norm, double c)
{
    double larger = c > norm ? c : norm; /* maxsd */
    double left = c - larger;
    uint64_t bits;
    memcpy(&bits, &left, sizeof bits);
    double above = (double)(int64_t)(bits >> 63);
    return c / larger * (1.0 - 0x1p-40 * above);
}

/* words [n], holding the bits of floats r: q = round(factor r), r cut so that |factor r| <= limit.
 */
static shoal_status round_all(const shoal_exec *ex, uint32_t *words, size_t n, double factor,
                              double limit, const uint8_t seed[32], size_t *cut, shoal_error *err)
{
    uint32_t key[8];
    uint32_t bits[CHUNK];
    bool drawn = true;
    key_words(seed, key);
    for (size_t at = 0; drawn && at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK;
        memset(bits, 0, sizeof bits);
        drawn = shoal_chacha_add(ex, key, at, bits, m, false);
        for (size_t i = 0; i < m; i++) {
            float r;
            memcpy(&r, &words[at + i], sizeof r);
            double v = (double)shoal_flush_subnormal(r) * factor;
            *cut += fabs(v) > limit ? 1 : 0;
            v = limit < v ? limit : v; /* minsd, maxsd: no branch */
            v = -limit > v ? -limit : v;
            words[at + i] = round_word(v, bits[i]);
        }
    }
    shoal_wipe(key, sizeof key);
    shoal_wipe(bits, sizeof bits);
    return drawn ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_INTERNAL, "no rounding bits");
}

/* words [n] = the bits of f x, each a float that is not subnormal. */
static void scale_into(const float *x, size_t n, double f, uint32_t *words)
{
    for (size_t i = 0; i < n; i++) {
        float v = shoal_flush_subnormal((float)((double)shoal_flush_subnormal(x[i]) * f));
        memcpy(&words[i], &v, sizeof v);
    }
}

static shoal_status encode_words(const shoal_exec *ex, const shoal_codec *c, const float *x,
                                 double clip, uint32_t weight, const shoal_codec_keys *keys,
                                 uint32_t *words, size_t *cut, shoal_error *err)
{
    double steps = (double)weight * ldexp(1.0, c->scale_log2); /* exact */
    double limit = steps * coordinate_limit(c);
    if (c->rotation == 0) {
        memcpy(words, x, c->dim * sizeof *x);
        return round_all(ex, words, c->dim, clip * steps, limit, keys->rounding, cut, err);
    }
    scale_into(x, c->dim, clip, words);
    SHOAL_TRY(shoal_rotate(ex, c->rotation, keys->rotation, words, c->dim, err));
    return round_all(ex, words, c->dim, steps, limit, keys->rounding, cut, err);
}

shoal_status shoal_codec_encode(const shoal_exec *ex, const shoal_codec *c, const float *x,
                                uint32_t weight, const shoal_codec_keys *keys, uint32_t *words,
                                shoal_codec_stats *stats, shoal_error *err)
{
    size_t n = c->dim;
    size_t cut = 0;
    SHOAL_TRY(shoal_codec_check(c, err));
    memset(words, 0, (n + 1) * sizeof *words);
    if (weight == 0 || weight > c->weight_max) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a weight of %u is not in 1..%u", weight,
                          c->weight_max);
    }
    if (!all_finite(x, n)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the update holds values that are not finite");
    }
    double norm = sqrt(shoal_sum_squares(ex, x, n)); /* in double: finite */
    double clip = clip_factor(norm, c->clip_norm);
    shoal_status st = encode_words(ex, c, x, clip, weight, keys, words, &cut, err);
    if (st != SHOAL_OK) {
        shoal_wipe(words, (n + 1) * sizeof *words);
        return st;
    }
    words[n] = weight;
    if (stats != NULL) {
        *stats = (shoal_codec_stats){.norm = norm, .clipped = norm > c->clip_norm, .cut = cut};
    }
    return SHOAL_OK;
}

/* ---- decode ---- */

static uint32_t ring_mask(uint32_t ring_bits)
{
    return ring_bits >= 32 ? UINT32_MAX : (1u << ring_bits) - 1u;
}

/* The representative in [-2^(R-1), 2^(R-1)). */
static int64_t lift(uint32_t word, uint32_t ring_bits)
{
    int64_t v = (int64_t)(word & ring_mask(ring_bits));
    int64_t half = (int64_t)1 << (ring_bits - 1);
    return v >= half ? v - 2 * half : v;
}

shoal_status shoal_codec_decode(const shoal_exec *ex, const shoal_codec *c,
                                const uint8_t rotation_key[32], const uint32_t *sum, float *mean,
                                uint64_t *weight_sum, shoal_error *err)
{
    SHOAL_TRY(shoal_codec_check(c, err));
    int64_t weight = lift(sum[c->dim], c->ring_bits);
    if (weight < 1 || weight > (int64_t)c->n_max * (int64_t)c->weight_max) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the sum carries an impossible weight");
    }
    double unit = 1.0 / (ldexp(1.0, c->scale_log2) * (double)weight);
    for (size_t i = 0; i < c->dim; i++) {
        mean[i] = (float)((double)lift(sum[i], c->ring_bits) * unit);
    }
    *weight_sum = (uint64_t)weight;
    if (c->rotation == 0) return SHOAL_OK;
    return shoal_rotate_back(ex, c->rotation, rotation_key, mean, c->dim, err);
}

/* ---- packing ---- */

size_t shoal_packed_bytes(size_t n, uint32_t ring_bits)
{
    return (n / 8) * ring_bits + (n % 8 * ring_bits + 7) / 8;
}

static void store_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

void shoal_pack(const uint32_t *words, size_t n, uint32_t ring_bits, uint8_t *out)
{
    uint64_t pending = 0; /* below 32 bits between words, so 32 + 32 fit */
    unsigned held = 0;
    uint32_t mask = ring_mask(ring_bits);
    for (size_t i = 0; i < n; i++) {
        pending |= (uint64_t)(words[i] & mask) << held;
        held += ring_bits;
        if (held < 32) continue;
        store_u32(out, (uint32_t)pending);
        out += 4;
        pending >>= 32;
        held -= 32;
    }
    for (unsigned bits = 0; bits < held; bits += 8) {
        *out++ = (uint8_t)(pending >> bits);
    }
}

static shoal_status check_packed(const uint8_t *packed, size_t bytes, size_t n, uint32_t ring_bits,
                                 shoal_error *err)
{
    if (ring_bits < 1 || ring_bits > 32 || bytes != shoal_packed_bytes(n, ring_bits)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a packed vector of %zu bytes, %zu expected",
                          bytes, shoal_packed_bytes(n, ring_bits));
    }
    unsigned spare = (unsigned)((8 - n % 8 * ring_bits % 8) % 8);
    if (spare > 0 && bytes > 0 && packed[bytes - 1] >> (8 - spare) != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a packed vector has bits after its end");
    }
    return SHOAL_OK;
}

shoal_status shoal_packed_add(const shoal_exec *ex, const uint8_t *packed, size_t bytes, size_t n,
                              uint32_t ring_bits, uint32_t *acc, shoal_error *err)
{
    SHOAL_TRY(check_packed(packed, bytes, n, ring_bits, err));
    shoal_ring_add(ex, packed, ring_bits, acc, n);
    return SHOAL_OK;
}
