/* localtrain.h - a device's own training: from an adapter and local data to an update.
 *
 * Stopping half-way leaves a checkpoint beside the task's state; the next call with the same
 * adapter, data and settings goes on there and gives the same bits.
 *
 * Layer: client/. Threads: works on the engine's pool.
 */
#ifndef SHOAL_CLIENT_LOCALTRAIN_H
#define SHOAL_CLIENT_LOCALTRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/data.h"
#include "client/engine.h"
#include "client/taskstate.h"
#include "lora/train/loop.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_local_job {
    const shoal_engine *engine; /* model and exec */
    const shoal_dataset *data;  /* cut to spec->ctx tokens */
    const shoal_train_spec *spec;
    const shoal_adapter *start; /* the release; borrowed and not changed */
    const shoal_adapter_release *release;
    uint64_t number;               /* of the update to be: another one, another order of samples */
    const char *checkpoint_path;   /* NULL: none is kept */
    size_t max_ram;                /* as `shoal train --max-ram` (train_memory.h) */
    bool max_ram_given;            /* by the owner, not as what is usual */
    shoal_train_callback *on_step; /* may be NULL */
    void *ctx;
    bool (*stop)(void); /* may be NULL */
} shoal_local_job;

/* Stays within max_ram like `shoal train`: the engine's weights are streamed meanwhile when they
 * were opened in small pages. NOMEM with a hint when a bound that was given is too tight. CANCELLED
 * (checkpoint kept) when `stop` says so. The caller clears *out. */
SHOAL_MUST_USE shoal_status shoal_local_train(const shoal_local_job *job, shoal_update *out,
                                              shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
