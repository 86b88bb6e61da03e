/* forward_parity.h - one prompt of a forward.json (shared/vectors/README.md) through a session, and
 * how far it is from the reference. For cmocka tests: failures to run fail the test. */
#ifndef SHOAL_TESTS_SUPPORT_FORWARD_PARITY_H
#define SHOAL_TESTS_SUPPORT_FORWARD_PARITY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/threads.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

/* What runs over some prompts showed. Where the vectors give margins (the reference's best logit
 * minus its second best), positions closer than `close_call` count in neither argmax nor greedy. */
typedef struct deviation {
    double close_call; /* in */
    double nll_max, nll_sum, logit_max;
    size_t n_nll, argmax_equal, n_argmax;
    size_t greedy_equal, n_greedy; /* tokens before the first difference, and in all */
} deviation;

typedef struct parity_run {
    const shoal_model *model;
    shoal_pool *pool;
    size_t n_ctx;
    bool exact;
    uint32_t cpu_mask;
    const shoal_adapter *adapter; /* or NULL */
} parity_run;

void parity_prompt(const parity_run *r, const json_t *prompt, deviation *d);

void parity_report(const char *what, const deviation *d);

#endif
