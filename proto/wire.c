/* wire.c - plain structs <-> protobuf; the only user of the generated code.
 *
 * The generated structs describe themselves (ProtobufCMessageDescriptor), so one pair of functions
 * copies every message, field by field, as the tables of wire_form.c say. */
#include "proto/wire.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "proto/sa_label.h"
#include "proto/wire_form.h"
#include "shoal.pb-c.h"

/* ---- memory under a budget ---- */

typedef struct budget {
    size_t left;
    bool exhausted; /* an allocation did not succeed */
} budget;

static void *budget_alloc(void *ctx, size_t n)
{
    budget *b = ctx;
    void *p = n <= b->left ? shoal_calloc(1, n) : NULL;
    if (p == NULL) {
        b->exhausted = true;
        return NULL;
    }
    b->left -= n;
    return p;
}

static void budget_free(void *ctx, void *p)
{
    (void)ctx;
    shoal_free(p);
}

/* ---- plain -> generated ---- */

static uint32_t read_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0) {
        n--;
    }
    return n == 0;
}

static ProtobufCMessage *build(const shoal_wire_form *form, const ProtobufCMessageDescriptor *d,
                               const uint8_t *plain, ProtobufCAllocator *a);

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *d, ProtobufCAllocator *a)
{
    ProtobufCMessage *m = a->alloc(a->allocator_data, d->sizeof_message);
    if (m != NULL) {
        protobuf_c_message_init(d, m);
    }
    return m;
}

/* bytes and text, by value copy, so that protobuf_c_message_free_unpacked frees the whole tree */
static bool set_bytes(const shoal_wire_field *f, const uint8_t *plain, uint8_t *dst,
                      ProtobufCAllocator *a)
{
    const uint8_t *src = plain + f->offset;
    size_t n = (size_t)f->max;
    if (f->kind == SHOAL_WIRE_VAR) {
        n = read_u32(plain + f->count_offset);
    } else if (f->kind == SHOAL_WIRE_TEXT) {
        const uint8_t *end = memchr(src, 0, n);
        if (end == NULL) return false;
        n = (size_t)(end - src);
    }
    if (n > f->max) return false;
    uint8_t *copy = a->alloc(a->allocator_data, n + 1);
    if (copy == NULL) return false;
    memcpy(copy, src, n);
    if (f->kind == SHOAL_WIRE_TEXT) {
        char *text = (char *)copy;
        memcpy(dst, &text, sizeof text);
    } else {
        ProtobufCBinaryData value = {.len = n, .data = copy};
        memcpy(dst, &value, sizeof value);
    }
    return true;
}

static bool set_message(const shoal_wire_field *f, const ProtobufCFieldDescriptor *pf,
                        const uint8_t *plain, uint8_t *dst, ProtobufCAllocator *a)
{
    const uint8_t *src = plain + f->offset;
    if (f->optional && all_zero(src, f->sub->bytes)) return true;
    ProtobufCMessage *m = build(f->sub, pf->descriptor, src, a);
    memcpy(dst, &m, sizeof m);
    return m != NULL;
}

static bool set_list(const shoal_wire_field *f, const ProtobufCFieldDescriptor *pf,
                     const uint8_t *plain, uint8_t *msg, ProtobufCAllocator *a)
{
    size_t n = read_u32(plain + f->count_offset);
    if (n > f->max) return false;
    if (n == 0) return true;
    ProtobufCMessage **list = a->alloc(a->allocator_data, n * sizeof(ProtobufCMessage *));
    if (list == NULL) return false;
    /* The list is hooked in first and grows entry by entry, so that a failure frees all of it. */
    memcpy(msg + pf->offset, &list, sizeof list);
    for (size_t i = 0; i < n; i++) {
        list[i] = build(f->sub, pf->descriptor, plain + f->offset + i * f->sub->bytes, a);
        if (list[i] == NULL) return false;
        size_t done = i + 1;
        memcpy(msg + pf->quantifier_offset, &done, sizeof done);
    }
    return true;
}

static bool set_field(const shoal_wire_field *f, const ProtobufCFieldDescriptor *pf,
                      const uint8_t *plain, uint8_t *msg, ProtobufCAllocator *a)
{
    uint8_t *dst = msg + pf->offset;
    switch (f->kind) {
    case SHOAL_WIRE_U32:
    case SHOAL_WIRE_F32: memcpy(dst, plain + f->offset, 4); return true;
    case SHOAL_WIRE_U64: memcpy(dst, plain + f->offset, 8); return true;
    case SHOAL_WIRE_BOOL: {
        protobuf_c_boolean value = plain[f->offset] != 0;
        memcpy(dst, &value, sizeof value);
        return true;
    }
    case SHOAL_WIRE_FIXED:
    case SHOAL_WIRE_VAR:
    case SHOAL_WIRE_TEXT: return set_bytes(f, plain, dst, a);
    case SHOAL_WIRE_MESSAGE: return set_message(f, pf, plain, dst, a);
    case SHOAL_WIRE_LIST: return set_list(f, pf, plain, msg, a);
    }
    return false;
}

