/* safetensors.h - reads and writes safetensors files (the tensors of PEFT adapters).
 *
 * Layout: u64 header length, a JSON object {name: {"dtype","shape","data_offsets":[begin,end]}},
 * then the bytes. As the format demands, the tensors must cover the data without holes or overlaps.
 * Source: github.com/huggingface/safetensors, README "Format".
 *
 * Layer: client. Threads: immutable after open.
 */
#ifndef SHOAL_CLIENT_SAFETENSORS_H
#define SHOAL_CLIENT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_ST_MAX_HEADER = 8 << 20, /* bytes of JSON */
    SHOAL_ST_MAX_TENSORS = 65536,
    SHOAL_ST_MAX_DIMS = 4
};
#define SHOAL_ST_MAX_FILE ((size_t)2 << 30)

typedef enum shoal_st_dtype { SHOAL_ST_F32, SHOAL_ST_F16, SHOAL_ST_BF16 } shoal_st_dtype;

typedef struct shoal_st_tensor {
    char *name; /* owned, NUL-terminated */
    shoal_st_dtype dtype;
    size_t n_dims;
    size_t dims[SHOAL_ST_MAX_DIMS];
    size_t n;            /* elements */
    const uint8_t *data; /* little-endian, maybe unaligned */
    size_t begin, end;   /* offsets within the data */
} shoal_st_tensor;

typedef struct shoal_safetensors {
    shoal_buf file;
    shoal_st_tensor *tensors; /* [n], in order of their data */
    size_t n;
} shoal_safetensors;

/* Reads a file whole. On failure *out is empty. `out` need not be initialised. */
SHOAL_MUST_USE shoal_status shoal_safetensors_load(shoal_safetensors *out, const char *path,
                                                   shoal_error *err);
/* The same from bytes, which are copied; `name` is for messages. */
SHOAL_MUST_USE shoal_status shoal_safetensors_decode(shoal_safetensors *out, const void *data,
                                                     size_t n, const char *name, shoal_error *err);
void shoal_safetensors_clear(shoal_safetensors *s);

/* NULL when there is none of that name. */
const shoal_st_tensor *shoal_safetensors_find(const shoal_safetensors *s, const char *name);

/* All values as f32; out [t->n]. */
void shoal_st_to_f32(const shoal_st_tensor *t, float *out);

/* One f32 matrix to be written. */
typedef struct shoal_st_entry {
    const char *name;
    size_t rows, cols;
    const float *data; /* [rows, cols] */
} shoal_st_entry;

/* Appends a file with these tensors in this order and {"format":"pt"} as metadata. Names must be
 * plain ASCII without quotes and backslashes. */
SHOAL_MUST_USE shoal_status shoal_safetensors_encode(const shoal_st_entry *entries, size_t n,
                                                     shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
