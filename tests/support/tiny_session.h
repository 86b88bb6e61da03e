/* tiny_session.h - a tiny model opened with its threads and kernels, for tests. */
#ifndef SHOAL_TESTS_SUPPORT_TINY_SESSION_H
#define SHOAL_TESTS_SUPPORT_TINY_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "lora/infer/session.h"
#include "tests/support/tiny_model.h"

typedef struct tiny_engine {
    char path[128];
    shoal_model *m;
    shoal_pool *pool;
    shoal_exec ex;
} tiny_engine;

/* Any failure fails the test. */
void tiny_engine_open(tiny_engine *e, uint64_t seed, const shoal_tiny_opts *opts, unsigned threads,
                      bool exact);
void tiny_engine_close(tiny_engine *e);

/* n ids drawn from the vocabulary. */
void tiny_random_ids(const tiny_engine *e, uint64_t seed, int32_t *ids, size_t n);

#endif
