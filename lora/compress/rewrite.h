/* rewrite.h - streams a GGUF model into a new file whose matrices have other types or values.
 *
 * What quantising and merging share. Tensors pass in pieces of a few rows, so memory does not grow
 * with the model. Vectors (norms, biases) and everything that is no matrix of a readable type are
 * copied as they are; the metadata too, except for general.file_type. The output appears under its
 * name only when whole.
 *
 * Layer: lora/compress. Threads: one caller; rows run over the pool.
 */
#ifndef SHOAL_LORA_COMPRESS_REWRITE_H
#define SHOAL_LORA_COMPRESS_REWRITE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/base/threads.h"
#include "kernels/quant.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_rewrite_report {
    uint64_t bytes_in, bytes_out; /* of tensor data */
    size_t changed, copied;       /* tensors */
    size_t fallbacks;             /* matrices whose rows do not fit the type: they took another */
} shoal_rewrite_report;

/* Called now and then with the bytes of input tensors done, out of all. */
typedef void shoal_rewrite_progress(void *ctx, uint64_t done, uint64_t total);

/* What becomes of the matrices; every function gets `ctx`. */
typedef struct shoal_rewrite_rules {
    /* The type wanted for a matrix of type `from`: writable, the packed form of a writable type, or
     * `from` itself. */
    shoal_type (*type_of)(void *ctx, const shoal_gguf_tensor *t, shoal_type from);
    /* What changes the values of this matrix, handed to edit_row; NULL: they stay. May be NULL. */
    const void *(*edit_of)(void *ctx, const shoal_gguf_tensor *t);
    /* Changes row `index` of n weights in place, before it is quantised. Called from many threads.
     * NULL when edit_of is. */
    void (*edit_row)(const void *edit, size_t index, float *row, size_t n);
    /* A text the output's metadata has under this key, whatever the input has. NULL: none. */
    const char *note_key, *note;
    shoal_rewrite_progress *progress; /* may be NULL */
    void *ctx;
} shoal_rewrite_rules;

/* Reads `in`, writes `out` (another file). `pool` may be NULL. A row length that is no multiple of
 * a K type's 256 takes Q5_0 (Q4_K), Q5_1 (Q5_K) or Q8_0 (Q6_K); no multiple of 32 takes F16; rows
 * that are no multiple of 8 take the plain form of a packed type. UNSUPPORTED, naming the tensor,
 * when the values of a matrix change whose type cannot be written. */
SHOAL_MUST_USE shoal_status shoal_rewrite_file(const char *in, const char *out,
                                               const shoal_rewrite_rules *rules, shoal_pool *pool,
                                               shoal_rewrite_report *report, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
