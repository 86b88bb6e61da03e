/* json.h - JSON in and out, one set of rules for the whole client.
 *
 * Strings may hold U+0000 (jansson's JSON_ALLOW_NUL), so texts travel as bytes with a length.
 *
 * Layer: client. Threads: pure functions.
 */
#ifndef SHOAL_CLIENT_JSON_H
#define SHOAL_CLIENT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/chat_template.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sends jansson's memory through kernels/base/mem.h; once, before threads start. */
void shoal_json_init(void);

/* Parses one JSON value that must be an object. `where` begins the error text ("data.jsonl:3").
 * *out is a new reference, NULL on failure. `strict` refuses repeated keys. */
SHOAL_MUST_USE shoal_status shoal_json_object(json_t **out, const char *text, size_t n,
                                              const char *where, bool strict, shoal_error *err);

/* Member `key` as a string; false when it is missing or of another type. A view into obj. */
bool shoal_json_str(const json_t *obj, const char *key, shoal_str *out);

/* A JSON array of whole numbers within [0, n_vocab) appended to `out`. */
SHOAL_MUST_USE shoal_status shoal_json_ids(const json_t *array, size_t n_vocab, shoal_tokens *out,
                                           const char *where, shoal_error *err);

enum { SHOAL_JSON_MAX_MESSAGES = 256 }; /* messages of one conversation */

/* A list of {"role","content"} (system, user, assistant; content a string). The messages are views
 * into the JSON value; out [SHOAL_JSON_MAX_MESSAGES]. */
SHOAL_MUST_USE shoal_status shoal_json_messages(const json_t *array, shoal_message *out, size_t *n,
                                                const char *where, shoal_error *err);

/* New references; NULL when memory is out (jansson's own calls accept NULL and fail). */
json_t *shoal_json_from_ids(const int32_t *ids, size_t n);
json_t *shoal_json_from_floats(const float *v, size_t n);
/* A string from bytes; what is not UTF-8 becomes U+FFFD. */
json_t *shoal_json_from_text(const char *text, size_t n);

/* Writes one compact line and flushes it, so that a reader of a pipe sees it at once; steals the
 * reference. NULL is NOMEM; a failed write is IO or FULL. */
SHOAL_MUST_USE shoal_status shoal_json_print(FILE *out, json_t *value, shoal_error *err);

/* The same appended to a buffer, without line end. */
SHOAL_MUST_USE shoal_status shoal_json_encode(shoal_buf *out, json_t *value, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
