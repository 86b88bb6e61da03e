/* test_vec16.c - the operations of vec16.h against scalar definitions, emulated and, in a second
 * program for processors that have them, the instructions themselves.
 *
 * What each instruction does is taken from Intel's "64 and IA-32 Architectures Software Developer's
 * Manual", volume 2 (VPDPBUSD, VPDPWSSD, VPABSB, VPMOVDW, VPERM..., VSHUFI32x4, VPUNPCK..., VPROLV,
 * VCVTPH2PS, VMAXPS), and written out lane by lane here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/rng.h"
#include "kernels/quant.h"
#include "kernels/x86/vec16.h"

enum { N = 16 };

typedef union lanes {
    int32_t i[N];
    uint32_t u[N];
    float f[N];
    uint8_t byte[4 * N];
    int8_t code[4 * N];
    int16_t half[2 * N];
} lanes;

static lanes random_lanes(shoal_rng *rng)
{
    lanes v;
    for (size_t i = 0; i < N; i++) {
        v.u[i] = (uint32_t)shoal_rng_u64(rng);
    }
    return v;
}

static lanes random_floats(shoal_rng *rng)
{
    lanes v;
    for (size_t i = 0; i < N; i++) {
        v.f[i] = (float)(200 * shoal_rng_double(rng) - 100);
    }
    return v;
}

static void expect_vi(vi got, const lanes *want)
{
    lanes out;
    vi_store(&out, got);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(out.u[i], want->u[i]);
    }
}

static void expect_vf(vf got, const lanes *want)
{
    lanes out;
    vf_store(out.f, got);
    assert_memory_equal(&out, want, sizeof out);
}

/* VPDPBUSD: DWORD += ZERO_EXTEND(u.byte) * SIGN_EXTEND(s.byte), four of them, no saturation. */
static lanes dot_scalar(const lanes *acc, const lanes *u, const lanes *s)
{
    lanes r = *acc;
    for (size_t i = 0; i < 4 * N; i++) {
        r.u[i / 4] += (uint32_t)((int32_t)u->byte[i] * (int32_t)s->code[i]);
    }
    return r;
}

static void dot_is_vpdpbusd(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(1);
    for (int round = 0; round < 20000; round++) {
        lanes acc = random_lanes(&rng), u = random_lanes(&rng), s = random_lanes(&rng);
        for (size_t i = 0; round < 1000 && i < 4 * N; i++) { /* the ends of the ranges */
            u.byte[i] = (uint8_t)(u.byte[i] < 128 ? 0 : 255);
            s.code[i] = (int8_t)(s.code[i] < 0 ? -128 : 127);
        }
        lanes want = dot_scalar(&acc, &u, &s);
        expect_vi(vi_dot(vi_load(&acc), vi_load(&u), vi_load(&s)), &want);
    }
}

/* All bytes alike: the case in which vpmaddubsw would saturate. */
static void dot_does_not_saturate(void **state)
{
    (void)state;
    static const int extremes[] = {0, 1, 127, 128, 255};
    for (size_t i = 0; i < 25; i++) {
        lanes acc = {0}, u, s;
        memset(&u, extremes[i / 5], sizeof u);
        memset(&s, extremes[i % 5], sizeof s);
        lanes want = dot_scalar(&acc, &u, &s);
        assert_int_equal(want.i[3], 4 * extremes[i / 5] * (int8_t)extremes[i % 5]);
        expect_vi(vi_dot(vi_zero(), vi_load(&u), vi_load(&s)), &want);
    }
}

/* VPDPWSSD: DWORD += SIGN_EXTEND(a.word) * SIGN_EXTEND(b.word), two of them, no saturation. */
static void dot_pairs_is_vpdpwssd(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(6);
    for (int round = 0; round < 20000; round++) {
        lanes acc = random_lanes(&rng), a = random_lanes(&rng), b = random_lanes(&rng);
        for (size_t i = 0; round < 1000 && i < 2 * N; i++) { /* the ends of the ranges */
            a.half[i] = a.half[i] < 0 ? INT16_MIN : INT16_MAX;
            b.half[i] = b.half[i] < 0 ? INT16_MIN : INT16_MAX;
        }
        lanes want = acc;
        for (size_t i = 0; i < 2 * N; i++) {
            want.u[i / 2] += (uint32_t)((int32_t)a.half[i] * (int32_t)b.half[i]);
        }
        expect_vi(vi_dot_pairs(vi_load(&acc), vi_load(&a), vi_load(&b)), &want);
    }
}

