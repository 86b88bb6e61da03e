/* loop.h - the training loop: epochs, batches in seeded order, schedule, stop and resume.
 *
 * Used alike by `shoal train` and by a device's local training in a round. It knows no clock and no
 * files: what happens after a step (a line of progress, a checkpoint) is the callback's.
 *
 * Layer: lora/train. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_LOOP_H
#define SHOAL_LORA_TRAIN_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/train/schedule.h"
#include "lora/train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One measurement of the held-out loss. */
typedef struct shoal_train_cursor shoal_train_cursor;
typedef struct shoal_train_measure {
    uint64_t step; /* after so many steps */
    double loss;   /* mean NLL of the held-out targets */
    bool is_best;  /* the lowest so far */
    const shoal_train_cursor *cursor;
} shoal_train_measure;

/* Keeps what must be kept of the adapter as it is now. Anything but SHOAL_OK ends the run. */
typedef shoal_status shoal_train_measured(void *ctx, const shoal_train_measure *m,
                                          shoal_error *err);

/* Held-out text, measured on the way: without dropout and noise, and without an effect on the
 * steps, but that the run ends early when it has `patience`. (Prechelt 1998) */
typedef struct shoal_train_watch {
    const shoal_sample *held; /* [n_held], borrowed */
    size_t n_held;
    uint64_t every;    /* steps between measurements, and one after the last step; 0: none */
    uint64_t patience; /* measurements in a row without a new best that end the run; 0: never */
    shoal_train_measured *on_measure; /* with the ctx of on_step; may be NULL */
} shoal_train_watch;

typedef struct shoal_train_options {
    size_t batch;       /* samples a step, >= 1 */
    size_t epochs;      /* passes over the data; 0: as many as max_steps needs */
    uint64_t max_steps; /* 0: as many as the epochs have */
    uint64_t seed;      /* of the order of samples */
    shoal_schedule_kind schedule;
    float lr, lr_min;
    double warmup_ratio; /* of all steps, 0..1 */
    shoal_train_watch watch;
} shoal_train_options;

/* Where the loop stands: everything besides the trainer's state that the next step depends on. The
 * order of an epoch follows from seed and epoch alone, so it needs no saved generator. All zero at
 * the start. */
struct shoal_train_cursor {
    uint64_t epoch;     /* 0-based */
    uint64_t next;      /* position in the epoch's order of the next batch's first sample */
    uint64_t step;      /* steps taken */
    uint64_t measured;  /* the step of the last measurement; 0: none */
    uint64_t best_step; /* that of the best */
    uint64_t stale;     /* measurements since */
    double best_loss;
};

/* One finished step. */
typedef struct shoal_train_step {
    uint64_t step; /* 1-based */
    uint64_t total_steps;
    uint64_t epoch;
    double loss; /* mean NLL of the batch's targets, before the step */
    double grad_norm;
    float lr;
    size_t tokens;
    size_t supervised_tokens;
    const shoal_train_cursor *cursor; /* what a checkpoint taken now must hold */
} shoal_train_step;

/* Anything but SHOAL_OK ends the run with that status; the trainer is between two steps. */
typedef shoal_status shoal_train_callback(void *ctx, const shoal_train_step *step,
                                          shoal_error *err);

/* Steps of the whole run; 0 when the options ask for none or for too many. */
uint64_t shoal_train_total_steps(const shoal_train_options *opts, size_t n_samples);

/* The run is at its end though there are steps left: no new best for so long. */
bool shoal_train_ended_early(const shoal_train_options *opts, const shoal_train_cursor *cursor);

/* Trains from *cursor to the end, on_step (may be NULL) after each step. On SHOAL_ERR_CANCELLED,
 * when the trainer's stop function said so, the batch in hand is forgotten and *cursor says where
 * to go on; results are then those of an unbroken run, bit for bit. */
SHOAL_MUST_USE shoal_status shoal_train_run(shoal_trainer *tr, const shoal_sample *samples,
                                            size_t n, const shoal_train_options *opts,
                                            shoal_train_cursor *cursor,
                                            shoal_train_callback *on_step, void *ctx,
                                            shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
