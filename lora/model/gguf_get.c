/* gguf_get.c - typed access to the values and tensors of an opened GGUF file. */
#include "lora/model/gguf.h"

#include <string.h>

#include "kernels/base/buf.h"

static shoal_status missing(const shoal_gguf *g, const char *what, const char *key,
                            shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_NOT_FOUND, "%s: has no %s '%s'", shoal_gguf_name(g), what,
                      key);
}

static shoal_status wrong(const shoal_gguf *g, const char *key, const char *want, shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: '%s' is not %s", shoal_gguf_name(g), key, want);
}

static uint64_t sign_extend(uint64_t v, unsigned bits)
{
    uint64_t sign = (uint64_t)1 << (bits - 1);
    return (v ^ sign) - sign;
}

/* The scalar as a 64-bit integer; *negative when a signed one is below zero. */
static bool read_integer(const shoal_gguf_kv *kv, uint64_t *out, bool *negative)
{
    shoal_cursor c = shoal_cursor_init(kv->data, kv->bytes);
    bool is_signed = false;
    switch (kv->type) {
    case SHOAL_GGUF_U8: *out = shoal_cursor_u8(&c); break;
    case SHOAL_GGUF_U16: *out = shoal_cursor_u16(&c); break;
    case SHOAL_GGUF_U32: *out = shoal_cursor_u32(&c); break;
    case SHOAL_GGUF_U64: *out = shoal_cursor_u64(&c); break;
    case SHOAL_GGUF_I8:
        *out = sign_extend(shoal_cursor_u8(&c), 8);
        is_signed = true;
        break;
    case SHOAL_GGUF_I16:
        *out = sign_extend(shoal_cursor_u16(&c), 16);
        is_signed = true;
        break;
    case SHOAL_GGUF_I32:
        *out = sign_extend(shoal_cursor_u32(&c), 32);
        is_signed = true;
        break;
    case SHOAL_GGUF_I64:
        *out = shoal_cursor_u64(&c);
        is_signed = true;
        break;
    default: return false;
    }
    *negative = is_signed && (*out >> 63) != 0;
    return true;
}

shoal_status shoal_gguf_get_uint(const shoal_gguf *g, const char *key, uint64_t max, uint64_t *out,
                                 shoal_error *err)
{
    const shoal_gguf_kv *kv = shoal_gguf_find(g, key);
    if (kv == NULL) return missing(g, "key", key, err);
    uint64_t v = 0;
    bool negative = false;
    if (!read_integer(kv, &v, &negative)) return wrong(g, key, "an integer", err);
    if (negative || v > max) return wrong(g, key, "in its range", err);
    *out = v;
    return SHOAL_OK;
}

static float bits_to_f32(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

shoal_status shoal_gguf_get_f32(const shoal_gguf *g, const char *key, float *out, shoal_error *err)
{
    const shoal_gguf_kv *kv = shoal_gguf_find(g, key);
    if (kv == NULL) return missing(g, "key", key, err);
    if (kv->type != SHOAL_GGUF_F32) return wrong(g, key, "a 32-bit float", err);
    shoal_cursor c = shoal_cursor_init(kv->data, kv->bytes);
    *out = bits_to_f32(shoal_cursor_u32(&c));
    return SHOAL_OK;
}

shoal_status shoal_gguf_get_bool(const shoal_gguf *g, const char *key, bool *out, shoal_error *err)
{
    const shoal_gguf_kv *kv = shoal_gguf_find(g, key);
    if (kv == NULL) return missing(g, "key", key, err);
    if (kv->type != SHOAL_GGUF_BOOL || kv->data[0] > 1) return wrong(g, key, "a truth value", err);
    *out = kv->data[0] == 1;
    return SHOAL_OK;
}

shoal_status shoal_gguf_get_str(const shoal_gguf *g, const char *key, shoal_str *out,
                                shoal_error *err)
{
    const shoal_gguf_kv *kv = shoal_gguf_find(g, key);
    if (kv == NULL) return missing(g, "key", key, err);
    if (kv->type != SHOAL_GGUF_STRING) return wrong(g, key, "a string", err);
    shoal_gguf_strings it = shoal_gguf_strings_of(kv);
    (void)shoal_gguf_strings_next(&it, out);
    return SHOAL_OK;
}

shoal_status shoal_gguf_get_array(const shoal_gguf *g, const char *key, shoal_gguf_vtype elem,
                                  const shoal_gguf_kv **out, shoal_error *err)
{
    const shoal_gguf_kv *kv = shoal_gguf_find(g, key);
    if (kv == NULL) return missing(g, "key", key, err);
    if (kv->type != SHOAL_GGUF_ARRAY || kv->elem != elem) {
        return wrong(g, key, "an array of the right type", err);
    }
    *out = kv;
    return SHOAL_OK;
}

static uint32_t array_u32(const shoal_gguf_kv *kv, size_t i)
{
    const uint8_t *p = kv->data + i * sizeof(uint32_t);
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int32_t shoal_gguf_array_i32(const shoal_gguf_kv *kv, size_t i)
{
    return (int32_t)array_u32(kv, i);
}

float shoal_gguf_array_f32(const shoal_gguf_kv *kv, size_t i)
{
    return bits_to_f32(array_u32(kv, i));
}

shoal_gguf_strings shoal_gguf_strings_of(const shoal_gguf_kv *kv)
{
    return (shoal_gguf_strings){kv->data, kv->n};
}

/* Lengths were checked when the file was opened. */
bool shoal_gguf_strings_next(shoal_gguf_strings *it, shoal_str *out)
{
    if (it->left == 0) return false;
    shoal_cursor c = shoal_cursor_init(it->p, sizeof(uint64_t));
    size_t n = (size_t)shoal_cursor_u64(&c);
    *out = (shoal_str){(const char *)it->p + sizeof(uint64_t), n};
    it->p += sizeof(uint64_t) + n;
    it->left--;
    return true;
}

shoal_status shoal_gguf_get_mat(const shoal_gguf *g, const char *name, size_t rows, size_t cols,
                                shoal_mat *out, shoal_error *err)
{
    const shoal_gguf_tensor *t = shoal_gguf_find_tensor(g, name);
    if (t == NULL) return missing(g, "tensor", name, err);
    size_t have_rows = 1;
    for (size_t i = 1; i < t->n_dims; i++) {
        have_rows *= t->dims[i]; /* the product was checked at open */
    }
    if (t->dims[0] != cols || have_rows != rows || (t->n_dims > 2 && t->dims[1] != rows)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: tensor '%s' is %zu x %zu, expected %zu x %zu",
                          shoal_gguf_name(g), name, have_rows, t->dims[0], rows, cols);
    }
    const shoal_type_info *info = shoal_type_get(t->type);
    if (info == NULL) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: tensor '%s' has type %s",
                         shoal_gguf_name(g), name, shoal_gguf_type_name(t->type));
        shoal_hint(err, "use a file with types F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K "
                        "... Q6_K or IQ4_NL");
        return SHOAL_ERR_UNSUPPORTED;
    }
    if (rows % info->group != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT,
                          "%s: tensor '%s' is %s, but %zu rows are no multiple of %zu",
                          shoal_gguf_name(g), name, info->name, rows, info->group);
    }
    *out = (shoal_mat){t->data, info->type, rows, cols, shoal_type_row_bytes(info, cols)};
    return SHOAL_OK;
}