/* VPABSB, and a sum of products that takes its signs from either side. */
static void bytes_take_signs(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(9);
    for (int round = 0; round < 500; round++) {
        lanes a = random_lanes(&rng), x = random_lanes(&rng), want_abs, want = {0};
        a.code[round % 64] = round % 2 == 0 ? -128 : 0;
        for (size_t i = 0; i < 4 * N; i++) {
            x.code[i] = x.code[i] == -128 ? -127 : x.code[i];
            want_abs.byte[i] = (uint8_t)(a.code[i] < 0 ? -a.code[i] : a.code[i]);
            want.i[i / 4] += a.code[i] * x.code[i];
        }
        vi size = vi_abs_bytes(vi_load(&a));
        expect_vi(size, &want_abs);
        expect_vi(vi_dot(vi_zero(), size, vi_sign_bytes(vi_load(&x), vi_load(&a))), &want);
    }
}

static void halves_are_narrowed_in_order(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(7);
    for (int round = 0; round < 500; round++) {
        lanes a = random_lanes(&rng), b = random_lanes(&rng), both, pairs, memory = {0};
        for (size_t i = 0; i < N; i++) {
            a.i[i] = a.half[2 * i];
            b.i[i] = b.half[2 * i];
            both.half[i] = (int16_t)a.i[i];
            both.half[N + i] = (int16_t)b.i[i];
            pairs.half[2 * i] = (int16_t)a.i[i];
            pairs.half[2 * i + 1] = (int16_t)b.i[i];
        }
        expect_vi(vi_narrow(vi_load(&a), vi_load(&b)), &both);
        expect_vi(vi_pairs(vi_load(&a), vi_load(&b)), &pairs);
        vi_store_narrow(memory.half, vi_load(&a));
        assert_memory_equal(memory.half, both.half, N * sizeof(int16_t));
        assert_int_equal(memory.half[N], 0);
    }
}

static void floats_become_integers_and_peaks(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(8);
    for (int round = 0; round < 500; round++) {
        lanes a = random_floats(&rng), b = random_floats(&rng), c = random_floats(&rng), r[3];
        float most = -INFINITY;
        a.f[round % N] = (float)(round % 9) + 0.5f; /* ties go to even */
        b.f[3] = a.f[3];                            /* not above */
        b.f[5] = NAN;
        for (size_t i = 0; i < N; i++) {
            r[0].i[i] = (int32_t)lrintf(a.f[i]);
            r[1].f[i] = fabsf(a.f[i]);
            r[2].f[i] = a.f[i] > b.f[i] ? c.f[i] : 0.0f;
            most = fmaxf(most, a.f[i]);
        }
        vf x = vf_load(a.f);
        expect_vi(vf_round(x), &r[0]);
        expect_vf(vf_abs(x), &r[1]);
        expect_vf(vf_keep_above(x, vf_load(b.f), vf_load(c.f)), &r[2]);
        assert_true(vf_max_lane(x) == most);
    }
}

/* Counts of rotations are part of the instruction: those of ChaCha20 and the ends of their range.
 */
static vi rotated(vi x, int which)
{
    switch (which) {
    case 0: return vi_rotate(x, 1);
    case 1: return vi_rotate(x, 7);
    case 2: return vi_rotate(x, 8);
    case 3: return vi_rotate(x, 12);
    case 4: return vi_rotate(x, 16);
    default: return vi_rotate(x, 31);
    }
}

