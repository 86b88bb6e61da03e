/* checkpoint.h - a training run as bytes: parameters, moments, step, place in the data.
 *
 * Resuming from a checkpoint gives the same bits as never having stopped. The file is written by
 * the caller with shoal_file_write_atomic. Layout, little-endian:
 *   "SHOALCKP"  u32 version (2)  u64 base fingerprint  u64 FNV-1a of the adapter's manifest
 *   u64 FNV-1a of data and options  u64 optimiser step  u64 epoch  u64 next  u64 step
 *   u64 method  u64 n  u64 n_floats  u64 n_codes
 *   f32 params[n]  f32 floats[n_floats]  u8 codes[n_codes]  u64 FNV-1a of everything before
 * method tells how steps are taken (shoal_trainer_method_id); floats and codes are the optimiser's
 * state (optim.h).
 *
 * Layer: lora/train. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_CHECKPOINT_H
#define SHOAL_LORA_TRAIN_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/train/loop.h"
#include "lora/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A number that differs when samples or options differ: resuming with other data or another
 * schedule would quietly be another run. */
uint64_t shoal_train_run_id(const shoal_sample *samples, size_t n, const shoal_train_options *opts);

/* Bytes of a checkpoint of an adapter with n_params parameters under AdamW; others take less. 0 on
 * overflow. */
size_t shoal_checkpoint_bytes(size_t n_params);

SHOAL_MUST_USE shoal_status shoal_checkpoint_encode(shoal_trainer *tr, uint64_t run_id,
                                                    const shoal_train_cursor *cursor,
                                                    shoal_buf *out, shoal_error *err);

/* Restores the trainer (and its adapter) and *cursor. Everything is checked first: damaged bytes
 * are SHOAL_ERR_FORMAT, a checkpoint of another model, adapter or run SHOAL_ERR_ARG, and the
 * trainer is then as it was. */
SHOAL_MUST_USE shoal_status shoal_checkpoint_decode(shoal_trainer *tr, uint64_t run_id,
                                                    const void *data, size_t n,
                                                    shoal_train_cursor *cursor, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
