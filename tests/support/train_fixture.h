/* train_fixture.h - a tiny model, an adapter that does something, and samples, for training tests.
 */
#ifndef SHOAL_TESTS_SUPPORT_TRAIN_FIXTURE_H
#define SHOAL_TESTS_SUPPORT_TRAIN_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/threads.h"
#include "kernels/kernels.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "lora/train/trainer.h"
#include "tests/support/tiny_model.h"

enum { FIXTURE_SAMPLES = 5, FIXTURE_LONGEST = 24 };

/* All functions fail the running test when they cannot. */

shoal_model *fixture_model(uint64_t seed, const shoal_tiny_opts *opts);

/* A and B random: B is not zero, so every gradient path carries something. */
shoal_adapter *fixture_adapter(const shoal_model *m, size_t rank, uint32_t targets,
                               size_t first_layer, uint64_t seed);
shoal_adapter *fixture_adapter_like(const shoal_model *m, const shoal_lora_spec *spec,
                                    uint64_t seed);

/* Kernels on a pool of n threads. */
typedef struct fixture_exec {
    shoal_pool *pool;
    shoal_exec ex;
} fixture_exec;
void fixture_exec_open(fixture_exec *f, unsigned n_threads, bool exact);
void fixture_exec_close(fixture_exec *f);

/* Texts of several lengths with masks: targets at the end, two spans, one target, all. */
typedef struct fixture_samples {
    int32_t ids[FIXTURE_SAMPLES][FIXTURE_LONGEST];
    uint8_t mask[FIXTURE_SAMPLES][FIXTURE_LONGEST];
    shoal_sample items[FIXTURE_SAMPLES];
    size_t n_targets;
} fixture_samples;
void fixture_samples_fill(fixture_samples *s, size_t n_vocab, uint64_t seed);

/* Lets them begin with the same n tokens, none learnt (those longer than n + 2 tokens). */
void fixture_samples_share(fixture_samples *s, size_t n);

shoal_trainer *fixture_trainer(const shoal_model *m, shoal_adapter *a, const shoal_exec *ex,
                               size_t max_tokens, shoal_recompute recompute);

/* |a - b| / |b| over n values. */
double fixture_relative_error(const float *a, const float *b, size_t n);

#endif
