/* residency.h - runs a model in less memory than its file: weights are read when they are needed.
 *
 * The weights are cut into parts in the order in which a token uses them: the layers, then slices
 * of the head. A budget says how many bytes of them may be in memory at once. As many parts as fit
 * stay there (spread evenly over the order, so that reading the others always has computing to hide
 * behind); the others go through a window: a thread reads ahead, and what was used is dropped. The
 * weights keep their addresses in the mapping, so users of shoal_mat see no difference, and results
 * have the same bits.
 *
 * Users say need before they touch a part and done after; in between, nothing else of the weights
 * is in memory for sure, but everything still reads right (slower, and outside of the budget).
 *
 * Layer: lora/model. Threads: one user of need and done at a time; open and close while there is
 * none.
 */
#ifndef SHOAL_LORA_MODEL_RESIDENCY_H
#define SHOAL_LORA_MODEL_RESIDENCY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_residency shoal_residency;

/* The smallest budget that works for this model: two of its largest parts. */
size_t shoal_residency_least(const shoal_model *m);
/* The budget from which on nothing is ever read twice. */
size_t shoal_residency_most(const shoal_model *m);

/* From now on at most `budget` bytes of m's weights are in memory; m must have no user meanwhile,
 * and have been opened in small pages (ARG). A second call replaces the budget. TOO_LARGE with a
 * hint when it is below the least. */
SHOAL_MUST_USE shoal_status shoal_residency_open(shoal_model *m, size_t budget, shoal_error *err);

/* The same for the layers alone: the budget is theirs, the head may be in memory besides. For
 * training, which uses the head many times for each use of a layer. */
SHOAL_MUST_USE shoal_status shoal_residency_open_layers(shoal_model *m, size_t budget,
                                                        shoal_error *err);
size_t shoal_residency_least_layers(const shoal_model *m);
size_t shoal_residency_most_layers(const shoal_model *m);

/* Ends it: the whole file may be in memory again. shoal_model_close does so too. */
void shoal_residency_close(shoal_model *m);

/* Parts 0 .. n_layer - 1 are the layers. Waits until the part is in memory; starts reading what
 * follows. Nothing happens in a model without a budget. */
void shoal_residency_need(const shoal_model *m, size_t part);
void shoal_residency_done(const shoal_model *m, size_t part);

/* From now on only parts from `first` on are read ahead; those below still come when needed. For
 * training that has no more use for lower layers. */
void shoal_residency_use_from(const shoal_model *m, size_t first);

/* The head comes in slices: 1, the whole, without a budget or with one of layers alone. Slice i as
 * a view; its first row. It is the part n_layer + i. */
size_t shoal_residency_head_slices(const shoal_model *m);
shoal_mat shoal_residency_head_slice(const shoal_model *m, size_t i, size_t *first_row);

/* After bytes outside of any part were read, such as a row of the embedding. */
void shoal_residency_touched(const shoal_model *m, const void *p, size_t n);

typedef struct shoal_residency_stats {
    size_t n_parts, n_kept;    /* kept: always in memory */
    size_t kept_bytes, window; /* their bytes; bytes of the others at once */
    size_t peak_bytes;         /* most of all parts together so far */
    uint64_t needs, loads;     /* calls of need; parts read */
    uint64_t loaded_bytes;
} shoal_residency_stats;

/* All zero without a budget. */
shoal_residency_stats shoal_residency_get_stats(const shoal_model *m);

#ifdef __cplusplus
}
#endif
#endif
