/* blocks_packed.c - packed types: eight rows interleaved (layout: quant.h). */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

/* Bytes of scales in front of a plain block's codes. */
static size_t head_bytes(shoal_type packed)
{
    return packed == SHOAL_TYPE_P4_1 ? 4 : 2;
}

/* Collects the plain block of one lane from the group's block at p. */
static void plain_block(shoal_type packed, size_t bytes, const uint8_t *p, size_t lane,
                        uint8_t *out)
{
    size_t head = head_bytes(packed);
    for (size_t i = 0; i < head; i += 2) {
        memcpy(out + i, p + i * SHOAL_LANES + 2 * lane, 2);
    }
    const uint8_t *codes = p + head * SHOAL_LANES + 4 * lane;
    for (size_t i = head; i < bytes; i += 4, codes += 4 * SHOAL_LANES) {
        memcpy(out + i, codes, 4);
    }
}

void shoal_unpack_p4_0(const uint8_t *p, size_t lane, shoal_wblock *w)
{
    uint8_t plain[SHOAL_Q4_0_BYTES];
    plain_block(SHOAL_TYPE_P4_0, sizeof plain, p, lane, plain);
    shoal_unpack_q4_0(plain, 0, w);
}

void shoal_unpack_p4_1(const uint8_t *p, size_t lane, shoal_wblock *w)
{
    uint8_t plain[SHOAL_Q4_1_BYTES];
    plain_block(SHOAL_TYPE_P4_1, sizeof plain, p, lane, plain);
    shoal_unpack_q4_1(plain, 0, w);
}

void shoal_unpack_p8_0(const uint8_t *p, size_t lane, shoal_wblock *w)
{
    uint8_t plain[SHOAL_Q8_0_BYTES];
    plain_block(SHOAL_TYPE_P8_0, sizeof plain, p, lane, plain);
    shoal_unpack_q8_0(plain, 0, w);
}

void shoal_unpack_p4_a(const uint8_t *p, size_t lane, shoal_wblock *w)
{
    uint8_t plain[SHOAL_Q4_A_BYTES];
    plain_block(SHOAL_TYPE_P4_A, sizeof plain, p, lane, plain);
    shoal_unpack_q4_a(plain, 0, w);
}

void shoal_unpack_p6_a(const uint8_t *p, size_t lane, shoal_wblock *w)
{
    uint8_t plain[SHOAL_Q6_A_BYTES];
    plain_block(SHOAL_TYPE_P6_A, sizeof plain, p, lane, plain);
    shoal_unpack_q6_a(plain, 0, w);
}

static const shoal_type pairs[][2] = {
    {SHOAL_TYPE_Q4_0, SHOAL_TYPE_P4_0}, {SHOAL_TYPE_Q4_1, SHOAL_TYPE_P4_1},
    {SHOAL_TYPE_Q8_0, SHOAL_TYPE_P8_0}, {SHOAL_TYPE_Q4_A, SHOAL_TYPE_P4_A},
    {SHOAL_TYPE_Q6_A, SHOAL_TYPE_P6_A},
};
enum { N_PAIRS = sizeof pairs / sizeof pairs[0] };

shoal_type shoal_type_packed(shoal_type plain)
{
    for (size_t i = 0; i < N_PAIRS; i++) {
        if (pairs[i][0] == plain) return pairs[i][1];
    }
    return plain;
}

shoal_type shoal_type_plain(shoal_type packed)
{
    for (size_t i = 0; i < N_PAIRS; i++) {
        if (pairs[i][1] == packed) return pairs[i][0];
    }
    return packed;
}

void shoal_pack_group(shoal_type packed, const void *rows, size_t row_bytes, size_t n, void *out)
{
    size_t bytes = shoal_type_get((uint32_t)packed)->block_bytes, head = head_bytes(packed);
    uint8_t *to = out;
    for (size_t at = 0; at < n / SHOAL_QBLOCK * bytes; at += bytes, to += bytes * SHOAL_LANES) {
        for (size_t lane = 0; lane < SHOAL_LANES; lane++) {
            const uint8_t *from = (const uint8_t *)rows + lane * row_bytes + at;
            for (size_t i = 0; i < head; i += 2) {
                memcpy(to + i * SHOAL_LANES + 2 * lane, from + i, 2);
            }
            for (size_t i = head; i < bytes; i += 4) {
                memcpy(to + head * SHOAL_LANES + (i - head) * SHOAL_LANES + 4 * lane, from + i, 4);
            }
        }
    }
}

uint8_t shoal_mat_plain_byte(const shoal_mat *w, size_t i)
{
    const uint8_t *data = w->data;
    const shoal_type_info *info = shoal_type_get((uint32_t)w->type);
    if (info->group == 1) return data[i];
    size_t row = i / w->row_bytes, in_row = i % w->row_bytes;
    size_t lane = row % SHOAL_LANES, head = head_bytes(w->type);
    size_t at = in_row % info->block_bytes; /* in the plain block */
    size_t block = (row - lane) * w->row_bytes + (in_row - at) * SHOAL_LANES;
    if (at < head) return data[block + at / 2 * 2 * SHOAL_LANES + 2 * lane + at % 2];
    at -= head;
    return data[block + head * SHOAL_LANES + at / 4 * 4 * SHOAL_LANES + 4 * lane + at % 4];
}
