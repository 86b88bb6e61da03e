/* gguf.h - reads GGUF files (base models and adapters).
 *
 * A file is hostile until read: every count, length, offset and type is checked against the bytes
 * that are really there and against a stated maximum before it is used, so after a successful open
 * all views below are in bounds. Strings and tensor data are views into the file's bytes.
 *
 * The file is mapped read-only and privately. Truncating it while mapped would end the process
 * (SIGBUS): only map files that nobody else writes, such as those under $SHOAL_HOME/models.
 *
 * Source: ggml docs/gguf.md, versions 2 and 3 (little-endian).
 * Layer: lora/model. Threads: immutable after open; read by many.
 */
#ifndef SHOAL_LORA_MODEL_GGUF_H
#define SHOAL_LORA_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/pages.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_GGUF_MAX_KV = 65536,
    SHOAL_GGUF_MAX_TENSORS = 65536,
    SHOAL_GGUF_MAX_KEY = 64 * 1024,
    SHOAL_GGUF_MAX_STRING = 1024 * 1024,
    SHOAL_GGUF_MAX_DIMS = 4,
    SHOAL_GGUF_MAX_ALIGNMENT = 1024 * 1024
};

/* Value types, by their number in the file. */
typedef enum shoal_gguf_vtype {
    SHOAL_GGUF_U8 = 0,
    SHOAL_GGUF_I8 = 1,
    SHOAL_GGUF_U16 = 2,
    SHOAL_GGUF_I16 = 3,
    SHOAL_GGUF_U32 = 4,
    SHOAL_GGUF_I32 = 5,
    SHOAL_GGUF_F32 = 6,
    SHOAL_GGUF_BOOL = 7,
    SHOAL_GGUF_STRING = 8,
    SHOAL_GGUF_ARRAY = 9,
    SHOAL_GGUF_U64 = 10,
    SHOAL_GGUF_I64 = 11,
    SHOAL_GGUF_F64 = 12
} shoal_gguf_vtype;

/* Bytes of a string; not NUL-terminated, may hold NUL. */
typedef struct shoal_str {
    const char *p;
    size_t n;
} shoal_str;

shoal_str shoal_str_of(const char *s);
bool shoal_str_eq(shoal_str a, const char *b);

typedef struct shoal_gguf_kv {
    shoal_str key;
    shoal_gguf_vtype type;
    shoal_gguf_vtype elem; /* element type when type is ARRAY (never ARRAY itself) */
    size_t n;              /* elements; 1 for a scalar */
    const uint8_t *data;   /* encoded value(s), little-endian, possibly unaligned */
    size_t bytes;
} shoal_gguf_kv;

typedef struct shoal_gguf_tensor {
    shoal_str name;
    uint32_t type;                    /* GGUF number; of known size, maybe not computable here */
    size_t n_dims;                    /* 1..4 */
    size_t dims[SHOAL_GGUF_MAX_DIMS]; /* fastest first, as in the file: [N, M] is M rows of N */
    const void *data;                 /* aligned to at least 8 */
    size_t bytes;
} shoal_gguf_tensor;

typedef struct shoal_gguf shoal_gguf;

/* Maps and checks a file. Only regular files. On failure *out is NULL. */
SHOAL_MUST_USE shoal_status shoal_gguf_open(shoal_gguf **out, const char *path, shoal_error *err);

/* The same in pages of a size (shoal_gguf_open: huge ones). */
SHOAL_MUST_USE shoal_status shoal_gguf_open_pages(shoal_gguf **out, const char *path,
                                                  shoal_page_size pages, shoal_error *err);

/* The same over n bytes at `data` (8-byte aligned, as heap memory is), which are borrowed until
 * close. `name` is what errors call the input. */
SHOAL_MUST_USE shoal_status shoal_gguf_open_memory(shoal_gguf **out, const void *data, size_t n,
                                                   const char *name, shoal_error *err);
void shoal_gguf_close(shoal_gguf *g);

/* What errors call this file: its path. */
const char *shoal_gguf_name(const shoal_gguf *g);

/* Where the file is mapped; p NULL for bytes in memory. */
shoal_mapping shoal_gguf_mapping(const shoal_gguf *g);

/* Entries in file order. */
size_t shoal_gguf_kv_count(const shoal_gguf *g);
const shoal_gguf_kv *shoal_gguf_kv_at(const shoal_gguf *g, size_t i);
size_t shoal_gguf_tensor_count(const shoal_gguf *g);
const shoal_gguf_tensor *shoal_gguf_tensor_at(const shoal_gguf *g, size_t i);

/* NULL when there is none of that name. */
const shoal_gguf_kv *shoal_gguf_find(const shoal_gguf *g, const char *key);
const shoal_gguf_tensor *shoal_gguf_find_tensor(const shoal_gguf *g, const char *name);

/* Typed values. A missing key is NOT_FOUND, a value of another type or out of range is FORMAT.
 * get_uint takes any integer type whose value fits [0, max]. */
SHOAL_MUST_USE shoal_status shoal_gguf_get_uint(const shoal_gguf *g, const char *key, uint64_t max,
                                                uint64_t *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_gguf_get_f32(const shoal_gguf *g, const char *key, float *out,
                                               shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_gguf_get_bool(const shoal_gguf *g, const char *key, bool *out,
                                                shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_gguf_get_str(const shoal_gguf *g, const char *key, shoal_str *out,
                                               shoal_error *err);
/* An array whose elements have exactly this type. */
SHOAL_MUST_USE shoal_status shoal_gguf_get_array(const shoal_gguf *g, const char *key,
                                                 shoal_gguf_vtype elem, const shoal_gguf_kv **out,
                                                 shoal_error *err);

/* Element i of a checked I32 / F32 array. */
int32_t shoal_gguf_array_i32(const shoal_gguf_kv *kv, size_t i);
float shoal_gguf_array_f32(const shoal_gguf_kv *kv, size_t i);

/* Walks a checked STRING array front to back. */
typedef struct shoal_gguf_strings {
    const uint8_t *p;
    size_t left; /* strings not yet taken */
} shoal_gguf_strings;
shoal_gguf_strings shoal_gguf_strings_of(const shoal_gguf_kv *kv);
bool shoal_gguf_strings_next(shoal_gguf_strings *it, shoal_str *out);

/* "Q4_1", "Q6_K", ...; "type N" is never returned: unknown types were refused at open. */
const char *shoal_gguf_type_name(uint32_t gguf_type);

/* A tensor as a matrix of exactly rows x cols of a type this build computes with (a vector when
 * rows is 1). NOT_FOUND, FORMAT (shape) or UNSUPPORTED (type), naming the tensor. */
SHOAL_MUST_USE shoal_status shoal_gguf_get_mat(const shoal_gguf *g, const char *name, size_t rows,
                                               size_t cols, shoal_mat *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
