/* guarded.h - buffers that notice writes outside them, and random data for kernel tests.
 *
 * Threads: none.
 */
#ifndef SHOAL_TESTS_SUPPORT_GUARDED_H
#define SHOAL_TESTS_SUPPORT_GUARDED_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/rng.h"
#include "kernels/quant.h"

/* `bytes` bytes at p between two guards, filled with a pattern that is NaN as f32. */
typedef struct guarded {
    unsigned char *base;
    void *p;
    size_t bytes;
} guarded;

/* p is `offset` bytes past a 64-byte boundary. Fails the test when memory is out. */
guarded guarded_open(size_t bytes, size_t offset);
/* Both guards untouched. */
bool guarded_intact(const guarded *g);
void guarded_close(guarded *g);

/* `bytes` bytes that end where an inaccessible page begins: a read past them ends the program. */
typedef struct fenced {
    void *map;
    void *p;
    size_t map_bytes;
} fenced;

fenced fenced_open(size_t bytes);
void fenced_close(fenced *f);

/* n standard normal values times `sigma`. */
void fill_normal(shoal_rng *rng, float *x, size_t n, double sigma);

/* A row-major weight of `type` with random values into w (rows * row bytes). */
void fill_weights(shoal_rng *rng, shoal_type type, size_t rows, size_t cols, void *w);

#endif
