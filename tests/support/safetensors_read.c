/* safetensors_read.c - see safetensors_read.h. */
#include "tests/support/safetensors_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

struct safetensors {
    shoal_buf file;
    json_t *header;
    float *data; /* aligned copy of everything after the header */
    size_t n;    /* floats in data */
};

safetensors *safetensors_open(const char *path)
{
    shoal_error err = {0};
    safetensors *s = shoal_calloc(1, sizeof *s);
    assert_non_null(s);
    if (shoal_file_read(path, (size_t)1 << 30, &s->file, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    shoal_cursor c = shoal_cursor_init(s->file.data, s->file.len);
    uint64_t header_bytes = shoal_cursor_u64(&c);
    const uint8_t *header = shoal_cursor_bytes(&c, header_bytes);
    assert_non_null(header);
    s->header = json_loadb((const char *)header, (size_t)header_bytes, 0, NULL);
    assert_non_null(s->header);
    s->n = c.left / sizeof(float);
    s->data = shoal_alloc(c.left);
    assert_non_null(s->data);
    memcpy(s->data, c.p, s->n * sizeof(float));
    return s;
}

void safetensors_close(safetensors *s)
{
    shoal_buf_clear(&s->file);
    json_decref(s->header);
    shoal_free(s->data);
    shoal_free(s);
}

/* Where n elements of `size` bytes begin, in bytes after the header. */
static size_t find(const safetensors *s, const char *name, const char *dtype, size_t n, size_t size)
{
    json_t *entry = json_object_get(s->header, name);
    if (entry == NULL) {
        fail_msg("no tensor %s", name);
    }
    json_t *offsets = json_object_get(entry, "data_offsets");
    assert_string_equal(json_string_value(json_object_get(entry, "dtype")), dtype);
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    assert_int_equal(end - begin, n * size);
    assert_true(end <= s->n * sizeof *s->data);
    return begin;
}

const float *safetensors_get(const safetensors *s, const char *name, size_t n)
{
    return s->data + find(s, name, "F32", n, sizeof(float)) / sizeof(float);
}

void safetensors_read_i16(const safetensors *s, const char *name, int16_t *out, size_t n)
{
    const char *data = (const char *)s->data;
    memcpy(out, data + find(s, name, "I16", n, sizeof *out), n * sizeof *out);
}

static const float *get_side(const safetensors *s, size_t layer, shoal_proj p, char side, size_t n)
{
    char name[128];
    const char *group = p < SHOAL_PROJ_GATE ? "self_attn" : "mlp";
    (void)snprintf(name, sizeof name, "base_model.model.model.layers.%zu.%s.%s.lora_%c.weight",
                   layer, group, shoal_proj_peft_name(p), side);
    return safetensors_get(s, name, n);
}

void safetensors_read_peft(const safetensors *s, const shoal_adapter *a, float *params)
{
    const shoal_config *c = &a->cfg;
    for (size_t i = 0; i < c->n_layer * SHOAL_N_PROJ; i++) {
        const shoal_lora_pair *pair = &a->pairs[i];
        shoal_proj p = (shoal_proj)(i % SHOAL_N_PROJ);
        size_t rows = 0;
        size_t cols = 0;
        if (pair->a == NULL) {
            continue;
        }
        shoal_config_proj_shape(c, p, &rows, &cols);
        float *to_a = params + (pair->a - a->params);
        float *to_b = params + (pair->b - a->params);
        const float *from_a = get_side(s, i / SHOAL_N_PROJ, p, 'A', pair->rank * cols);
        const float *from_b = get_side(s, i / SHOAL_N_PROJ, p, 'B', rows * pair->rank);
        memcpy(to_a, from_a, pair->rank * cols * sizeof *to_a);
        if (p == SHOAL_PROJ_Q || p == SHOAL_PROJ_K) {
            shoal_rope_rows_from_peft(from_b, to_b, rows / c->head_dim, c->head_dim, pair->rank);
        } else {
            memcpy(to_b, from_b, rows * pair->rank * sizeof *to_b);
        }
    }
}
