/* chacha_avx512.c - ChaCha20 (RFC 8439), 16 blocks at once: vector w holds word w of 16 blocks.
 *
 * As chacha_avx2.c, with the rotate instruction and one 16 x 16 transpose.
 */
#include "kernels/base/mem.h"
#include "kernels/x86/init.h"
#include "kernels/x86/transpose16.h"
#include "kernels/x86/vec16.h"

enum { WORDS = 16, GROUP = WORDS * VEC_LANES, DOUBLE_ROUNDS = 10 };

SHOAL_INLINE void quarter_round(vi *a, vi *b, vi *c, vi *d)
{
    *a = vi_add(*a, *b);
    *d = vi_rotate(vi_xor(*d, *a), 16);
    *c = vi_add(*c, *d);
    *b = vi_rotate(vi_xor(*b, *c), 12);
    *a = vi_add(*a, *b);
    *d = vi_rotate(vi_xor(*d, *a), 8);
    *c = vi_add(*c, *d);
    *b = vi_rotate(vi_xor(*b, *c), 7);
}

SHOAL_INLINE void double_rounds(vi x[WORDS])
{
    SHOAL_UNROLL
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

/* acc [GROUP] += stream, or -= it. */
SHOAL_INLINE void add_group(const vi start[WORDS], bool subtract, uint32_t *acc)
{
    vi x[WORDS];
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = start[w];
    }
    double_rounds(x);
    SHOAL_UNROLL
    for (int w = 0; w < WORDS; w++) {
        x[w] = vi_add(x[w], start[w]);
    }
    vi_transpose(x); /* x[b]: the words of block b */
    SHOAL_UNROLL
    for (int b = 0; b < VEC_LANES; b++) {
        vi old = vi_load(acc + WORDS * b);
        vi_store(acc + WORDS * b, subtract ? vi_sub(old, x[b]) : vi_add(old, x[b]));
    }
}

static void chacha(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n, bool subtract)
{
    static const int32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    vi start[WORDS];
    for (int w = 0; w < WORDS; w++) {
        start[w] = vi_set1(w < 4 ? constants[w] : w < 12 ? (int32_t)key[w - 4] : 0);
    }
    start[12] = vi_add(vi_set1((int32_t)counter), vi_lanes());
    size_t at = 0;
    for (; at + GROUP <= n; at += GROUP) {
        add_group(start, subtract, acc + at);
        start[12] = vi_add(start[12], vi_set1(VEC_LANES));
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

void shoal_chacha_init_avx512(shoal_table *t)
{
    t->chacha = chacha;
}
