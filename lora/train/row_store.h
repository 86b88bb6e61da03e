/* row_store.h - a file of numbered rows of floats that can all be made again.
 *
 * Every row lies at a place that follows from its number and carries a sum over itself, its number
 * and what the file is bound to. So nothing else tells which rows there are: a row is there when
 * its sum is right. A file that was cut short, half written when the process was killed, or changed
 * anywhere loses the rows it happened to and no others.
 *
 * Rows are kept in f32 (exact mode), or in f16 with a power of two a row, which is chosen so that
 * the largest value uses f16's upper end: residual streams outgrow plain f16 in some models. Who
 * computes a row must round it in the same way before using it; then it makes no difference whether
 * it was computed or read.
 *
 * Bytes, little-endian: "SHOALROW"  u32 version (1)  u32 bytes of a row  u64 binding  u64 n_rows
 *   u64 FNV-1a of everything before; from byte 64 on for each row i32 exponent (f16 only)
 *   values[D]  u64 sum.
 *
 * Layer: lora/train, private. Threads: one owner.
 */
#ifndef SHOAL_LORA_TRAIN_ROW_STORE_H
#define SHOAL_LORA_TRAIN_ROW_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

/* Rounds a row to what the f16 form keeps and returns its exponent. */
int32_t shoal_row_round(float *x, size_t D);

/* Bytes of a row in the file. */
size_t shoal_row_bytes(size_t D, bool f32);

/* What was at the path when a store was opened. */
typedef enum shoal_row_found {
    SHOAL_ROWS_NEW,    /* nothing */
    SHOAL_ROWS_OWN,    /* a file with the same binding: its rows are used */
    SHOAL_ROWS_FOREIGN /* anything else: removed */
} shoal_row_found;

typedef struct shoal_row_store {
    int fd; /* -1: closed */
    size_t D, row_bytes;
    bool f32;
    uint64_t binding;
    uint32_t n_rows;
    uint8_t *present;                  /* [n_rows / 8] a bit a row, owned */
    uint8_t *buffer;                   /* rows on their way, owned */
    uint32_t pending_first, n_pending; /* rows in the buffer that are not written yet */
    bool read_only;                    /* a write failed: what is there is read, nothing added */
    shoal_row_found found;
    uint32_t n_present, n_damaged; /* damaged: since the file was opened */
    uint64_t written_bytes;
} shoal_row_store;

/* Takes all memory it will ever need; no file yet. */
SHOAL_MUST_USE shoal_status shoal_row_store_open(shoal_row_store *s, size_t D, bool f32,
                                                 uint32_t n_rows, shoal_error *err);

/* Uses the file at `path`, made with mode 0600 when there is none or not one of this binding.
 * Checks every row that is there. */
SHOAL_MUST_USE shoal_status shoal_row_store_attach(shoal_row_store *s, const char *path,
                                                   uint64_t binding, shoal_error *err);
void shoal_row_store_close(shoal_row_store *s);

bool shoal_row_store_has(const shoal_row_store *s, uint32_t row);

/* Keeps a row (rounded, with the exponent from shoal_row_round) if it is not there yet. It is there
 * after the next flush. When writing fails the store reads on and writes no more. */
void shoal_row_store_put(shoal_row_store *s, uint32_t row, const float *x, int32_t exponent);
void shoal_row_store_flush(shoal_row_store *s);

/* Reads rows first .. first + n - 1, which the store has, into x [n, D]. False when one of them
 * turned out not to be there after all; it is then no longer said to be. */
bool shoal_row_store_get(shoal_row_store *s, uint32_t first, size_t n, float *x);

#endif
