/* gguf_write.c - encodes GGUF version 3. */
#include "lora/model/gguf_write.h"

#include <string.h>

#include "kernels/base/mem.h"

static const char GGUF_MAGIC[4] = {'G', 'G', 'U', 'F'};

shoal_gguf_writer shoal_gguf_writer_init(size_t max_bytes)
{
    return (shoal_gguf_writer){
        .kv = shoal_buf_init(max_bytes),
        .info = shoal_buf_init(max_bytes),
        .data = shoal_buf_init(max_bytes),
    };
}

void shoal_gguf_writer_clear(shoal_gguf_writer *w)
{
    shoal_buf_clear(&w->kv);
    shoal_buf_clear(&w->info);
    shoal_buf_clear(&w->data);
    w->n_kv = 0;
    w->n_tensors = 0;
    w->announced = 0;
    w->bad_call = false;
}

static void put_string(shoal_buf *b, shoal_str s)
{
    shoal_buf_put_u64(b, s.n);
    shoal_buf_put(b, s.p, s.n);
}

/* Key and type; the value follows. */
static void begin_kv(shoal_gguf_writer *w, const char *key, shoal_gguf_vtype type)
{
    size_t n = strlen(key);
    if (n == 0 || n > SHOAL_GGUF_MAX_KEY || w->n_kv == SHOAL_GGUF_MAX_KV) w->bad_call = true;
    put_string(&w->kv, shoal_str_of(key));
    shoal_buf_put_u32(&w->kv, (uint32_t)type);
    w->n_kv++;
}

void shoal_gguf_put_u32(shoal_gguf_writer *w, const char *key, uint32_t v)
{
    begin_kv(w, key, SHOAL_GGUF_U32);
    shoal_buf_put_u32(&w->kv, v);
}

void shoal_gguf_put_u64(shoal_gguf_writer *w, const char *key, uint64_t v)
{
    begin_kv(w, key, SHOAL_GGUF_U64);
    shoal_buf_put_u64(&w->kv, v);
}

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

void shoal_gguf_put_f32(shoal_gguf_writer *w, const char *key, float v)
{
    begin_kv(w, key, SHOAL_GGUF_F32);
    shoal_buf_put_u32(&w->kv, bits_of(v));
}

void shoal_gguf_put_bool(shoal_gguf_writer *w, const char *key, bool v)
{
    begin_kv(w, key, SHOAL_GGUF_BOOL);
    shoal_buf_put_u8(&w->kv, v ? 1 : 0);
}

void shoal_gguf_put_str(shoal_gguf_writer *w, const char *key, shoal_str v)
{
    if (v.n > SHOAL_GGUF_MAX_STRING) w->bad_call = true;
    begin_kv(w, key, SHOAL_GGUF_STRING);
    put_string(&w->kv, v);
}

/* The array's header; n elements follow. */
static void begin_array(shoal_gguf_writer *w, const char *key, shoal_gguf_vtype elem, size_t n)
{
    begin_kv(w, key, SHOAL_GGUF_ARRAY);
    shoal_buf_put_u32(&w->kv, (uint32_t)elem);
    shoal_buf_put_u64(&w->kv, n);
}

void shoal_gguf_put_strs(shoal_gguf_writer *w, const char *key, const shoal_str *v, size_t n)
{
    begin_array(w, key, SHOAL_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) {
        if (v[i].n > SHOAL_GGUF_MAX_STRING) w->bad_call = true;
        put_string(&w->kv, v[i]);
    }
}

void shoal_gguf_put_i32s(shoal_gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    begin_array(w, key, SHOAL_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) {
        shoal_buf_put_u32(&w->kv, (uint32_t)v[i]);
    }
}

void shoal_gguf_put_bools(shoal_gguf_writer *w, const char *key, const bool *v, size_t n)
{
    begin_array(w, key, SHOAL_GGUF_BOOL, n);
    for (size_t i = 0; i < n; i++) {
        shoal_buf_put_u8(&w->kv, v[i] ? 1 : 0);
    }
}

void shoal_gguf_put_f32s(shoal_gguf_writer *w, const char *key, const float *v, size_t n)
{
    begin_array(w, key, SHOAL_GGUF_F32, n);
    for (size_t i = 0; i < n; i++) {
        shoal_buf_put_u32(&w->kv, bits_of(v[i]));
    }
}

static void pad_to_alignment(shoal_buf *b)
{
    while (b->len % SHOAL_GGUF_ALIGNMENT != 0 && shoal_buf_put_u8(b, 0)) {
    }
}

