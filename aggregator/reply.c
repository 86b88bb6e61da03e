/* reply.c - answers of the device interface. */
#include "aggregator/reply.h"

#include <stdio.h>

#include "kernels/base/log.h"

enum { BUSY_RETRY_MS = 2000 };

void shoal_reply_bytes(shoal_http_request *r, const char *media_type, shoal_buf *body)
{
    shoal_http_respond(r, 200, media_type, body->data, body->len);
    shoal_buf_clear(body);
}

void shoal_reply_empty(shoal_http_request *r, int status)
{
    shoal_http_respond(r, status, NULL, NULL, 0);
}

void shoal_reply_encode(shoal_error_code code, const char *message, const char *hint,
                        uint32_t retry_after_ms, shoal_buf *out)
{
    shoal_error_reply e = {.code = code, .retry_after_ms = retry_after_ms};
    (void)snprintf(e.message, sizeof e.message, "%s", message);
    (void)snprintf(e.hint, sizeof e.hint, "%s", hint);
    if (shoal_error_reply_encode(&e, out, NULL) != SHOAL_OK) {
        out->len = 0; /* the HTTP status still says what happened */
    }
}

void shoal_reply_error(shoal_http_request *r, shoal_error_code code, const shoal_error *err,
                       const char *message, uint32_t retry_after_ms)
{
    const char *text = message != NULL ? message : err != NULL ? err->msg : "";
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_reply_encode(code, text, err != NULL ? err->hint : "", retry_after_ms, &body);
    shoal_log(SHOAL_LOG_DEBUG, "api", "refused method=%s path=%s code=%d", shoal_http_method(r),
              shoal_http_path(r), (int)code);
    shoal_http_respond(r, shoal_error_http(code), SHOAL_TYPE_PROTOBUF, body.data, body.len);
    shoal_buf_clear(&body);
}

static shoal_error_code code_of(shoal_status st)
{
    switch (st) {
    case SHOAL_ERR_FORMAT:
    case SHOAL_ERR_ARG: return SHOAL_CODE_BAD_REQUEST;
    case SHOAL_ERR_DENIED: return SHOAL_CODE_FORBIDDEN;
    case SHOAL_ERR_NOT_FOUND: return SHOAL_CODE_NOT_FOUND;
    case SHOAL_ERR_TOO_LARGE: return SHOAL_CODE_TOO_LARGE;
    case SHOAL_ERR_STATE: return SHOAL_CODE_GONE;
    case SHOAL_ERR_TAMPERED: return SHOAL_CODE_TAMPERED;
    case SHOAL_ERR_UNSUPPORTED: return SHOAL_CODE_VERSION;
    case SHOAL_ERR_AGAIN:
    case SHOAL_ERR_NOMEM: return SHOAL_CODE_BUSY;
    default: return SHOAL_CODE_INTERNAL;
    }
}

void shoal_reply_status(shoal_http_request *r, shoal_status st, const shoal_error *err)
{
    shoal_error_code code = code_of(st);
    if (code == SHOAL_CODE_INTERNAL) {
        shoal_log(SHOAL_LOG_ERROR, "api", "failed path=%s: %s", shoal_http_path(r), err->msg);
        shoal_reply_error(r, code, NULL, "the aggregator has a problem; try again later",
                          BUSY_RETRY_MS);
        return;
    }
    shoal_reply_error(r, code, err, NULL, code == SHOAL_CODE_BUSY ? BUSY_RETRY_MS : 0);
}
