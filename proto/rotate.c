/* rotate.c - random signs, Hadamard transform, block by block. */
#include "proto/rotate.h"

#include <math.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

enum {
    FIT_MAX = 16,
    SIGN_WORDS = 32 /* read at a time; they hold the signs of the smallest block */
};

bool shoal_rotation_valid(uint32_t log2_block, size_t n)
{
    if (log2_block == 0) return true;
    return log2_block % 2 == 0 && log2_block >= SHOAL_ROTATION_MIN &&
           log2_block <= SHOAL_ROTATION_MAX && (size_t)1 << log2_block <= n;
}

uint32_t shoal_rotation_fit(size_t n)
{
    uint32_t b = FIT_MAX;
    while (b >= SHOAL_ROTATION_MIN && !shoal_rotation_valid(b, n)) {
        b -= 2;
    }
    return b >= SHOAL_ROTATION_MIN ? b : 0;
}

/* ---- one block ---- */

/* One rotation under way. */
typedef struct rotation {
    const shoal_exec *ex;
    uint32_t key[8];
    size_t size;   /* of a block */
    double factor; /* 1 / sqrt(size), exact */
    double *t;     /* [size] */
    uint8_t *x;    /* floats */
} rotation;

static float load(const uint8_t *x, size_t i)
{
    float v;
    memcpy(&v, x + i * sizeof v, sizeof v);
    return v;
}

static void store(uint8_t *x, size_t i, double value)
{
    float v = shoal_flush_subnormal((float)value);
    memcpy(x + i * sizeof v, &v, sizeof v);
}

/* t [size] with the block's random signs: those of block k are bits k * size and on of the stream,
 * the lowest bit of a word first. */
static bool apply_signs(const rotation *r, size_t block)
{
    for (size_t at = 0; at < r->size; at += 32 * SIGN_WORDS) {
        uint32_t bits[SIGN_WORDS] = {0};
        uint64_t word = ((uint64_t)block * r->size + at) / 32;
        if (!shoal_chacha_add(r->ex, r->key, word, bits, SIGN_WORDS, false)) return false;
        for (size_t i = 0; i < 32 * SIGN_WORDS; i++) {
            if ((bits[i / 32] >> (i % 32) & 1) != 0) r->t[at + i] = -r->t[at + i];
        }
    }
    return true;
}

/* t = H t, not scaled: (a, b) -> (a + b, a - b) at distances 1, 2, 4, ... */
static void transform(double *t, size_t size)
{
    for (size_t h = 1; h < size; h *= 2) {
        for (size_t base = 0; base < size; base += 2 * h) {
            double *restrict low = t + base;
            double *restrict high = t + base + h;
            for (size_t i = 0; i < h; i++) {
                double a = low[i];
                double b = high[i];
                low[i] = a + b;
                high[i] = a - b;
            }
        }
    }
}

static bool turn_block(const rotation *r, size_t block, size_t begin, bool back)
{
    for (size_t i = 0; i < r->size; i++) {
        r->t[i] = (double)load(r->x, begin + i);
    }
    if (!back && !apply_signs(r, block)) return false;
    transform(r->t, r->size);
    if (back && !apply_signs(r, block)) return false;
    for (size_t i = 0; i < r->size; i++) {
        store(r->x, begin + i, r->t[i] * r->factor);
    }
    return true;
}

/* ---- all blocks ---- */

static shoal_status turn(const shoal_exec *ex, uint32_t log2_block, const uint8_t key[32], void *x,
                         size_t n, bool back, shoal_error *err)
{
    rotation r = {.ex = ex, .size = (size_t)1 << log2_block, .x = x};
    if (log2_block == 0 || !shoal_rotation_valid(log2_block, n)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a rotation of 2^%u in %zu coordinates", log2_block,
                          n);
    }
    r.factor = ldexp(1.0, -(int)(log2_block / 2));
    shoal_cursor c = shoal_cursor_init(key, 32);
    for (size_t i = 0; i < 8; i++) {
        r.key[i] = shoal_cursor_u32(&c);
    }
    r.t = shoal_calloc(r.size, sizeof *r.t);
    if (r.t == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to rotate an update");
    size_t whole = n / r.size;
    size_t blocks = whole + (n % r.size != 0 ? 1 : 0);
    bool done = true;
    for (size_t i = 0; done && i < blocks; i++) {
        size_t k = back ? blocks - 1 - i : i;
        done = turn_block(&r, k, k < whole ? k * r.size : n - r.size, back);
    }
    shoal_wipe(r.t, r.size * sizeof *r.t);
    shoal_free(r.t);
    return done ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_INTERNAL, "no signs for a rotation");
}

shoal_status shoal_rotate(const shoal_exec *ex, uint32_t log2_block, const uint8_t key[32], void *x,
                          size_t n, shoal_error *err)
{
    return turn(ex, log2_block, key, x, n, false, err);
}

shoal_status shoal_rotate_back(const shoal_exec *ex, uint32_t log2_block, const uint8_t key[32],
                               void *x, size_t n, shoal_error *err)
{
    return turn(ex, log2_block, key, x, n, true, err);
}
