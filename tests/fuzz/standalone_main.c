/* standalone_main.c - runs a fuzz target without a fuzzer: over files, and over changed copies.
 *
 *     fuzz_NAME_standalone [--mutate N] FILE...
 *
 * Each file is given to the target as it is, then N times with seeded changes: bits flipped, bytes
 * replaced by interesting ones, pieces cut out, doubled or cut off. Deterministic.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 1 << 26, MAX_CHANGES = 6 };

/* Where changes are worth most: half of them fall into the first 4 KiB, where headers are. */
static size_t pick_place(shoal_rng *rng, size_t n)
{
    size_t near = n < 4096 ? n : 4096;
    return (size_t)shoal_rng_below(rng, shoal_rng_below(rng, 2) == 0 ? near : n);
}

/* One change in place; the new length. */
static size_t change(shoal_rng *rng, uint8_t *data, size_t n)
{
    static const uint8_t ODD[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x09, 0x08};
    size_t at = pick_place(rng, n);
    size_t len = 1 + (size_t)shoal_rng_below(rng, 16);
    len = len < n - at ? len : n - at;
    switch (shoal_rng_below(rng, 5)) {
    case 0: data[at] ^= (uint8_t)(1u << shoal_rng_below(rng, 8)); return n;
    case 1: data[at] = ODD[shoal_rng_below(rng, sizeof ODD)]; return n;
    case 2: /* a whole field of one byte */
        memset(data + at, ODD[shoal_rng_below(rng, sizeof ODD)], len);
        return n;
    case 3: /* cut out */ memmove(data + at, data + at + len, n - at - len); return n - len;
    default: /* cut off */ return shoal_rng_below(rng, 8) == 0 ? at : n;
    }
}

static void run_changed(const shoal_buf *file, unsigned long runs)
{
    uint8_t *copy = shoal_alloc(file->len);
    for (unsigned long i = 0; copy != NULL && file->len > 0 && i < runs; i++) {
        shoal_rng rng = shoal_rng_init(i);
        size_t n = file->len;
        memcpy(copy, file->data, n);
        size_t changes = 1 + (size_t)shoal_rng_below(&rng, MAX_CHANGES);
        for (size_t k = 0; k < changes && n > 0; k++) {
            n = change(&rng, copy, n);
        }
        (void)LLVMFuzzerTestOneInput(copy, n);
    }
    shoal_free(copy);
}

int main(int argc, char **argv)
{
    uint64_t runs = 0;
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--mutate") == 0 && shoal_parse_u64(argv[2], &runs)) {
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        shoal_buf file;
        shoal_error err = {0};
        if (shoal_file_read(argv[i], MAX_INPUT, &file, &err) != SHOAL_OK) {
            (void)fprintf(stderr, "error: %s\n", err.msg);
            return 1;
        }
        (void)LLVMFuzzerTestOneInput(file.data, file.len);
        run_changed(&file, (unsigned long)runs);
        shoal_buf_clear(&file);
    }
    (void)fprintf(stderr, "%d files, %llu changed copies each\n", argc - first,
                  (unsigned long long)runs);
    return argc > first ? 0 : 2;
}