static void integers_work_lane_by_lane(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(2);
    for (int round = 0; round < 500; round++) {
        lanes a = random_lanes(&rng), b = random_lanes(&rng), r[8];
        static const int counts[6] = {1, 7, 8, 12, 16, 31};
        int n = counts[round % 6];
        for (size_t i = 0; i < N; i++) {
            r[0].u[i] = a.u[i] + b.u[i];
            r[1].u[i] = a.u[i] - b.u[i];
            r[2].u[i] = a.u[i] * b.u[i];
            r[3].u[i] = a.u[i] ^ b.u[i];
            r[4].i[i] = a.i[i] >> 16; /* arithmetic in gcc and clang */
            r[5].u[i] = a.u[i] << 23;
            r[6].u[i] = a.u[i] << n | a.u[i] >> (32 - n);
            r[7].f[i] = (float)a.i[i];
        }
        vi x = vi_load(&a), y = vi_load(&b);
        expect_vi(vi_add(x, y), &r[0]);
        expect_vi(vi_sub(x, y), &r[1]);
        expect_vi(vi_mul(x, y), &r[2]);
        expect_vi(vi_xor(x, y), &r[3]);
        expect_vi(vi_high16(x), &r[4]);
        expect_vi(vi_exponent(x), &r[5]);
        expect_vi(rotated(x, round % 6), &r[6]);
        expect_vf(vi_to_f32(x), &r[7]);
        expect_vi(vf_as_i32(vi_as_f32(x)), &a);
    }
}

/* out[16] = picks of a (0..15) and b (16..31). */
static lanes picked(const lanes *a, const lanes *b, const int pick[N])
{
    lanes r;
    for (size_t i = 0; i < N; i++) {
        r.u[i] = pick[i] < N ? a->u[pick[i]] : b->u[pick[i] - N];
    }
    return r;
}

static void shuffles_move_the_words_of_the_manual(void **state)
{
    (void)state;
    static const int low32[N] = {0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29};
    static const int high32[N] = {2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31};
    static const int low64[N] = {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
    static const int high64[N] = {2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31};
    /* VSHUFI32x4 with imm8 = 0x88 and 0xdd */
    static const int even128[N] = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
    static const int odd128[N] = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};
    static const int joined[N] = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23};
    shoal_rng rng = shoal_rng_init(3);
    lanes a = random_lanes(&rng), b = random_lanes(&rng), r;
    vi x = vi_load(&a), y = vi_load(&b);
    r = picked(&a, &b, low32), expect_vi(vi_low32(x, y), &r);
    r = picked(&a, &b, high32), expect_vi(vi_high32(x, y), &r);
    r = picked(&a, &b, low64), expect_vi(vi_low64(x, y), &r);
    r = picked(&a, &b, high64), expect_vi(vi_high64(x, y), &r);
    r = picked(&a, &b, even128), expect_vi(vi_even128(x, y), &r);
    r = picked(&a, &b, odd128), expect_vi(vi_odd128(x, y), &r);
    __m256i lo = _mm256_loadu_si256((const __m256i *)(const void *)&a);
    __m256i hi = _mm256_loadu_si256((const __m256i *)(const void *)&b);
    __m256 flo = _mm256_loadu_ps(a.f), fhi = _mm256_loadu_ps(b.f);
    r = picked(&a, &b, joined), expect_vi(vi_join(&lo, &hi), &r);
    expect_vf(vf_join(&flo, &fhi), &r);
    for (size_t i = 0; i < N; i++) {
        r.i[i] = (int32_t)i;
    }
    expect_vi(vi_lanes(), &r);
}

