/* checkpoint.h - a training run as a file: parameters, moments, step, place in the data.
 *
 * Resuming from a checkpoint gives the same bits as never having stopped. It is written and read in
 * small pieces, so that neither takes memory that grows with the adapter: a run that is stopped
 * under a tight bound stays within it. Layout, little-endian:
 *   "SHOALCKP"  u32 version (4)  u64 base fingerprint  u64 FNV-1a of the adapter's manifest
 *   u64 FNV-1a of data and options  u64 optimiser step  u64 epoch  u64 next  u64 step
 *   u64 measured  u64 best_step  u64 stale  f64 best_loss (loop.h)
 *   u64 method  u64 n  u64 n_floats  u64 n_codes  u64 n_notes
 *   f32 params[n]  f32 floats[n_floats]  u8 codes[n_codes]  u8 notes[n_notes]
 *   u64 FNV-1a of everything before
 * method tells how steps are taken (shoal_trainer_method_id); floats and codes are the optimiser's
 * state (optim.h); notes are the caller's and mean nothing here.
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

enum { SHOAL_CHECKPOINT_NOTES_MAX = 1 << 20 };

/* Replaces the file at `path` atomically and durably (kernels/base/file.h). `notes` may be NULL. */
SHOAL_MUST_USE shoal_status shoal_checkpoint_save(shoal_trainer *tr, uint64_t run_id,
                                                  const shoal_train_cursor *cursor,
                                                  const shoal_buf *notes, const char *path,
                                                  unsigned mode, shoal_error *err);

/* Restores the trainer (and its adapter) and *cursor, and appends the notes to *notes unless it is
 * NULL. Everything is checked first: damaged bytes are SHOAL_ERR_FORMAT, a version not known here
 * SHOAL_ERR_UNSUPPORTED, a checkpoint of another model, adapter or run SHOAL_ERR_ARG, and the
 * trainer is then as it was. Only when a file that was whole a moment ago cannot be read any more
 * is the trainer left with half of it. */
SHOAL_MUST_USE shoal_status shoal_checkpoint_load(shoal_trainer *tr, uint64_t run_id,
                                                  const char *path, shoal_train_cursor *cursor,
                                                  shoal_buf *notes, shoal_error *err);

/* The notes alone, before there is a trainer: appended to *notes. Checked as above, but for what
 * run it is. */
SHOAL_MUST_USE shoal_status shoal_checkpoint_notes(const char *path, shoal_buf *notes,
                                                   shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
