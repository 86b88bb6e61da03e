/* fuzz_delta.c - any bytes as a delta of a file of 4096 bytes; once as they are, once with a head
 * that names the file, which chance would not find. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_BYTES = 4096 };

static void try(const uint8_t *from, const uint8_t *delta, size_t n)
{
    shoal_buf out = shoal_buf_init(FILE_BYTES);
    shoal_status st = shoal_delta_apply(from, FILE_BYTES, delta, n, &out, NULL);
    if (st == SHOAL_OK ? out.len != FILE_BYTES : out.len != 0) abort();
    shoal_buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t from[FILE_BYTES];
    uint8_t hash[32];
    try(from, data, size);
    if (size < SHOAL_DELTA_HEAD_BYTES) return 0;
    uint8_t *copy = shoal_alloc(size);
    if (copy == NULL || shoal_sha256(from, sizeof from, hash, NULL) != SHOAL_OK) return 0;
    memcpy(copy, data, size);
    memcpy(copy, "SHDL\1", 5);
    memset(copy + 6, 0, 2);
    copy[5] &= 1;
    static const uint8_t file_bytes[4] = {0, FILE_BYTES >> 8, 0, 0};
    memcpy(copy + 8, file_bytes, 4);
    memcpy(copy + 12, hash, 32);
    size_t packed = size - SHOAL_DELTA_HEAD_BYTES;
    for (size_t k = 0; k < 4; k++) {
        copy[88 + k] = (uint8_t)(packed >> (8 * k));
        copy[92 + k] = 0;
    }
    try(from, copy, size);
    shoal_free(copy);
    return 0;
}