static ProtobufCMessage *build(const shoal_wire_form *form, const ProtobufCMessageDescriptor *d,
                               const uint8_t *plain, ProtobufCAllocator *a)
{
    ProtobufCMessage *m = new_message(d, a);
    bool ok = m != NULL;
    for (size_t i = 0; ok && i < form->n_fields; i++) {
        const ProtobufCFieldDescriptor *pf =
            protobuf_c_message_descriptor_get_field(d, form->fields[i].number);
        ok = pf != NULL && set_field(&form->fields[i], pf, plain, (uint8_t *)m, a);
    }
    if (!ok && m != NULL) {
        protobuf_c_message_free_unpacked(m, a);
        return NULL;
    }
    return m;
}

/* ---- generated -> plain ---- */

static void take_message(const shoal_wire_form *form, const ProtobufCMessage *m, uint8_t *plain);

/* Lengths were checked by the scan. */
static void take_bytes(const shoal_wire_field *f, const uint8_t *src, uint8_t *plain)
{
    if (f->kind == SHOAL_WIRE_TEXT) {
        const char *text;
        memcpy(&text, src, sizeof text);
        memcpy(plain + f->offset, text, strlen(text) + 1);
        return;
    }
    ProtobufCBinaryData value;
    memcpy(&value, src, sizeof value);
    if (value.len > 0) {
        memcpy(plain + f->offset, value.data, value.len);
    }
    if (f->kind == SHOAL_WIRE_VAR) {
        uint32_t n = (uint32_t)value.len;
        memcpy(plain + f->count_offset, &n, sizeof n);
    }
}

static void take_list(const shoal_wire_field *f, const ProtobufCFieldDescriptor *pf,
                      const uint8_t *msg, uint8_t *plain)
{
    size_t n;
    ProtobufCMessage **list;
    memcpy(&n, msg + pf->quantifier_offset, sizeof n);
    memcpy(&list, msg + pf->offset, sizeof list);
    uint32_t count = (uint32_t)n;
    memcpy(plain + f->count_offset, &count, sizeof count);
    for (size_t i = 0; i < n; i++) {
        take_message(f->sub, list[i], plain + f->offset + i * f->sub->bytes);
    }
}

static void take_field(const shoal_wire_field *f, const ProtobufCFieldDescriptor *pf,
                       const uint8_t *msg, uint8_t *plain)
{
    const uint8_t *src = msg + pf->offset;
    switch (f->kind) {
    case SHOAL_WIRE_U32:
    case SHOAL_WIRE_F32: memcpy(plain + f->offset, src, 4); return;
    case SHOAL_WIRE_U64: memcpy(plain + f->offset, src, 8); return;
    case SHOAL_WIRE_BOOL: {
        protobuf_c_boolean value;
        memcpy(&value, src, sizeof value);
        bool flag = value != 0;
        memcpy(plain + f->offset, &flag, sizeof flag);
        return;
    }
    case SHOAL_WIRE_FIXED:
    case SHOAL_WIRE_VAR:
    case SHOAL_WIRE_TEXT: take_bytes(f, src, plain); return;
    case SHOAL_WIRE_MESSAGE: {
        const ProtobufCMessage *sub;
        memcpy(&sub, src, sizeof sub);
        if (sub != NULL) take_message(f->sub, sub, plain + f->offset);
        return;
    }
    case SHOAL_WIRE_LIST: take_list(f, pf, msg, plain); return;
    }
}

static void take_message(const shoal_wire_form *form, const ProtobufCMessage *m, uint8_t *plain)
{
    for (size_t i = 0; i < form->n_fields; i++) {
        const ProtobufCFieldDescriptor *pf =
            protobuf_c_message_descriptor_get_field(m->descriptor, form->fields[i].number);
        if (pf != NULL) take_field(&form->fields[i], pf, (const uint8_t *)m, plain);
    }
}

/* ---- encode and decode ---- */

enum { BUDGET_BASE = 64 * 1024, BUDGET_FACTOR = 4 };

static shoal_status pack_message(const ProtobufCMessage *m, shoal_buf *out, shoal_error *err)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *dst = shoal_buf_reserve(out, n);
    if (dst == NULL) return shoal_buf_status(out, err);
    out->len += protobuf_c_message_pack(m, dst);
    out->data[out->len] = 0;
    return SHOAL_OK;
}

