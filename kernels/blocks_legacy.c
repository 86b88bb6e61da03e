/* blocks_legacy.c - unpackers of the formats with 32 weights a block. */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

const int8_t shoal_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

/* A block with one scale and, when `min` is 1, a minimum -m. */
static void set_scales(shoal_wblock *w, float d, float m, int min)
{
    w->d = d;
    w->m = m;
    for (size_t h = 0; h < 2; h++) {
        w->scale[h] = 1;
        w->min[h] = min;
    }
}

static void nibbles(const uint8_t *p, int offset, int8_t *code)
{
    for (size_t j = 0; j < 16; j++) {
        code[j] = (int8_t)((p[j] & 15) - offset);
        code[16 + j] = (int8_t)((p[j] >> 4) - offset);
    }
}

/* Nibbles with their fifth bits: bit i of the word at `high` belongs to weight i. */
static void five_bits(const uint8_t *high, const uint8_t *p, int offset, int8_t *code)
{
    for (size_t j = 0; j < 16; j++) {
        int lo = (high[j / 8] >> j % 8 & 1) << 4;
        int hi = (high[2 + j / 8] >> j % 8 & 1) << 4;
        code[j] = (int8_t)((p[j] & 15) + lo - offset);
        code[16 + j] = (int8_t)((p[j] >> 4) + hi - offset);
    }
}

void shoal_unpack_q4_0(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), 0.0f, 0);
    nibbles(p + 2, 8, w->code);
}

void shoal_unpack_q4_1(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), -shoal_load_f16(p + 2), 1);
    nibbles(p + 4, 0, w->code);
}

void shoal_unpack_q5_0(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), 0.0f, 0);
    five_bits(p + 2, p + 6, 16, w->code);
}

void shoal_unpack_q5_1(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), -shoal_load_f16(p + 2), 1);
    five_bits(p + 4, p + 8, 0, w->code);
}

void shoal_unpack_q8_0(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), 0.0f, 0);
    memcpy(w->code, p + 2, SHOAL_QBLOCK);
}

void shoal_unpack_iq4_nl(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_scales(w, shoal_load_f16(p), 0.0f, 0);
    for (size_t j = 0; j < 16; j++) {
        w->code[j] = shoal_iq4_levels[p[2 + j] & 15];
        w->code[16 + j] = shoal_iq4_levels[p[2 + j] >> 4];
    }
}
