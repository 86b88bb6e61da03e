/* dot_q8.c - block-quantised weights times 8-bit activations, in portable C.
 *
 * Each weight block is unpacked once to int8 codes and used for all rows of the tile, so
 *   <w, x> = sum over blocks of  d_w d_x sum(code * q)  +  m d_x sum(q)
 * with m the minimum of Q4_1, -8 d_w for Q4_0 and 0 for Q8_0. The inner sum is exact.
 */
#include <string.h>

#include "kernels/matmul.h"
#include "kernels/table.h"

typedef struct weight_block {
    int8_t code[SHOAL_QBLOCK];
    float d, m;
} weight_block;

typedef void unpack_fn(const uint8_t *p, weight_block *w);

static void unpack_nibbles(const uint8_t *p, int8_t *code)
{
    for (size_t j = 0; j < 16; j++) {
        code[j] = (int8_t)(p[j] & 15);
        code[16 + j] = (int8_t)(p[j] >> 4);
    }
}

static void unpack_q4_0(const uint8_t *p, weight_block *w)
{
    w->d = shoal_load_f16(p);
    w->m = -8.0f * w->d;
    unpack_nibbles(p + 2, w->code);
}

static void unpack_q4_1(const uint8_t *p, weight_block *w)
{
    w->d = shoal_load_f16(p);
    w->m = shoal_load_f16(p + 2);
    unpack_nibbles(p + 4, w->code);
}

static void unpack_q8_0(const uint8_t *p, weight_block *w)
{
    w->d = shoal_load_f16(p);
    w->m = 0.0f;
    memcpy(w->code, p + 2, SHOAL_QBLOCK);
}

static int32_t dot_block(const int8_t *a, const int8_t *b)
{
    int32_t sum = 0;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        sum += a[j] * b[j];
    }
    return sum;
}

/* acc[t] += the block's part of the product, for the n rows of one activation block. */
static void add_block(const weight_block *w, const int8_t *block, size_t n, float *acc)
{
    const int8_t *scales = block + n * SHOAL_QBLOCK;
    for (size_t t = 0; t < n; t++) {
        float ds[2];
        memcpy(ds, scales + t * sizeof ds, sizeof ds);
        int32_t dot = dot_block(w->code, block + t * SHOAL_QBLOCK);
        acc[t] += w->d * ds[0] * (float)dot;
        acc[t] += w->m * ds[1];
    }
}

static void dot_rows(unpack_fn *unpack, size_t block_bytes, const void *w, size_t row_bytes,
                     size_t rows, size_t blocks, const void *tile, size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *p = (const uint8_t *)w + r * row_bytes;
        const int8_t *x = tile;
        float acc[SHOAL_ACT_TILE] = {0};
        for (size_t b = 0; b < blocks; b++, p += block_bytes, x += n * SHOAL_ACT_BLOCK_BYTES) {
            weight_block wb;
            unpack(p, &wb);
            add_block(&wb, x, n, acc);
        }
        for (size_t t = 0; t < n; t++) {
            y[t * ldy + r] = acc[t];
        }
    }
}

static void dot_q4_0(const void *w, size_t row_bytes, size_t rows, size_t blocks, const void *tile,
                     size_t n, float *y, size_t ldy)
{
    dot_rows(unpack_q4_0, SHOAL_Q4_0_BYTES, w, row_bytes, rows, blocks, tile, n, y, ldy);
}

static void dot_q4_1(const void *w, size_t row_bytes, size_t rows, size_t blocks, const void *tile,
                     size_t n, float *y, size_t ldy)
{
    dot_rows(unpack_q4_1, SHOAL_Q4_1_BYTES, w, row_bytes, rows, blocks, tile, n, y, ldy);
}

static void dot_q8_0(const void *w, size_t row_bytes, size_t rows, size_t blocks, const void *tile,
                     size_t n, float *y, size_t ldy)
{
    dot_rows(unpack_q8_0, SHOAL_Q8_0_BYTES, w, row_bytes, rows, blocks, tile, n, y, ldy);
}

void shoal_dot_init_c(shoal_table *t)
{
    t->dot_q8[SHOAL_TYPE_Q4_0] = dot_q4_0;
    t->dot_q8[SHOAL_TYPE_Q4_1] = dot_q4_1;
    t->dot_q8[SHOAL_TYPE_Q8_0] = dot_q8_0;
}
