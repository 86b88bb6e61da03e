/* openai.c - the JSON of the OpenAI chat API. */
#include "client/openai.h"

#include <string.h>

/* ---- requests ----------------------------------------------------------------------------------
 */

static shoal_status fail_field(const char *key, const char *wanted, shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "\"%s\" must be %s", key, wanted);
}

/* A member that is absent or null counts as not given. */
static const json_t *given(const json_t *root, const char *key)
{
    const json_t *v = json_object_get(root, key);
    return json_is_null(v) ? NULL : v;
}

static shoal_status read_number(const json_t *root, const char *key, double min, double max,
                                double *out, shoal_error *err)
{
    char wanted[64];
    const json_t *v = given(root, key);
    if (v == NULL) return SHOAL_OK;
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= min && d <= max)) {
        (void)snprintf(wanted, sizeof wanted, "a number from %g to %g", min, max);
        return fail_field(key, wanted, err);
    }
    *out = d;
    return SHOAL_OK;
}

static shoal_status read_count(const json_t *root, const char *key, json_int_t min, json_int_t max,
                               uint64_t *out, bool *was_given, shoal_error *err)
{
    char wanted[80];
    const json_t *v = given(root, key);
    if (v == NULL) return SHOAL_OK;
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < min || i > max) {
        (void)snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min,
                       (long long)max);
        return fail_field(key, wanted, err);
    }
    *out = (uint64_t)i;
    if (was_given != NULL) *was_given = true;
    return SHOAL_OK;
}

static shoal_status read_bool(const json_t *root, const char *key, bool *out, shoal_error *err)
{
    const json_t *v = given(root, key);
    if (v == NULL) return SHOAL_OK;
    if (!json_is_boolean(v)) return fail_field(key, "true or false", err);
    *out = json_is_true(v);
    return SHOAL_OK;
}

static shoal_status add_stop(shoal_openai_request *r, const json_t *v, shoal_error *err)
{
    if (!json_is_string(v) || json_string_length(v) == 0 ||
        json_string_length(v) > SHOAL_OPENAI_MAX_STOP_BYTES ||
        r->n_stops == SHOAL_OPENAI_MAX_STOPS) {
        return fail_field("stop", "up to 4 texts of 1 to 256 bytes", err);
    }
    r->stops[r->n_stops++] = (shoal_str){json_string_value(v), json_string_length(v)};
    return SHOAL_OK;
}

static shoal_status read_stops(shoal_openai_request *r, shoal_error *err)
{
    const json_t *v = given(r->root, "stop");
    if (v == NULL) return SHOAL_OK;
    if (!json_is_array(v)) return add_stop(r, v, err);
    for (size_t i = 0; i < json_array_size(v); i++) {
        SHOAL_TRY(add_stop(r, json_array_get(v, i), err));
    }
    return SHOAL_OK;
}

/* Content may come as parts, [{"type":"text","text":"..."}]: joined into one string here. */
static shoal_status join_parts(json_t *message, const json_t *parts, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(SHOAL_OPENAI_MAX_BODY);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        shoal_str piece = {NULL, 0};
        if (type == NULL || strcmp(type, "text") != 0 || !shoal_json_str(part, "text", &piece)) {
            shoal_buf_clear(&text);
            return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "only text content is understood");
        }
        shoal_buf_put(&text, piece.p, piece.n);
    }
    int rc = json_object_set_new(message, "content", json_stringn(shoal_buf_str(&text), text.len));
    shoal_buf_clear(&text);
    if (rc != 0) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    return SHOAL_OK;
}

static shoal_status read_messages(shoal_openai_request *r, shoal_error *err)
{
    const json_t *list = json_object_get(r->root, "messages");
    if (json_array_size(list) == 0) return fail_field("messages", "a list of messages", err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *message = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        const json_t *content = json_object_get(message, "content");
        if (role != NULL && strcmp(role, "developer") == 0) { /* the newer name of "system" */
            (void)json_object_set_new(message, "role", json_string("system"));
        }
        if (json_is_array(content)) SHOAL_TRY(join_parts(message, content, err));
    }
    return shoal_json_messages(list, r->messages, &r->n_messages, "request", err);
}

static bool is_nonzero(const json_t *v)
{
    double d = json_number_value(v);
    return d < 0.0 || d > 0.0;
}

/* What would change the answer but cannot be done is refused. */
static shoal_status refuse_unsupported(const json_t *root, shoal_error *err)
{
    const json_t *n = given(root, "n");
    const json_t *format = json_object_get(given(root, "response_format"), "type");
    const char *key = NULL;
    if (n != NULL && json_integer_value(n) != 1) key = "n";
    if (json_array_size(given(root, "tools")) > 0) key = "tools";
    if (json_array_size(given(root, "functions")) > 0) key = "functions";
    if (json_is_true(given(root, "logprobs"))) key = "logprobs";
    if (json_object_size(given(root, "logit_bias")) > 0) key = "logit_bias";
    if (is_nonzero(given(root, "presence_penalty"))) key = "presence_penalty";
    if (is_nonzero(given(root, "frequency_penalty"))) key = "frequency_penalty";
    if (format != NULL &&
        (!json_is_string(format) || strcmp(json_string_value(format), "text") != 0)) {
        key = "response_format";
    }
    if (key == NULL) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "this server does not support \"%s\"", key);
}

