/* row_index.h - numbers for the rows of many texts: rows with the same tokens up to and including
 * their own have the same number.
 *
 * What a frozen layer gives for a row follows from these tokens alone, so a number names a value.
 * The texts are sorted; each shares its first rows with the one before it, which makes a tree whose
 * edges are runs of rows.
 *
 * Layer: lora/train, private. Threads: read by many, written by one.
 */
#ifndef SHOAL_LORA_TRAIN_ROW_INDEX_H
#define SHOAL_LORA_TRAIN_ROW_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#define SHOAL_ROW_NONE UINT32_MAX /* the number of a row that has none */

typedef struct shoal_row_text {
    const int32_t *ids; /* [n], borrowed */
    uint32_t n;         /* rows */
    uint32_t shared;    /* the first of them that are also rows of text `parent` */
    uint32_t parent;
    uint32_t first; /* number of row `shared`; its other own rows follow */
} shoal_row_text;

typedef struct shoal_row_index {
    shoal_row_text *texts; /* [n], owned, in dictionary order */
    size_t n;
    uint32_t n_rows; /* numbers in use: 0 .. n_rows - 1 */
    uint32_t n_left_out;
} shoal_row_index;

/* Numbers the rows of texts [n], whose ids and n are set; they are owned from now on, also on
 * failure. When more than max_rows numbers were needed, whole texts from some place in the order on
 * have none. */
void shoal_row_index_build(shoal_row_index *x, shoal_row_text *texts, size_t n, uint32_t max_rows);
void shoal_row_index_clear(shoal_row_index *x);

/* The numbers of the rows of own [n_own] that follow head [n_head] in some text; SHOAL_ROW_NONE for
 * all of them when no text with numbers begins so. */
void shoal_row_index_find(const shoal_row_index *x, const int32_t *head, size_t n_head,
                          const int32_t *own, size_t n_own, uint32_t *numbers);

#endif
