/* trained.h - which parameters have a gradient, and where it lies.
 *
 * All of them, in the adapter's own order. Or B alone (LoRA-FA, Zhang et al. 2023): A stays as it
 * was drawn, and gradient and optimiser state hold the B of all pairs in order, each beginning at a
 * multiple of SHOAL_MOMENT_BLOCK.
 *
 * Layer: lora/train, private. Threads: pure functions.
 */
#ifndef SHOAL_LORA_TRAIN_TRAINED_H
#define SHOAL_LORA_TRAIN_TRAINED_H

#include <stdbool.h>
#include <stddef.h>

#include "lora/train/adapter.h"

/* Length of the gradient. */
size_t shoal_trained_count(const shoal_adapter *a, bool freeze_a);

/* Where in it dB of an adapted pair begins. */
size_t shoal_trained_b(const shoal_adapter *a, bool freeze_a, size_t layer, shoal_proj p);

/* Values in B of a pair. */
size_t shoal_trained_b_size(const shoal_adapter *a, size_t layer, shoal_proj p);

#endif
