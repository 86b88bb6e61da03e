/* kernel_test.h - what tests of kernels share: levels, random arrays, guarded buffers.
 *
 * Failures are cmocka assertions.
 */
#ifndef SHOAL_TESTS_SUPPORT_KERNEL_TEST_H
#define SHOAL_TESTS_SUPPORT_KERNEL_TEST_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "tests/support/guarded.h"

/* Levels to run everything at: portable C and each one this machine has, lowest first, as masks.
 * The first call names on stderr those it has and those it lacks. SHOAL_TEST_LEVELS="avxvnni
 * avx512" in the environment restricts them. */
size_t kt_levels(void);
uint32_t kt_level(size_t i);

/* An exec of its own pool; 0 threads means no pool. Fails the test when a slot's self-check fails.
 */
shoal_exec kt_exec_open(uint32_t mask, unsigned threads);
void kt_exec_close(shoal_exec *ex);

/* n floats between guards, starting `skew` floats past a 64-byte border; NaN until written. */
typedef struct kt_buf {
    float *p;
    size_t n;
    guarded mem;
} kt_buf;

kt_buf kt_buf_open(size_t n, size_t skew);
/* Uniform in (-1, 1), the same for the same seed. */
kt_buf kt_buf_random(size_t n, size_t skew, uint64_t seed);
/* Fails the test when a guard byte changed; frees. */
void kt_buf_close(kt_buf *b);

void kt_fill(float *x, size_t n, uint64_t seed);

/* got[i] within bound of want[i]; NaN fails. */
void kt_close(const float *got, const double *want, size_t n, double bound);
void kt_same_bits(const float *a, const float *b, size_t n);

#endif