static shoal_status read_sampling(shoal_openai_request *r, shoal_error *err)
{
    const json_t *root = r->root;
    const json_int_t most = INT32_MAX;
    SHOAL_TRY(read_number(root, "temperature", 0.0, 2.0, &r->temperature, err));
    SHOAL_TRY(read_number(root, "top_p", 0.0, 1.0, &r->top_p, err));
    SHOAL_TRY(read_number(root, "min_p", 0.0, 1.0, &r->min_p, err));
    SHOAL_TRY(read_count(root, "top_k", 0, most, &r->top_k, NULL, err));
    SHOAL_TRY(read_count(root, "seed", 0, INT64_MAX, &r->seed, &r->seed_given, err));
    SHOAL_TRY(read_count(root, "max_tokens", 1, most, &r->max_tokens, NULL, err));
    return read_count(root, "max_completion_tokens", 1, most, &r->max_tokens, NULL, err);
}

shoal_status shoal_openai_request_decode(shoal_openai_request *r, const void *body, size_t n,
                                         shoal_error *err)
{
    r->root = NULL;
    r->n_messages = 0;
    r->n_stops = 0;
    if (n > SHOAL_OPENAI_MAX_BODY) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the request is over %d bytes",
                          SHOAL_OPENAI_MAX_BODY);
    }
    SHOAL_TRY(shoal_json_object(&r->root, body, n, "request", false, err));
    const json_t *model = given(r->root, "model");
    if (model != NULL && !json_is_string(model)) return fail_field("model", "a string", err);
    r->model = json_string_value(model);
    SHOAL_TRY(read_messages(r, err));
    SHOAL_TRY(refuse_unsupported(r->root, err));
    SHOAL_TRY(read_sampling(r, err));
    SHOAL_TRY(read_stops(r, err));
    SHOAL_TRY(read_bool(r->root, "stream", &r->stream, err));
    return read_bool(given(r->root, "stream_options"), "include_usage", &r->include_usage, err);
}

void shoal_openai_request_clear(shoal_openai_request *r)
{
    json_decref(r->root);
    r->root = NULL;
}

/* ---- answers
 * ------------------------------------------------------------------------------------- */

static json_t *usage_json(const shoal_openai_usage *u)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:I, s:I}", "prompt_tokens",
                     (json_int_t)u->prompt_tokens, "completion_tokens",
                     (json_int_t)u->completion_tokens, "total_tokens",
                     (json_int_t)(u->prompt_tokens + u->completion_tokens), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)u->cached_tokens, "drafted",
                     (json_int_t)u->drafted, "accepted", (json_int_t)u->accepted);
}

shoal_status shoal_openai_encode_response(shoal_buf *out, const shoal_openai_answer *a,
                                          shoal_str text, const char *finish,
                                          const shoal_openai_usage *usage, shoal_error *err)
{
    json_t *choice = json_pack("{s:i, s:{s:s, s:o}, s:n, s:s}", "index", 0, "message", "role",
                               "assistant", "content", shoal_json_from_text(text.p, text.n),
                               "logprobs", "finish_reason", finish);
    json_t *root = json_pack("{s:s, s:s, s:I, s:s, s:[o], s:o}", "id", a->id, "object",
                             "chat.completion", "created", (json_int_t)a->created, "model",
                             a->model, "choices", choice, "usage", usage_json(usage));
    return shoal_json_encode(out, root, err);
}

shoal_status shoal_openai_encode_chunk(shoal_buf *out, const shoal_openai_answer *a,
                                       const shoal_openai_chunk *c, shoal_error *err)
{
    json_t *choices = json_array();
    if (c->usage == NULL) {
        json_t *delta = json_object();
        if (c->role) (void)json_object_set_new(delta, "role", json_string("assistant"));
        if (c->role || c->text.n > 0) {
            (void)json_object_set_new(delta, "content", shoal_json_from_text(c->text.p, c->text.n));
        }
        json_t *choice = json_pack("{s:i, s:o, s:n, s:s?}", "index", 0, "delta", delta, "logprobs",
                                   "finish_reason", c->finish);
        (void)json_array_append_new(choices, choice);
    }
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", a->id, "object", "chat.completion.chunk",
                  "created", (json_int_t)a->created, "model", a->model, "choices", choices);
    if (c->usage != NULL) (void)json_object_set_new(root, "usage", usage_json(c->usage));
    return shoal_json_encode(out, root, err);
}

shoal_status shoal_openai_encode_models(shoal_buf *out, const char *const *ids, size_t n,
                                        int64_t created, shoal_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s}", "id", ids[i], "object",
                                                    "model", "created", (json_int_t)created,
                                                    "owned_by", "local"));
    }
    return shoal_json_encode(out, json_pack("{s:s, s:o}", "object", "list", "data", list), err);
}

shoal_status shoal_openai_encode_error(shoal_buf *out, int http_status, const char *code,
                                       const char *message, shoal_error *err)
{
    const char *type = http_status >= 500 ? "server_error" : "invalid_request_error";
    return shoal_json_encode(out,
                             json_pack("{s:{s:o, s:s, s:n, s:s?}}", "error", "message",
                                       shoal_json_from_text(message, strlen(message)), "type", type,
                                       "param", "code", code),
                             err);
}
