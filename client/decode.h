/* decode.h - answers as text: the flags of decoding, and one generation with its text streamed.
 *
 * Shared by chat, generate, eval and serve, so that all give the same tokens for the same prompt.
 *
 * Layer: client. Threads: one user of a session at a time; `cancel` may be set by any thread.
 */
#ifndef SHOAL_CLIENT_DECODE_H
#define SHOAL_CLIENT_DECODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/prompt_store.h"
#include "kernels/base/options.h"
#include "kernels/base/status.h"
#include "lora/infer/generate.h"
#include "lora/infer/session.h"
#include "lora/model/tokenizer.h"

/* No C++ here: <stdatomic.h> is C. */

/* How tokens are chosen: the values of -n, --temp, --top-k, --top-p, --min-p, --seed, --spec. */
typedef struct shoal_decoding {
    uint64_t max_tokens; /* 0: until the model ends or the context is full */
    double temperature;  /* 0: greedy */
    uint64_t top_k;
    double top_p, min_p;
    uint64_t seed;
    const char *spec; /* "none", "ngram", "auto"; "draft" is refused */
} shoal_decoding;

shoal_decoding shoal_decoding_default(void); /* greedy, with n-gram speculation */

enum { SHOAL_DECODING_N_OPTIONS = 7 };
void shoal_decoding_option_table(shoal_decoding *d, shoal_option table[SHOAL_DECODING_N_OPTIONS]);

/* ARG for an unknown --spec, and with a hint for "draft", which this build does not have. */
SHOAL_MUST_USE shoal_status shoal_decoding_check(const shoal_decoding *d, shoal_error *err);

/* Called with whole UTF-8 characters; false ends the answer. */
typedef bool shoal_text_fn(void *ctx, const char *text, size_t n);

/* The context is full: puts what the answer goes on from into `ids`, which the caller owns, given
 * what was generated [n]; it must leave room. TOO_LARGE: it cannot, and the answer ends here. */
typedef shoal_status shoal_make_room_fn(void *ctx, const int32_t *generated, size_t n,
                                        shoal_tokens *ids, shoal_error *err);

typedef struct shoal_decode_job {
    const int32_t *prompt; /* [n_prompt] */
    size_t n_prompt;
    const shoal_decoding *how;
    const shoal_str *stops; /* texts that end the answer, not shown; may be NULL */
    size_t n_stops;
    shoal_text_fn *on_text; /* may be NULL */
    void *ctx;
    const atomic_bool *cancel; /* may be NULL */
    shoal_tokens *tokens;      /* gets the generated ids, the end token included; may be NULL */

    shoal_prompt_store *store;    /* what was read before, and where this goes; NULL: nowhere */
    const shoal_adapter *adapter; /* the session's */
    shoal_on_chunk *on_read;      /* between the chunks of a long prompt; may be NULL */
    void *read_ctx;
    shoal_make_room_fn *make_room; /* NULL: the answer ends when the context is full */
    void *room_ctx;
} shoal_decode_job;

typedef struct shoal_decode_result {
    shoal_stop_reason reason; /* SHOAL_STOP_END also for a stop text */
    size_t n_tokens;          /* generated, the end token included */
    size_t n_prompt;
    size_t n_cached; /* prompt tokens that need not be read: held or kept before */
    size_t n_shifts; /* times the context was full and room was made */
    uint64_t drafted, accepted;
    double prompt_s;   /* to the first token */
    double generate_s; /* from the first token to the last */
} shoal_decode_result;

/* Tokens per second after the first; 0 when there are not two. */
double shoal_decode_tps(const shoal_decode_result *r);

/* Prints {"tokens","text","tg_tps","accepted","drafted","prompt_tokens","cached_tokens"} on stdout.
 */
SHOAL_MUST_USE shoal_status shoal_decode_print_json(const shoal_decode_result *r,
                                                    const shoal_tokens *tokens,
                                                    const shoal_buf *text, shoal_error *err);

/* Continues the prompt. Control tokens are not part of the text. */
SHOAL_MUST_USE shoal_status shoal_decode(shoal_session *s, const shoal_decode_job *job,
                                         shoal_decode_result *result, shoal_error *err);

#endif
