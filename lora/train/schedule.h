/* schedule.h - learning rate as a function of the step.
 *
 * Layer: lora/train. Threads: pure functions.
 */
#ifndef SHOAL_LORA_TRAIN_SCHEDULE_H
#define SHOAL_LORA_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_schedule_kind {
    SHOAL_SCHEDULE_CONSTANT,
    SHOAL_SCHEDULE_LINEAR,
    SHOAL_SCHEDULE_COSINE /* Loshchilov and Hutter 2017, eq. 5 */
} shoal_schedule_kind;

typedef struct shoal_schedule {
    shoal_schedule_kind kind;
    float lr;     /* the peak */
    float lr_min; /* where linear and cosine arrive one step past the end: no step has rate 0 */
    uint64_t warmup_steps; /* linear rise: step 1 has lr / warmup_steps */
    uint64_t total_steps;
} shoal_schedule;

/* The rate of step 1..total_steps; past the end that of the last step. */
float shoal_schedule_lr(const shoal_schedule *s, uint64_t step);

/* "constant", "linear", "cosine"; false on anything else. */
bool shoal_schedule_parse(const char *text, shoal_schedule_kind *kind);

#ifdef __cplusplus
}
#endif
#endif