static void put_header(shoal_gguf_writer *w, shoal_str name, uint32_t type, const size_t *dims,
                       size_t n_dims, uint64_t offset)
{
    if (name.n == 0 || name.n > SHOAL_GGUF_MAX_KEY || w->n_tensors == SHOAL_GGUF_MAX_TENSORS) {
        w->bad_call = true;
    }
    put_string(&w->info, name);
    shoal_buf_put_u32(&w->info, (uint32_t)n_dims);
    for (size_t i = 0; i < n_dims; i++) {
        shoal_buf_put_u64(&w->info, dims[i]);
    }
    shoal_buf_put_u32(&w->info, type);
    shoal_buf_put_u64(&w->info, offset);
    w->n_tensors++;
}

/* Header and data of one tensor; dims fastest first. */
static void put_tensor(shoal_gguf_writer *w, const char *name, shoal_type type, const size_t *dims,
                       size_t n_dims, const void *data, size_t bytes)
{
    if (w->announced > 0) w->bad_call = true;
    put_header(w, shoal_str_of(name), (uint32_t)type, dims, n_dims, w->data.len);
    shoal_buf_put(&w->data, data, bytes);
    pad_to_alignment(&w->data);
}

void shoal_gguf_announce(shoal_gguf_writer *w, shoal_str name, uint32_t type, const size_t *dims,
                         size_t n_dims, size_t bytes)
{
    if (w->data.len > 0 || n_dims == 0 || n_dims > SHOAL_GGUF_MAX_DIMS) {
        w->bad_call = true;
        return;
    }
    put_header(w, name, type, dims, n_dims, w->announced);
    w->announced +=
        (bytes + SHOAL_GGUF_ALIGNMENT - 1) / SHOAL_GGUF_ALIGNMENT * SHOAL_GGUF_ALIGNMENT;
}

void shoal_gguf_put_copy(shoal_gguf_writer *w, const shoal_gguf_kv *kv)
{
    if (w->n_kv == SHOAL_GGUF_MAX_KV) w->bad_call = true;
    put_string(&w->kv, kv->key);
    shoal_buf_put_u32(&w->kv, (uint32_t)kv->type);
    if (kv->type == SHOAL_GGUF_ARRAY) {
        shoal_buf_put_u32(&w->kv, (uint32_t)kv->elem);
        shoal_buf_put_u64(&w->kv, kv->n);
    }
    shoal_buf_put(&w->kv, kv->data, kv->bytes);
    w->n_kv++;
}

void shoal_gguf_put_matrix(shoal_gguf_writer *w, const char *name, shoal_type type, size_t rows,
                           size_t cols, const void *data)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t row_bytes = info == NULL ? 0 : shoal_type_row_bytes(info, cols);
    size_t bytes = 0;
    if (row_bytes == 0 || rows == 0 || !shoal_mul_size(rows, row_bytes, &bytes)) {
        w->bad_call = true;
        return;
    }
    put_tensor(w, name, type, (const size_t[]){cols, rows}, 2, data, bytes);
}

void shoal_gguf_put_vector(shoal_gguf_writer *w, const char *name, const float *data, size_t n)
{
    size_t bytes = 0;
    if (n == 0 || !shoal_mul_size(n, sizeof *data, &bytes)) {
        w->bad_call = true;
        return;
    }
    put_tensor(w, name, SHOAL_TYPE_F32, (const size_t[]){n}, 1, data, bytes);
}

shoal_status shoal_gguf_writer_finish(const shoal_gguf_writer *w, shoal_buf *out, shoal_error *err)
{
    if (w->bad_call) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a key, name or shape does not fit the GGUF format");
    }
    SHOAL_TRY(shoal_buf_status(&w->kv, err));
    SHOAL_TRY(shoal_buf_status(&w->info, err));
    SHOAL_TRY(shoal_buf_status(&w->data, err));
    size_t start = out->len;
    shoal_buf_put(out, GGUF_MAGIC, sizeof GGUF_MAGIC);
    shoal_buf_put_u32(out, 3);
    shoal_buf_put_u64(out, w->n_tensors);
    shoal_buf_put_u64(out, w->n_kv);
    shoal_buf_put(out, w->kv.data, w->kv.len);
    shoal_buf_put(out, w->info.data, w->info.len);
    while ((out->len - start) % SHOAL_GGUF_ALIGNMENT != 0 && shoal_buf_put_u8(out, 0)) {
    }
    shoal_buf_put(out, w->data.data, w->data.len);
    return shoal_buf_status(out, err);
}
