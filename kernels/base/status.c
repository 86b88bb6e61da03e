/* status.c - sentences for the status codes, and the one way to write an error. */
#include "kernels/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *shoal_status_text(shoal_status st)
{
    switch (st) {
    case SHOAL_OK: return "ok";
    case SHOAL_ERR_ARG: return "an argument is not allowed";
    case SHOAL_ERR_NOMEM: return "out of memory";
    case SHOAL_ERR_OVERFLOW: return "a size does not fit";
    case SHOAL_ERR_IO: return "input or output failed";
    case SHOAL_ERR_FORMAT: return "the data is malformed";
    case SHOAL_ERR_UNSUPPORTED: return "not supported";
    case SHOAL_ERR_AGAIN: return "not now, try again later";
    case SHOAL_ERR_DENIED: return "refused";
    case SHOAL_ERR_TAMPERED: return "verification failed";
    case SHOAL_ERR_TIMEOUT: return "timed out";
    case SHOAL_ERR_STATE: return "called in the wrong state";
    case SHOAL_ERR_TOO_LARGE: return "over the allowed maximum";
    case SHOAL_ERR_NOT_FOUND: return "not found";
    case SHOAL_ERR_FULL: return "no space left on the device";
    case SHOAL_ERR_CANCELLED: return "stopped on request";
    case SHOAL_ERR_INTERNAL: return "internal error";
    }
    return "unknown status";
}

static void write_message(shoal_error *err, shoal_status code, const char *fmt, va_list ap)
    SHOAL_PRINTF(3, 0);

static void write_message(shoal_error *err, shoal_status code, const char *fmt, va_list ap)
{
    err->code = code;
    err->hint[0] = '\0';
    if (vsnprintf(err->msg, sizeof err->msg, fmt, ap) < 0) {
        err->msg[0] = '\0';
    }
}

shoal_status shoal_fail(shoal_error *err, shoal_status code, const char *fmt, ...)
{
    if (err == NULL) return code;
    va_list ap;
    va_start(ap, fmt);
    write_message(err, code, fmt, ap);
    va_end(ap);
    return code;
}

static shoal_status status_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT: return SHOAL_ERR_FULL;
    case ENOENT: return SHOAL_ERR_NOT_FOUND;
    case ENOMEM: return SHOAL_ERR_NOMEM;
    default: return SHOAL_ERR_IO;
    }
}

shoal_status shoal_fail_errno(shoal_error *err, int errno_value, const char *fmt, ...)
{
    shoal_status code = status_of_errno(errno_value);
    if (err == NULL) return code;
    va_list ap;
    va_start(ap, fmt);
    write_message(err, code, fmt, ap);
    va_end(ap);
    size_t used = strlen(err->msg);
    (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", strerror(errno_value));
    return code;
}

void shoal_hint(shoal_error *err, const char *fmt, ...)
{
    if (err == NULL) return;
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(err->hint, sizeof err->hint, fmt, ap) < 0) {
        err->hint[0] = '\0';
    }
    va_end(ap);
}
