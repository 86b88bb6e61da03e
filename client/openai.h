/* openai.h - the JSON of the OpenAI chat API: requests in, responses, chunks and errors out.
 *
 * Source: OpenAI API reference, "Create chat completion". What this server cannot do (several
 * choices, tools, log-probabilities, penalties, forced formats) is refused, not ignored; fields it
 * does not know are passed over, as clients send many. Beyond the standard: top_k and min_p in
 * requests; drafted and accepted in usage.
 *
 * Layer: client. Threads: no shared state.
 */
#ifndef SHOAL_CLIENT_OPENAI_H
#define SHOAL_CLIENT_OPENAI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/json.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/chat_template.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_OPENAI_MAX_BODY = 4 << 20, /* bytes of a request */
    SHOAL_OPENAI_MAX_STOPS = 4,
    SHOAL_OPENAI_MAX_STOP_BYTES = 256
};

typedef struct shoal_openai_request {
    json_t *root;      /* owned; all texts below are views into it */
    const char *model; /* NULL when the request names none */
    shoal_message messages[SHOAL_JSON_MAX_MESSAGES];
    size_t n_messages;
    double temperature, top_p, min_p; /* the caller's defaults unless given */
    uint64_t top_k, seed;
    bool seed_given;
    uint64_t max_tokens; /* 0: as many as fit */
    shoal_str stops[SHOAL_OPENAI_MAX_STOPS];
    size_t n_stops;
    bool stream, include_usage;
} shoal_openai_request;

/* Parses a body into *r, whose sampling fields hold the defaults. On failure the text says what is
 * wrong with which field (status 400). Free with shoal_openai_request_clear in any case. */
SHOAL_MUST_USE shoal_status shoal_openai_request_decode(shoal_openai_request *r, const void *body,
                                                        size_t n, shoal_error *err);
void shoal_openai_request_clear(shoal_openai_request *r);

/* What identifies the answer being given. */
typedef struct shoal_openai_answer {
    char id[40];
    int64_t created; /* seconds since 1970 */
    const char *model;
} shoal_openai_answer;

typedef struct shoal_openai_usage {
    uint64_t prompt_tokens, completion_tokens;
    uint64_t cached_tokens;     /* of the prompt, found in the KV cache */
    uint64_t drafted, accepted; /* by speculation */
} shoal_openai_usage;

/* Each appends one JSON object to `out`. `finish` is "stop" or "length". */
SHOAL_MUST_USE shoal_status shoal_openai_encode_response(shoal_buf *out,
                                                         const shoal_openai_answer *a,
                                                         shoal_str text, const char *finish,
                                                         const shoal_openai_usage *usage,
                                                         shoal_error *err);

/* A chunk of a stream. role: the first one, which carries only the role. text.n > 0: content.
 * finish not NULL: the last one. usage not NULL: the extra one at the very end. */
typedef struct shoal_openai_chunk {
    bool role;
    shoal_str text;
    const char *finish;
    const shoal_openai_usage *usage;
} shoal_openai_chunk;
SHOAL_MUST_USE shoal_status shoal_openai_encode_chunk(shoal_buf *out, const shoal_openai_answer *a,
                                                      const shoal_openai_chunk *c,
                                                      shoal_error *err);

/* {"object":"list","data":[{"id","object":"model","created","owned_by"}]} */
SHOAL_MUST_USE shoal_status shoal_openai_encode_models(shoal_buf *out, const char *const *ids,
                                                       size_t n, int64_t created, shoal_error *err);

/* {"error":{"message","type","param":null,"code"}}; the type follows from the HTTP status. */
SHOAL_MUST_USE shoal_status shoal_openai_encode_error(shoal_buf *out, int http_status,
                                                      const char *code, const char *message,
                                                      shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
