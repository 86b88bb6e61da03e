/* publish.h - from a sum to the next adapter version.
 *
 *   mean = sum of weighted updates / sum of weights     (FedAvg, McMahan et al. 2017, algorithm 1)
 *   adapter v+1 = adapter v + mean                      encoded, stored by its hash, signed
 *
 * Runs on a worker thread; touches files but not the database: a version exists once the database
 * says so.
 *
 * Layer: aggregator. Threads: pure functions over their arguments and the directory.
 */
#ifndef SHOAL_AGGREGATOR_PUBLISH_H
#define SHOAL_AGGREGATOR_PUBLISH_H

#include "aggregator/db.h"
#include "proto/crypto.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_publication {
    const char *dir;
    const shoal_key *task_key;
    const shoal_db_task *task;
    const shoal_adapter_release *from;
    uint64_t round;
    const shoal_exec *ex;
    const uint8_t *ctx;  /* [32] of the session */
    const uint32_t *sum; /* [dim + 1] */
    /* results */
    shoal_adapter_release made;
    uint64_t weight_sum;
    double update_norm; /* L2 norm of the mean */
} shoal_publication;

SHOAL_MUST_USE shoal_status shoal_publish(shoal_publication *p, shoal_error *err);

/* Version 0 of a task whose train spec, model path and base hash are set: a fresh adapter from the
 * seed. Sets t->codec.dim. */
SHOAL_MUST_USE shoal_status shoal_publish_first(const char *dir, const shoal_key *task_key,
                                                shoal_db_task *t, uint64_t seed,
                                                shoal_adapter_release *out, shoal_error *err);

/* SHA-256 of a file of any size. */
SHOAL_MUST_USE shoal_status shoal_model_file_sha256(const char *path, uint8_t out[32],
                                                    shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
