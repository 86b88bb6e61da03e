/* lower_cache.h - what the frozen layers below an adapter give, kept on disk across epochs.
 *
 * With adapters from layer L0 > 0 up the input of layer L0 is the same in every epoch. Its rows are
 * computed once, kept in a file, and read from then on; layers below L0 do not run for them, and
 * their weights are not touched.
 *
 * Results have the same bits with a cache (cold, warm, damaged, full) and without. Two things see
 * to that, whether there is a cache or not (lower.h): rows of a sample are computed in an order
 * that does not depend on what it was packed with, and in fast mode they are rounded as the cache
 * keeps them.
 *
 * The texts are told beforehand; of others, and of those the file has no room for, nothing is kept.
 *
 * Layer: lora/train. Threads: as the trainer's that uses it, one at a time.
 */
#ifndef SHOAL_LORA_TRAIN_LOWER_CACHE_H
#define SHOAL_LORA_TRAIN_LOWER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/model.h"
#include "lora/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Texts that the loss is taken of more than once. */
typedef struct shoal_lower_texts {
    const shoal_sample *samples; /* [n]; their ids must outlive the cache */
    size_t n;
} shoal_lower_texts;

typedef struct shoal_lower_options {
    size_t first_layer; /* L0 >= 1 */
    size_t max_tokens;  /* as the trainer's plan has it */
    uint64_t max_bytes; /* of the file */
    const shoal_lower_texts *texts;
    size_t n_texts;
} shoal_lower_options;

/* False when computing a row again is less work than reading it. */
bool shoal_lower_cache_pays(const shoal_model *m, size_t first_layer, bool exact);

/* Takes all memory the cache will ever need; no file yet. m and ex as the trainer's. */
SHOAL_MUST_USE shoal_status shoal_lower_cache_open(shoal_lower_cache **out, const shoal_model *m,
                                                   const shoal_exec *ex,
                                                   const shoal_lower_options *opts,
                                                   shoal_error *err);
void shoal_lower_cache_close(shoal_lower_cache *c);

/* Starts keeping rows in the file at `path` (mode 0600: rows tell the text they come from), and
 * reading those that are there already. A file of another model, layer, arithmetic or other texts
 * is removed. The file stays when the cache is closed. */
SHOAL_MUST_USE shoal_status shoal_lower_cache_attach(shoal_lower_cache *c, const char *path,
                                                     shoal_error *err);

typedef struct shoal_lower_stats {
    size_t layers;       /* that do not run for rows from the cache */
    uint32_t n_rows;     /* that the file has room for */
    uint32_t n_left_out; /* texts without room */
    uint64_t file_bytes; /* of the file when all rows are in it */
    uint32_t n_present;  /* rows in the file now */
    uint32_t n_damaged;  /* met so far, and computed again */
    bool foreign;        /* attach removed a file that was not of this run */
    bool full;           /* a write failed: no more rows are kept */
    uint64_t rows_read;  /* so far */
    uint64_t rows_computed;
} shoal_lower_stats;

shoal_lower_stats shoal_lower_cache_get_stats(const shoal_lower_cache *c);

#ifdef __cplusplus
}
#endif
#endif
