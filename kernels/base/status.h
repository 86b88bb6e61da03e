/* status.h - one status enum and one optional error text for the whole project.
 *
 * A function that can fail returns shoal_status and takes `shoal_error *err` as its last argument.
 * The text is written once, where the failure is first seen, by shoal_fail(); callers pass it up.
 * Libraries never print, exit or abort: only the programs' command code prints an error.
 *
 * Layer: kernels/base. Threads: no shared state.
 */
#ifndef SHOAL_KERNELS_BASE_STATUS_H
#define SHOAL_KERNELS_BASE_STATUS_H

#include <stddef.h>

#if defined(__GNUC__)
#define SHOAL_MUST_USE __attribute__((warn_unused_result))
#define SHOAL_PRINTF(fmt_index, args_index) __attribute__((format(printf, fmt_index, args_index)))
#else
#define SHOAL_MUST_USE
#define SHOAL_PRINTF(fmt_index, args_index)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grouped by what the caller does next. */
typedef enum shoal_status {
    SHOAL_OK = 0,
    SHOAL_ERR_ARG = -1,         /* the caller passed something impossible: fix the call */
    SHOAL_ERR_NOMEM = -2,       /* memory ran out or a budget was reached */
    SHOAL_ERR_OVERFLOW = -3,    /* a size or number does not fit its type */
    SHOAL_ERR_IO = -4,          /* the operating system refused a read, write or socket call */
    SHOAL_ERR_FORMAT = -5,      /* bytes from outside are not what they claim to be */
    SHOAL_ERR_UNSUPPORTED = -6, /* well formed, but of a kind this build does not handle */
    SHOAL_ERR_AGAIN = -7,       /* not now: more input or more time is needed */
    SHOAL_ERR_DENIED = -8,      /* policy or authorisation says no */
    SHOAL_ERR_TAMPERED = -9,    /* a signature, tag or hash does not verify */
    SHOAL_ERR_TIMEOUT = -10,    /* the peer or the deadline did not hold */
    SHOAL_ERR_STATE = -11,      /* called in the wrong order */
    SHOAL_ERR_TOO_LARGE = -12,  /* over a stated maximum */
    SHOAL_ERR_NOT_FOUND = -13,  /* the named thing does not exist */
    SHOAL_ERR_FULL = -14,       /* the disk is full */
    SHOAL_ERR_CANCELLED = -15,  /* the user or the host asked to stop; work is kept */
    SHOAL_ERR_INTERNAL = -16    /* a broken invariant of our own */
} shoal_status;

/* One line for a person and, where there is one, a line saying what to do about it.
 * Caller-allocated, no heap; zero-initialise before first use. */
typedef struct shoal_error {
    shoal_status code;
    char msg[320];
    char hint[320];
} shoal_error;

/* One English sentence for a status; never NULL. */
const char *shoal_status_text(shoal_status st);

/* Writes the message (cut to fit) and clears the hint; err may be NULL. Returns code. */
shoal_status shoal_fail(shoal_error *err, shoal_status code, const char *fmt, ...)
    SHOAL_PRINTF(3, 4);

/* shoal_fail with strerror(errno_value) appended; ENOSPC and EDQUOT become SHOAL_ERR_FULL,
 * ENOENT becomes SHOAL_ERR_NOT_FOUND, ENOMEM becomes SHOAL_ERR_NOMEM, the rest SHOAL_ERR_IO. */
shoal_status shoal_fail_errno(shoal_error *err, int errno_value, const char *fmt, ...)
    SHOAL_PRINTF(3, 4);

/* Adds the hint line to an error already written; err may be NULL. */
void shoal_hint(shoal_error *err, const char *fmt, ...) SHOAL_PRINTF(2, 3);

/* Leaves the calling function with the status when it is not OK. Only in functions that own
 * nothing; the others use one `out:` label. */
#define SHOAL_TRY(expr)                \
    do {                               \
        shoal_status try_st_ = (expr); \
        if (try_st_ != SHOAL_OK) {     \
            return try_st_;            \
        }                              \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
