/* taskstate.h - what a device remembers of one task: counters, and the update it has finished.
 *
 * Directory tasks/DIR, where DIR is the task's name, or NAME.HEX when another deployment's task of
 * the same name is already there. The last round is on disk before the round's first message is
 * sent: a device never takes part twice in one round (PROTOCOL.md 6.4).
 *
 * Layer: client/. Threads: one owner, under the store's lock.
 */
#ifndef SHOAL_CLIENT_TASKSTATE_H
#define SHOAL_CLIENT_TASKSTATE_H

#include <stddef.h>
#include <stdint.h>

#include "client/store.h"
#include "proto/sa.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_TASK_DIR = SHOAL_LIMIT_NAME + 16 };

typedef struct shoal_task_record {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    char name[SHOAL_LIMIT_NAME];
    char dir[SHOAL_TASK_DIR];   /* under tasks/ and adapters/ */
    uint64_t last_round;        /* highest round ever answered */
    uint64_t input_round;       /* highest round an input was sent in */
    uint64_t rounds_completed;  /* rounds whose result was stored here */
    uint64_t version;           /* newest adapter held */
    uint8_t adapter_sha256[32]; /* of that adapter; zeros before the first */
    uint64_t samples, tokens;   /* of the local data last trained on */
    uint64_t inputs;            /* updates ever put into a session; the next one has this number */
    uint64_t cohort_min;        /* smallest sum the last run took part in; 0: none yet */
} shoal_task_record;

/* Loads the record of a task, or begins one. */
SHOAL_MUST_USE shoal_status shoal_task_record_open(shoal_task_record *r, const shoal_store *s,
                                                   const char *name, const uint8_t task_id[16],
                                                   shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_task_record_save(const shoal_task_record *r, const shoal_store *s,
                                                   shoal_error *err);

/* Calls fn for every record of the store, in no particular order; damaged ones are passed over. */
typedef void shoal_task_record_fn(void *ctx, const shoal_task_record *r);
SHOAL_MUST_USE shoal_status shoal_task_record_each(const shoal_store *s, shoal_task_record_fn *fn,
                                                   void *ctx, shoal_error *err);

/* A finished update: new minus old parameters, and what it was made from. */
typedef struct shoal_update {
    uint8_t adapter_sha256[32]; /* the adapter it starts from */
    uint64_t version;
    uint64_t number; /* fresh while it is the record's `inputs`: an update goes into one session */
    uint32_t weight; /* samples it was trained on */
    double loss_first, loss_last; /* of the first and last step */
    uint64_t tokens;
    float *delta; /* [n], owned */
    size_t n;
} shoal_update;

void shoal_update_clear(shoal_update *u);

/* tasks/DIR/update, mode 0600, with a hash at its end. load: NOT_FOUND when there is none, FORMAT
 * when it is damaged. */
SHOAL_MUST_USE shoal_status shoal_update_save(const shoal_update *u, const shoal_task_record *r,
                                              const shoal_store *s, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_update_load(shoal_update *u, const shoal_task_record *r,
                                              const shoal_store *s, shoal_error *err);
void shoal_update_remove(const shoal_task_record *r, const shoal_store *s);

#ifdef __cplusplus
}
#endif
#endif
