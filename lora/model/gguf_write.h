/* gguf_write.h - writes GGUF version 3: adapters, and the tiny models of the tests.
 *
 * Key-values and tensors appear in the order of the calls; the same calls give the same bytes.
 * Failures (a limit, memory, a bad argument) are sticky and reported once, by finish.
 *
 * Layer: lora/model. Threads: one owner.
 */
#ifndef SHOAL_LORA_MODEL_GGUF_WRITE_H
#define SHOAL_LORA_MODEL_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_GGUF_ALIGNMENT = 32 };

typedef struct shoal_gguf_writer {
    shoal_buf kv;   /* encoded key-values */
    shoal_buf info; /* encoded tensor headers */
    shoal_buf data; /* tensor bytes, each tensor padded to the alignment */
    uint64_t n_kv;
    uint64_t n_tensors;
    uint64_t announced; /* bytes of announced tensors, padded */
    bool bad_call;      /* a key, name, shape or size that no reader would accept */
} shoal_gguf_writer;

/* An empty writer whose parts will never hold more than max_bytes each. */
shoal_gguf_writer shoal_gguf_writer_init(size_t max_bytes);
void shoal_gguf_writer_clear(shoal_gguf_writer *w);

void shoal_gguf_put_u32(shoal_gguf_writer *w, const char *key, uint32_t v);
void shoal_gguf_put_u64(shoal_gguf_writer *w, const char *key, uint64_t v);
void shoal_gguf_put_f32(shoal_gguf_writer *w, const char *key, float v);
void shoal_gguf_put_bool(shoal_gguf_writer *w, const char *key, bool v);
void shoal_gguf_put_str(shoal_gguf_writer *w, const char *key, shoal_str v);
void shoal_gguf_put_strs(shoal_gguf_writer *w, const char *key, const shoal_str *v, size_t n);
void shoal_gguf_put_i32s(shoal_gguf_writer *w, const char *key, const int32_t *v, size_t n);
void shoal_gguf_put_bools(shoal_gguf_writer *w, const char *key, const bool *v, size_t n);
void shoal_gguf_put_f32s(shoal_gguf_writer *w, const char *key, const float *v, size_t n);

/* A tensor of M rows of N weights (n_dims 2) or a vector of N (rows 1, n_dims 1). `data` holds
 * rows * row_bytes bytes in the type's layout and is copied. */
void shoal_gguf_put_matrix(shoal_gguf_writer *w, const char *name, shoal_type type, size_t rows,
                           size_t cols, const void *data);
void shoal_gguf_put_vector(shoal_gguf_writer *w, const char *name, const float *data, size_t n);

/* A key-value of another file, as it is. */
void shoal_gguf_put_copy(shoal_gguf_writer *w, const shoal_gguf_kv *kv);

/* For files too large for memory: announces a tensor of `bytes` bytes, without its data. After all
 * are announced, finish appends everything up to the first tensor's data; the data follow in order,
 * each padded with zeros to SHOAL_GGUF_ALIGNMENT. Not mixed with put_matrix and put_vector. */
void shoal_gguf_announce(shoal_gguf_writer *w, shoal_str name, uint32_t type, const size_t *dims,
                         size_t n_dims, size_t bytes);

/* Appends the whole file to `out`. The writer may be cleared afterwards. */
SHOAL_MUST_USE shoal_status shoal_gguf_writer_finish(const shoal_gguf_writer *w, shoal_buf *out,
                                                     shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
