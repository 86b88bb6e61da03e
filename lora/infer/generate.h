/* generate.h - the decoding loop: prompt in, tokens out one by one.
 *
 * Layer: lora/infer. Threads: one user of the session at a time; `cancel` may be set by any thread.
 */
#ifndef SHOAL_LORA_INFER_GENERATE_H
#define SHOAL_LORA_INFER_GENERATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/infer/sampler.h"
#include "lora/infer/session.h"
#include "lora/infer/speculate.h"

/* Called for each token in order, the stop token not included. False ends the generation. */
typedef bool shoal_on_token(void *ctx, int32_t id);

typedef enum shoal_stop_reason {
    SHOAL_STOP_END,      /* the model ended its turn or the text */
    SHOAL_STOP_LENGTH,   /* max_tokens */
    SHOAL_STOP_CONTEXT,  /* the context is full */
    SHOAL_STOP_CALLBACK, /* on_token said so */
    SHOAL_STOP_CANCELLED /* the flag */
} shoal_stop_reason;

typedef struct shoal_gen_opts {
    size_t max_tokens;               /* 0: until the context is full */
    bool ignore_stop;                /* stop tokens are tokens like others (benchmarks) */
    shoal_sampler *sampler;          /* NULL: greedy */
    const shoal_draft_source *draft; /* NULL: plain decoding */
    size_t max_draft;                /* 0: 3; at most SHOAL_DRAFT_MAX and logit_rows - 1 */
    shoal_on_token *on_token;        /* may be NULL */
    void *ctx;
    const atomic_bool *cancel; /* may be NULL; looked at between evaluations */
} shoal_gen_opts;

typedef struct shoal_gen_result {
    shoal_stop_reason reason;
    size_t n_tokens;   /* given to on_token */
    size_t n_evals;    /* evaluations after the prompt's */
    uint64_t drafted;  /* tokens proposed ... */
    uint64_t accepted; /* ... and kept */
} shoal_gen_result;

/* Continues prompt [n >= 1]. What the session already holds of the prompt is reused. Afterwards it
 * holds the prompt and the generated tokens, except perhaps the last one. TOO_LARGE with a hint
 * when the prompt alone fills the context. */
SHOAL_MUST_USE shoal_status shoal_generate(shoal_session *s, const int32_t *prompt, size_t n,
                                           const shoal_gen_opts *opts, shoal_gen_result *result,
                                           shoal_error *err);

#endif
