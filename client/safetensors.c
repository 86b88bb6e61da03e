/* safetensors.c - a bounded reader and a writer. */
#include "client/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/quant.h"

static size_t dtype_bytes(shoal_st_dtype t)
{
    return t == SHOAL_ST_F32 ? 4 : 2;
}

static bool dtype_parse(const char *text, shoal_st_dtype *out)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (shoal_st_dtype)i;
            return true;
        }
    }
    return false;
}

/* A non-negative integer member of an array. */
static bool index_at(const json_t *array, size_t i, size_t *out)
{
    const json_t *v = json_array_get(array, i);
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (size_t)json_integer_value(v);
    return true;
}

static bool read_shape(const json_t *shape, shoal_st_tensor *t)
{
    t->n_dims = json_array_size(shape);
    t->n = 1;
    if (!json_is_array(shape) || t->n_dims > SHOAL_ST_MAX_DIMS) return false;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (!index_at(shape, i, &t->dims[i]) || !shoal_mul_size(t->n, t->dims[i], &t->n)) {
            return false;
        }
    }
    return true;
}

static shoal_status read_tensor(shoal_st_tensor *t, const char *name, const json_t *info,
                                const uint8_t *data, size_t n_data, shoal_error *err)
{
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    const json_t *offsets = json_object_get(info, "data_offsets");
    size_t bytes = 0;
    if (dtype == NULL || !dtype_parse(dtype, &t->dtype)) {
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                          "tensor %.120s: type %.20s is not F32, F16 or "
                          "BF16",
                          name, dtype == NULL ? "(none)" : dtype);
    }
    if (!read_shape(json_object_get(info, "shape"), t) || json_array_size(offsets) != 2 ||
        !index_at(offsets, 0, &t->begin) || !index_at(offsets, 1, &t->end)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "tensor %.120s: bad shape or offsets", name);
    }
    if (t->begin > t->end || t->end > n_data ||
        !shoal_mul_size(t->n, dtype_bytes(t->dtype), &bytes) || bytes != t->end - t->begin) {
        return shoal_fail(err, SHOAL_ERR_FORMAT,
                          "tensor %.120s: its bytes do not fit its shape or "
                          "the file",
                          name);
    }
    t->data = data + t->begin;
    t->name = shoal_strdup(name);
    if (t->name == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    return SHOAL_OK;
}

static int by_offset(const void *a, const void *b)
{
    const shoal_st_tensor *x = a;
    const shoal_st_tensor *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must lie side by side from the first data byte to the last. */
static shoal_status check_cover(shoal_safetensors *s, size_t n_data, shoal_error *err)
{
    size_t at = 0;
    qsort(s->tensors, s->n, sizeof *s->tensors, by_offset);
    for (size_t i = 0; i < s->n; i++) {
        if (s->tensors[i].begin != at) {
            return shoal_fail(err, SHOAL_ERR_FORMAT,
                              "tensor %.120s: overlaps another or leaves a "
                              "hole",
                              s->tensors[i].name);
        }
        at = s->tensors[i].end;
    }
    if (at != n_data) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%zu bytes belong to no tensor", n_data - at);
    }
    return SHOAL_OK;
}

static shoal_status read_header(shoal_safetensors *s, json_t *header, const uint8_t *data,
                                size_t n_data, shoal_error *err)
{
    const char *name = NULL;
    json_t *info = NULL;
    size_t n = json_object_size(header);
    if (n > SHOAL_ST_MAX_TENSORS) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%zu tensors, more than %d", n,
                          SHOAL_ST_MAX_TENSORS);
    }
    s->tensors = shoal_calloc(n + 1, sizeof *s->tensors);
    if (s->tensors == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    json_object_foreach(header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        shoal_st_tensor *t = &s->tensors[s->n];
        SHOAL_TRY(read_tensor(t, name, info, data, n_data, err));
        s->n++;
    }
    return check_cover(s, n_data, err);
}

