/* keep.h - what a block's forward leaves for its backward, between the two.
 *
 * In exact mode it lies where it was written, in f32. Otherwise there is one input and one tape to
 * compute with; what is kept is put away in binary16, a power of two a row (shoal_halves_put), and
 * taken out again: half the memory, for a tenth of the error that 16-bit products make anyway.
 *
 * Which blocks keep a tape depends on memory, and must not show in the result. So backward reads
 * the rounded values of every block, also of one that was just recomputed or never put away; and
 * recomputing begins with the rounded input, since forward went on with that.
 *
 * Layer: lora/train, private. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_KEEP_H
#define SHOAL_LORA_TRAIN_KEEP_H

#include "lora/train/step.h"

/* The input of adapted block `layer`, complete at shoal_block_input. Rounds it. */
void shoal_keep_input(const shoal_step *s, size_t layer);

/* And back, for backward. */
const float *shoal_take_input(const shoal_step *s, size_t layer);

/* What the block's forward left in its tape, if it is to be kept. */
void shoal_keep_tape(const shoal_step *s, size_t layer);

/* The tape of the block for its backward: taken out, or recomputed from input x_in. */
shoal_tape *shoal_take_tape(const shoal_step *s, size_t layer);

#endif
