/* json.c - JSON in and out. */
#include "client/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"

/* Compact; 9 significant digits bring back any f32 bit for bit. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(9))

static void *json_alloc(size_t n)
{
    return shoal_alloc(n);
}

void shoal_json_init(void)
{
    json_set_alloc_funcs(json_alloc, shoal_free);
}

shoal_status shoal_json_object(json_t **out, const char *text, size_t n, const char *where,
                               bool strict, shoal_error *err)
{
    json_error_t why;
    size_t flags = JSON_ALLOW_NUL | (strict ? (size_t)JSON_REJECT_DUPLICATES : 0);
    *out = json_loadb(text, n, flags, &why);
    if (*out == NULL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%.120s: not valid JSON at column %d: %.150s",
                          where, why.column, why.text);
    }
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%.120s: not a JSON object", where);
    }
    return SHOAL_OK;
}

bool shoal_json_str(const json_t *obj, const char *key, shoal_str *out)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_string(v)) return false;
    out->p = json_string_value(v);
    out->n = json_string_length(v);
    return true;
}

shoal_status shoal_json_ids(const json_t *array, size_t n_vocab, shoal_tokens *out,
                            const char *where, shoal_error *err)
{
    if (!json_is_array(array)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%.120s: \"ids\" is not an array", where);
    }
    size_t n = json_array_size(array);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || (uint64_t)id >= n_vocab) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "%.120s: ids[%zu] is not a token id below %zu",
                              where, i, n_vocab);
        }
        SHOAL_TRY(shoal_tokens_push(out, (int32_t)id, err));
    }
    return SHOAL_OK;
}

static bool known_role(const char *role)
{
    return strcmp(role, "system") == 0 || strcmp(role, "user") == 0 ||
           strcmp(role, "assistant") == 0;
}

/* Reads {"role","content"} number i; the views belong to the JSON value. */
static shoal_status read_message(const json_t *item, size_t i, shoal_message *out,
                                 const char *where, shoal_error *err)
{
    shoal_str role = {NULL, 0};
    if (!json_is_object(item)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: messages[%zu] is not an object", where, i);
    }
    if (!shoal_json_str(item, "role", &role)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: messages[%zu] has no \"role\" string", where,
                          i);
    }
    if (!known_role(role.p)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT,
                          "%s: messages[%zu]: role \"%.40s\" is not system, user or assistant",
                          where, i, role.p);
    }
    if (!shoal_json_str(item, "content", &out->content)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: messages[%zu] has no \"content\" string",
                          where, i);
    }
    out->role = role.p;
    return SHOAL_OK;
}

shoal_status shoal_json_messages(const json_t *array, shoal_message *out, size_t *n,
                                 const char *where, shoal_error *err)
{
    size_t count = json_array_size(array); /* 0 when it is no array */
    if (count == 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: \"messages\" is not a list of messages",
                          where);
    }
    if (count > SHOAL_JSON_MAX_MESSAGES) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s: more than %d messages", where,
                          SHOAL_JSON_MAX_MESSAGES);
    }
    for (size_t i = 0; i < count; i++) {
        SHOAL_TRY(read_message(json_array_get(array, i), i, &out[i], where, err));
    }
    *n = count;
    return SHOAL_OK;
}

json_t *shoal_json_from_ids(const int32_t *ids, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(a, json_integer(ids[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

json_t *shoal_json_from_floats(const float *v, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *x = isfinite(v[i]) ? json_real((double)v[i]) : json_null();
        if (json_array_append_new(a, x) != 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

json_t *shoal_json_from_text(const char *text, size_t n)
{
    json_t *s = json_stringn(text, n);
    if (s != NULL || n == 0) return s;
    shoal_buf clean = shoal_buf_init(3 * n + 16);
    shoal_utf8_stream stream = {{0}, 0};
    shoal_utf8_push(&stream, (shoal_str){text, n}, &clean);
    shoal_utf8_flush(&stream, &clean);
    if (!clean.failed) s = json_stringn(shoal_buf_str(&clean), clean.len);
    shoal_buf_clear(&clean);
    return s;
}

shoal_status shoal_json_print(FILE *out, json_t *value, shoal_error *err)
{
    if (value == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for JSON");
    errno = 0;
    int rc = json_dumpf(value, out, DUMP_FLAGS);
    if (rc == 0 && (fputc('\n', out) == EOF || fflush(out) != 0)) rc = -1;
    json_decref(value);
    if (rc == 0) return SHOAL_OK;
    return shoal_fail_errno(err, errno != 0 ? errno : EIO, "cannot write the output");
}

static int append(const char *data, size_t n, void *ctx)
{
    return shoal_buf_put(ctx, data, n) ? 0 : -1;
}

shoal_status shoal_json_encode(shoal_buf *out, json_t *value, shoal_error *err)
{
    if (value == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for JSON");
    int rc = json_dump_callback(value, append, out, DUMP_FLAGS);
    json_decref(value);
    if (rc == 0) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the JSON does not fit %zu bytes", out->max);
}