static void floats_work_lane_by_lane(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(4);
    for (int round = 0; round < 500; round++) {
        lanes a = random_floats(&rng), b = random_floats(&rng), c = random_floats(&rng), r[9];
        a.f[round % N] = NAN;
        for (size_t i = 0; i < N; i++) {
            r[0].f[i] = a.f[i] + b.f[i];
            r[1].f[i] = a.f[i] - b.f[i];
            r[2].f[i] = a.f[i] * b.f[i];
            r[3].f[i] = a.f[i] / b.f[i];
            r[4].f[i] = a.f[i] > b.f[i] ? a.f[i] : b.f[i]; /* VMAXPS: the second if unordered */
            r[5].f[i] = a.f[i] < b.f[i] ? a.f[i] : b.f[i];
            r[6].f[i] = fmaf(a.f[i], b.f[i], c.f[i]);
            r[7].f[i] = fmaf(-a.f[i], b.f[i], c.f[i]);
            r[8].f[i] = a.f[i] < b.f[i] ? 0.0f : c.f[i];
        }
        vf x = vf_load(a.f), y = vf_load(b.f), z = vf_load(c.f);
        expect_vf(vf_max(x, y), &r[4]);
        expect_vf(vf_min(x, y), &r[5]);
        expect_vf(vf_keep_from(x, y, z), &r[8]);
        lanes got[6];
        vf_store(got[0].f, vf_add(x, y));
        vf_store(got[1].f, vf_sub(x, y));
        vf_store(got[2].f, vf_mul(x, y));
        vf_store(got[3].f, vf_div(x, y));
        vf_store(got[4].f, vf_fma(x, y, z));
        vf_store(got[5].f, vf_fnma(x, y, z));
        for (size_t i = 0; i < 6 * N; i++) { /* the sign of a NaN is not fixed */
            float want = r[i / N < 4 ? i / N : i / N + 2].f[i % N], have = got[i / N].f[i % N];
            assert_true(memcmp(&want, &have, sizeof want) == 0 || (isnan(want) && isnan(have)));
        }
    }
}

static void parts_touch_their_lanes_only(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(5);
    for (size_t n = 0; n <= 20; n++) {
        lanes a = random_floats(&rng), want = {0}, memory = random_floats(&rng);
        lanes after = memory;
        for (size_t i = 0; i < N && i < n; i++) {
            want.f[i] = a.f[i];
            after.f[i] = a.f[i];
        }
        expect_vf(vf_load_part(a.f, vm_first(n)), &want);
        vf_store_part(memory.f, vm_first(n), vf_load(a.f));
        assert_memory_equal(&memory, &after, sizeof after);
    }
}

static void halves_convert_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h += N) {
        uint16_t in[N];
        lanes out;
        for (uint32_t i = 0; i < N; i++) {
            in[i] = (uint16_t)(h + i);
        }
        vf_store(out.f, vf_load_f16(in));
        for (uint32_t i = 0; i < N; i++) {
            float want = shoal_f16_to_f32(in[i]);
            assert_true(memcmp(&want, &out.f[i], sizeof want) == 0 || isnan(want));
            assert_int_equal(isnan(want), isnan(out.f[i]));
        }
    }
}

static void constants_fill_all_lanes(void **state)
{
    (void)state;
    lanes r;
    for (size_t i = 0; i < N; i++) {
        r.f[i] = -2.5f;
    }
    expect_vf(vf_set1(-2.5f), &r);
    expect_vi(vi_set1(r.i[0]), &r);
    memset(&r, 0, sizeof r);
    expect_vf(vf_zero(), &r);
    expect_vi(vi_zero(), &r);
}

/* Nothing before the question may use vectors, hence the static array. */
int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_is_vpdpbusd),
        cmocka_unit_test(dot_does_not_saturate),
        cmocka_unit_test(dot_pairs_is_vpdpwssd),
        cmocka_unit_test(bytes_take_signs),
        cmocka_unit_test(halves_are_narrowed_in_order),
        cmocka_unit_test(floats_become_integers_and_peaks),
        cmocka_unit_test(integers_work_lane_by_lane),
        cmocka_unit_test(shuffles_move_the_words_of_the_manual),
        cmocka_unit_test(floats_work_lane_by_lane),
        cmocka_unit_test(parts_touch_their_lanes_only),
        cmocka_unit_test(halves_convert_exactly),
        cmocka_unit_test(constants_fill_all_lanes),
    };
#ifdef SHOAL_EMULATE_SIMD
    const uint32_t needed = SHOAL_CPU_AVX2;
#else
    const uint32_t needed = SHOAL_CPU_AVX512;
#endif
    if ((shoal_cpu_flags() & needed) == 0) {
        print_message("skipped: this processor has no %s\n",
                      needed == SHOAL_CPU_AVX2 ? "AVX2" : "AVX-512 with VNNI");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
