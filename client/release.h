/* release.h - a signed adapter version: checked, downloaded, stored, opened.
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_RELEASE_H
#define SHOAL_CLIENT_RELEASE_H

#include "client/api.h"
#include "client/store.h"
#include "client/taskstate.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_release_source {
    shoal_api *api;
    const shoal_store *store;
    const uint8_t *task_spki; /* [SHOAL_SPKI_BYTES] pinned at enrolment */
    const uint8_t *base_hash; /* [32] of the local model file */
    const shoal_model *model;
} shoal_release_source;

/* Signature, task, base model, and never older than what the device already holds: TAMPERED
 * otherwise. */
SHOAL_MUST_USE shoal_status shoal_release_check(const shoal_release_source *src,
                                                const shoal_task_record *record,
                                                const shoal_adapter_release *release,
                                                shoal_error *err);

/* Checks, brings the file (from the store when it is there, else from the server), opens it against
 * the model, keeps it as adapters/DIR/vN.gguf and persists the record. */
SHOAL_MUST_USE shoal_status shoal_release_adopt(const shoal_release_source *src,
                                                shoal_task_record *record,
                                                const shoal_adapter_release *release,
                                                shoal_adapter **out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
