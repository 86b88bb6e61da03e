/* wire_scan.c - foreign protobuf bytes are walked by this before anything unpacks them (Spec 1.6,
 * Spec 1.7).
 *
 * A message that passes is one the generated code turns into a known, bounded amount of memory: no
 * unknown field, no group, no repeated singular field, no nesting but that of the tables. */
#include <string.h>

#include "kernels/base/buf.h"
#include "proto/limits.h"
#include "proto/wire_form.h"

enum { TYPE_VARINT = 0, TYPE_BYTES = 2, TYPE_FIXED32 = 5 }; /* protobuf encoding, wire types */

/* At most 10 bytes, the last at most 1, no padding zero group: one value, one encoding. */
static uint64_t read_varint(shoal_cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = shoal_cursor_u8(c);
        if (c->failed) return 0;
        if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0)) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    c->failed = true;
    return 0;
}

/* Length of the UTF-8 sequence at p (RFC 3629 section 4), 0 when it is none or a control character
 * (of C0 or C1: terminals obey both). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const struct {
        uint8_t lead_min, lead_max, second_min, second_max;
        size_t n;
    } rows[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    if (p[0] >= 0x20 && p[0] < 0x7f) return 1;
    if (p[0] == 0xc2 && left >= 2 && p[1] < 0xa0) return 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (p[0] < rows[i].lead_min || p[0] > rows[i].lead_max) continue;
        if (left < rows[i].n || p[1] < rows[i].second_min || p[1] > rows[i].second_max) return 0;
        for (size_t k = 2; k < rows[i].n; k++) {
            if ((p[k] & 0xc0) != 0x80) return 0;
        }
        return rows[i].n;
    }
    return 0;
}

static bool is_text(const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t step = utf8_length(p, n);
        if (step == 0) return false;
        p += step;
        n -= step;
    }
    return true;
}

static bool scan_message(const shoal_wire_form *form, shoal_cursor c);

static bool scan_number(const shoal_wire_field *f, unsigned type, shoal_cursor *c, uint64_t *v)
{
    *v = type == TYPE_VARINT ? read_varint(c) : 0;
    return type == TYPE_VARINT && !c->failed && *v >= f->min && *v <= f->max;
}

/* Exponent of all ones is NaN or infinity. */
static bool scan_float(unsigned type, shoal_cursor *c)
{
    uint32_t bits = type == TYPE_FIXED32 ? shoal_cursor_u32(c) : UINT32_MAX;
    return !c->failed && (bits & 0x7f800000u) != 0x7f800000u;
}

static bool scan_bytes(const shoal_wire_field *f, unsigned type, shoal_cursor *c)
{
    if (type != TYPE_BYTES) return false;
    uint64_t n = read_varint(c);
    const uint8_t *p = shoal_cursor_bytes(c, n);
    if (p == NULL) return false;
    switch (f->kind) {
    case SHOAL_WIRE_MESSAGE:
    case SHOAL_WIRE_LIST: return scan_message(f->sub, shoal_cursor_init(p, (size_t)n));
    case SHOAL_WIRE_TEXT: return n < f->max && is_text(p, (size_t)n);
    default: return n >= f->min && n <= f->max;
    }
}

static bool scan_value(const shoal_wire_field *f, unsigned type, shoal_cursor *c, uint64_t *number)
{
    switch (f->kind) {
    case SHOAL_WIRE_U32:
    case SHOAL_WIRE_U64:
    case SHOAL_WIRE_BOOL: return scan_number(f, type, c, number);
    case SHOAL_WIRE_F32: return scan_float(type, c);
    case SHOAL_WIRE_FIXED:
    case SHOAL_WIRE_VAR:
    case SHOAL_WIRE_TEXT:
    case SHOAL_WIRE_MESSAGE:
    case SHOAL_WIRE_LIST: return scan_bytes(f, type, c);
    }
    return false;
}

static const shoal_wire_field *find_field(const shoal_wire_form *form, uint64_t number)
{
    for (size_t i = 0; i < form->n_fields; i++) {
        if (form->fields[i].number == number) return &form->fields[i];
    }
    return NULL;
}

/* A number that counts a list must follow it and be right: it shows that the list is whole. */
static bool counts_right(const shoal_wire_form *form, const shoal_wire_field *f, uint64_t value,
                         const uint32_t seen[32])
{
    for (size_t i = 0; f->kind == SHOAL_WIRE_U32 && i < form->n_fields; i++) {
        const shoal_wire_field *list = &form->fields[i];
        if (list->kind == SHOAL_WIRE_LIST && list->count_offset == f->offset) {
            return value == seen[list->number];
        }
    }
    return true;
}

/* Nesting is that of the tables, which have no cycles. */
static bool scan_message(const shoal_wire_form *form, shoal_cursor c)
{
    uint32_t seen[32] = {0};
    while (c.left > 0) {
        uint64_t tag = read_varint(&c);
        const shoal_wire_field *f = c.failed ? NULL : find_field(form, tag >> 3);
        uint64_t number = 0;
        if (f == NULL || !scan_value(f, (unsigned)(tag & 7), &c, &number) ||
            !counts_right(form, f, number, seen)) {
            return false;
        }
        seen[f->number]++;
        if (seen[f->number] > (f->kind == SHOAL_WIRE_LIST ? f->max : 1)) return false;
    }
    for (size_t i = 0; i < form->n_fields; i++) {
        const shoal_wire_field *f = &form->fields[i];
        if (!f->optional && f->kind != SHOAL_WIRE_LIST && seen[f->number] == 0) return false;
    }
    return true;
}

shoal_status shoal_wire_scan(const shoal_wire_form *form, const void *data, size_t n,
                             shoal_error *err)
{
    if (n > SHOAL_LIMIT_CONTROL) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE,
                          "a %s message of %zu bytes, at most %d are read", form->name, n,
                          SHOAL_LIMIT_CONTROL);
    }
    if (!scan_message(form, shoal_cursor_init(data, n))) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a malformed %s message", form->name);
    }
    return SHOAL_OK;
}