/* Takes the bytes in s->file. */
static shoal_status parse(shoal_safetensors *s, const char *name, shoal_error *err)
{
    json_t *header = NULL;
    shoal_error why = {0};
    shoal_cursor c = shoal_cursor_init(s->file.data, s->file.len);
    uint64_t n_header = shoal_cursor_u64(&c);
    if (n_header > SHOAL_ST_MAX_HEADER) {
        return shoal_fail(err, SHOAL_ERR_FORMAT,
                          "%.160s: not a safetensors file (header of %llu "
                          "bytes)",
                          name, (unsigned long long)n_header);
    }
    const uint8_t *text = shoal_cursor_bytes(&c, n_header);
    if (text == NULL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%.160s: the file is cut off", name);
    }
    SHOAL_TRY(shoal_json_object(&header, (const char *)text, (size_t)n_header, name, true, err));
    shoal_status st = read_header(s, header, c.p, c.left, &why);
    json_decref(header);
    if (st != SHOAL_OK) return shoal_fail(err, st, "%.100s: %.200s", name, why.msg);
    return SHOAL_OK;
}

shoal_status shoal_safetensors_load(shoal_safetensors *out, const char *path, shoal_error *err)
{
    *out = (shoal_safetensors){0};
    SHOAL_TRY(shoal_file_read(path, SHOAL_ST_MAX_FILE, &out->file, err));
    shoal_status st = parse(out, path, err);
    if (st != SHOAL_OK) shoal_safetensors_clear(out);
    return st;
}

shoal_status shoal_safetensors_decode(shoal_safetensors *out, const void *data, size_t n,
                                      const char *name, shoal_error *err)
{
    *out = (shoal_safetensors){.file = shoal_buf_init(SHOAL_ST_MAX_FILE)};
    shoal_status st = SHOAL_OK;
    if (!shoal_buf_put(&out->file, data, n)) st = shoal_buf_status(&out->file, err);
    if (st == SHOAL_OK) st = parse(out, name, err);
    if (st != SHOAL_OK) shoal_safetensors_clear(out);
    return st;
}

void shoal_safetensors_clear(shoal_safetensors *s)
{
    for (size_t i = 0; i < s->n; i++) {
        shoal_free(s->tensors[i].name);
    }
    shoal_free(s->tensors);
    shoal_buf_clear(&s->file);
    *s = (shoal_safetensors){0};
}

const shoal_st_tensor *shoal_safetensors_find(const shoal_safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->tensors[i].name, name) == 0) return &s->tensors[i];
    }
    return NULL;
}

static float f32_of_bits(uint32_t bits)
{
    float f = 0.0f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void shoal_st_to_f32(const shoal_st_tensor *t, float *out)
{
    shoal_cursor c = shoal_cursor_init(t->data, t->end - t->begin);
    for (size_t i = 0; i < t->n; i++) {
        switch (t->dtype) {
        case SHOAL_ST_F32: out[i] = f32_of_bits(shoal_cursor_u32(&c)); break;
        case SHOAL_ST_F16: out[i] = shoal_f16_to_f32(shoal_cursor_u16(&c)); break;
        case SHOAL_ST_BF16: out[i] = f32_of_bits((uint32_t)shoal_cursor_u16(&c) << 16); break;
        }
    }
}

static bool put_header(shoal_buf *header, const shoal_st_entry *entries, size_t n)
{
    size_t at = 0;
    shoal_buf_putf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        const shoal_st_entry *e = &entries[i];
        size_t bytes = 4 * e->rows * e->cols;
        shoal_buf_putf(header,
                       ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]}",
                       e->name, e->rows, e->cols, at, at + bytes);
        at += bytes;
    }
    shoal_buf_put_u8(header, '}');
    while (header->len % 8 != 0 && !header->failed) {
        shoal_buf_put_u8(header, ' '); /* aligns the data */
    }
    return !header->failed;
}

shoal_status shoal_safetensors_encode(const shoal_st_entry *entries, size_t n, shoal_buf *out,
                                      shoal_error *err)
{
    shoal_buf header = shoal_buf_init(SHOAL_ST_MAX_HEADER);
    if (put_header(&header, entries, n)) {
        shoal_buf_put_u64(out, header.len);
        shoal_buf_put(out, header.data, header.len);
    }
    shoal_status st = shoal_buf_status(&header, err);
    shoal_buf_clear(&header);
    for (size_t i = 0; i < n && st == SHOAL_OK; i++) {
        size_t count = entries[i].rows * entries[i].cols;
        for (size_t k = 0; k < count; k++) {
            uint32_t bits = 0;
            memcpy(&bits, &entries[i].data[k], sizeof bits);
            shoal_buf_put_u32(out, bits);
        }
        st = shoal_buf_status(out, err);
    }
    return st == SHOAL_OK ? shoal_buf_status(out, err) : st;
}
