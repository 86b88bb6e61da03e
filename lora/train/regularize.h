/* regularize.h - what training alone adds at random: dropout of the adapters' inputs (as PEFT's
 * lora_dropout) and noise on embeddings (NEFTune, Jain et al. 2023, algorithm 1).
 *
 * Both follow from (seed, steps taken, the tokens of a text up to and including the row), and
 * dropout also from layer, projection and column; see pack.h for the rows' keys. Nothing is stored,
 * so recomputation, threads and resuming draw the same, and so do packing and shared beginnings: a
 * row draws what it would draw anywhere else in the step.
 *
 * Layer: lora/train, private. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_REGULARIZE_H
#define SHOAL_LORA_TRAIN_REGULARIZE_H

#include <stddef.h>

#include "kernels/noise.h"
#include "lora/train/step.h"

/* Dropout of what projection p of a layer reads, written to *place; NULL when there is none. */
const shoal_dropout *shoal_step_dropout(const shoal_step *s, size_t layer, shoal_proj p,
                                        shoal_dropout *place);

/* Adds noise to the embedding x [D] of row t: uniform within neftune / sqrt(L D), L the tokens of
 * the row's text. */
void shoal_step_embed_noise(const shoal_step *s, size_t t, float *x);

#endif
