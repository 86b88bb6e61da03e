/* wire_form.h - one table a message: where each field stands in the plain struct, and its limits.
 *
 * The same table drives the scan of foreign bytes (wire_scan.c) and the copying between plain
 * structs and the generated ones (wire.c). Internal to these.
 *
 * Layer: proto/. Threads: constants.
 */
#ifndef SHOAL_PROTO_WIRE_FORM_H
#define SHOAL_PROTO_WIRE_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_wire_kind {
    SHOAL_WIRE_U32,     /* uint32_t or an enum; min..max */
    SHOAL_WIRE_U64,     /* uint64_t */
    SHOAL_WIRE_BOOL,    /* bool */
    SHOAL_WIRE_F32,     /* float, finite */
    SHOAL_WIRE_FIXED,   /* uint8_t[max] */
    SHOAL_WIRE_VAR,     /* uint8_t[max] with a uint32_t count of bytes */
    SHOAL_WIRE_TEXT,    /* char[max], NUL-terminated UTF-8 without control characters */
    SHOAL_WIRE_MESSAGE, /* a nested struct; zeroed when optional and absent */
    SHOAL_WIRE_LIST     /* struct[max] with a uint32_t count */
} shoal_wire_kind;

typedef struct shoal_wire_form shoal_wire_form;

typedef struct shoal_wire_field {
    uint32_t number; /* in shoal.proto; 1..31 */
    shoal_wire_kind kind;
    bool optional;
    size_t offset;       /* in the plain struct */
    size_t count_offset; /* VAR, LIST */
    uint64_t min, max;   /* values, bytes or entries, by kind */
    const shoal_wire_form *sub;
} shoal_wire_field;

struct shoal_wire_form {
    const char *name;
    size_t bytes; /* sizeof the plain struct */
    const shoal_wire_field *fields;
    size_t n_fields;
};

#define SHOAL_WIRE_DECLARE_FORM(name) extern const shoal_wire_form shoal_##name##_form;
SHOAL_WIRE_DECLARE_FORM(enrol_begin)
SHOAL_WIRE_DECLARE_FORM(enrol_challenge)
SHOAL_WIRE_DECLARE_FORM(enrol_request)
SHOAL_WIRE_DECLARE_FORM(enrol_response)
SHOAL_WIRE_DECLARE_FORM(renew_request)
SHOAL_WIRE_DECLARE_FORM(renew_response)
SHOAL_WIRE_DECLARE_FORM(ca_bundle)
SHOAL_WIRE_DECLARE_FORM(adapter_release)
SHOAL_WIRE_DECLARE_FORM(task_list)
SHOAL_WIRE_DECLARE_FORM(checkin_request)
SHOAL_WIRE_DECLARE_FORM(checkin_response)
SHOAL_WIRE_DECLARE_FORM(round_result)
SHOAL_WIRE_DECLARE_FORM(error_reply)
#undef SHOAL_WIRE_DECLARE_FORM

/* Walks foreign bytes without allocating: only known fields, each of its wire type, in its range,
 * under its cap, once, and none missing. FORMAT otherwise, TOO_LARGE above the cap of a message. */
SHOAL_MUST_USE shoal_status shoal_wire_scan(const shoal_wire_form *form, const void *data, size_t n,
                                            shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