static shoal_status encode(const shoal_wire_form *form, const ProtobufCMessageDescriptor *d,
                           const void *plain, shoal_buf *out, shoal_error *err)
{
    budget b = {.left = BUDGET_BASE + BUDGET_FACTOR * SHOAL_LIMIT_CONTROL};
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &b};
    size_t start = out->len;
    ProtobufCMessage *m = build(form, d, plain, &a);
    if (m == NULL) {
        if (b.exhausted) {
            return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot write a %s message", form->name);
        }
        return shoal_fail(err, SHOAL_ERR_ARG, "a field of a %s message is too long", form->name);
    }
    shoal_status st = pack_message(m, out, err);
    protobuf_c_message_free_unpacked(m, &a);
    /* What we send must pass our own reader. */
    if (st == SHOAL_OK &&
        shoal_wire_scan(form, out->data + start, out->len - start, NULL) != SHOAL_OK) {
        out->len = start;
        st = shoal_fail(err, SHOAL_ERR_ARG, "a field of a %s message is out of range", form->name);
    }
    return st;
}

static shoal_status decode(const shoal_wire_form *form, const ProtobufCMessageDescriptor *d,
                           const void *data, size_t n, void *plain, shoal_error *err)
{
    memset(plain, 0, form->bytes);
    SHOAL_TRY(shoal_wire_scan(form, data, n, err));
    budget b = {.left = BUDGET_BASE + BUDGET_FACTOR * n};
    ProtobufCAllocator a = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &b};
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &a, n, data);
    if (m == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot read a %s message", form->name);
    take_message(form, m, plain);
    protobuf_c_message_free_unpacked(m, &a);
    return SHOAL_OK;
}

#define SHOAL_WIRE_DEFINE(name)                                                                   \
    shoal_status shoal_##name##_encode(const shoal_##name *m, shoal_buf *out, shoal_error *err)   \
    {                                                                                             \
        return encode(&shoal_##name##_form, &shoal__pb__##name##__descriptor, m, out, err);       \
    }                                                                                             \
    shoal_status shoal_##name##_decode(const void *data, size_t n, shoal_##name *out,             \
                                       shoal_error *err)                                          \
    {                                                                                             \
        return decode(&shoal_##name##_form, &shoal__pb__##name##__descriptor, data, n, out, err); \
    }
SHOAL_WIRE_MESSAGES(SHOAL_WIRE_DEFINE)

/* ---- releases and errors ---- */

/* Spec 4.4 */
static shoal_status release_body(const shoal_adapter_release *r, shoal_buf *out, shoal_error *err)
{
    (void)shoal_buf_put(out, r->task_id, sizeof r->task_id);
    (void)shoal_buf_put_u64(out, r->version);
    (void)shoal_buf_put_u64(out, r->round);
    (void)shoal_buf_put(out, r->sha256, 32);
    (void)shoal_buf_put_u64(out, r->size);
    (void)shoal_buf_put(out, r->base_sha256, 32);
    (void)shoal_buf_put(out, r->previous_sha256, 32);
    return shoal_buf_status(out, err);
}

shoal_status shoal_release_sign(shoal_adapter_release *r, const shoal_key *task_key,
                                shoal_error *err)
{
    shoal_buf body = shoal_buf_init(256);
    shoal_status st = release_body(r, &body, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_sign(task_key, "shoal/release", NULL, body.data, body.len, r->signature, err);
    }
    shoal_buf_clear(&body);
    return st;
}

shoal_status shoal_release_verify(const shoal_adapter_release *r,
                                  const uint8_t task_spki[SHOAL_SPKI_BYTES], shoal_error *err)
{
    shoal_buf body = shoal_buf_init(256);
    shoal_status st = release_body(r, &body, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_verify(task_spki, "shoal/release", NULL, body.data, body.len, r->signature,
                             err);
    }
    shoal_buf_clear(&body);
    return st;
}

int shoal_error_http(shoal_error_code code)
{
    switch (code) {
    case SHOAL_CODE_BAD_REQUEST: return 400;
    case SHOAL_CODE_UNAUTHORISED: return 401;
    case SHOAL_CODE_FORBIDDEN: return 403;
    case SHOAL_CODE_NOT_FOUND: return 404;
    case SHOAL_CODE_CONFLICT: return 409;
    case SHOAL_CODE_GONE: return 410;
    case SHOAL_CODE_TOO_LARGE: return 413;
    case SHOAL_CODE_TOO_EARLY: return 425;
    case SHOAL_CODE_BUSY: return 503;
    case SHOAL_CODE_INTERNAL: return 500;
    case SHOAL_CODE_VERSION: return 400;
    case SHOAL_CODE_TAMPERED: return 422;
    }
    return 500;
}
