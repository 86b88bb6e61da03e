/* demo.h - the whole loop on one machine: an aggregator and several devices, each its own process.
 *
 * Everything happens in one directory, which is kept: server/ (the aggregator), device-N/ (each
 * with its own SHOAL_HOME, data and events), held-out.jsonl, alone-N.gguf and the result. The demo
 * itself only starts programs, watches what they write and ends them; it computes nothing.
 *
 * Layer: client/. Threads: main thread.
 */
#ifndef SHOAL_CLIENT_DEMO_H
#define SHOAL_CLIENT_DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/store.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_DEMO_CLIENTS_MAX = 6 };

typedef struct shoal_demo_options {
    const char *model;    /* name or path */
    const char *dir;      /* NULL: a fresh directory under TMPDIR */
    const char *data_dir; /* *.jsonl of the user's, one device each, and held-out.jsonl; or NULL */
    size_t clients;       /* 3..6 */
    size_t rounds;        /* >= 1 */
    size_t steps;         /* local steps a round */
    bool skip_alone;      /* no comparison with each client alone */
    bool skip_exact;      /* loss only */
    bool quiet;           /* no progress bars */
    uint64_t seed;
    bool (*stop)(void);
} shoal_demo_options;

/* One line of the table. */
typedef struct shoal_demo_row {
    char name[64];
    double loss;  /* nats per token on the held-out requests */
    double exact; /* share of answers that are right to the letter; < 0: not measured */
    bool measured;
} shoal_demo_row;

typedef struct shoal_demo_result {
    char dir[SHOAL_PATH_MAX];
    char adapter[SHOAL_PATH_MAX]; /* of the last round */
    char model[SHOAL_PATH_MAX];
    shoal_demo_row before, alone[SHOAL_DEMO_CLIENTS_MAX], federated;
    size_t n_alone;
    size_t rounds_done;
    size_t held_rows;
    uint64_t peak_rss_bytes; /* largest of the training devices */
    uint64_t tokens;         /* trained on by each device on average, all rounds */
    size_t killed_round;     /* in which a device was killed; 0: none was */
    size_t survivors;        /* of that round */
    double seconds, federated_s;
} shoal_demo_result;

SHOAL_MUST_USE shoal_status shoal_demo_run(const shoal_demo_options *opt, shoal_demo_result *out,
                                           shoal_error *err);

/* Writes the households' data as files for `data_dir`: one *.jsonl a household, held-out.jsonl. */
SHOAL_MUST_USE shoal_status shoal_demo_write_data(const char *dir, size_t clients, uint64_t seed,
                                                  shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
