/* quantize.h - rewrites a GGUF model with its matrices in another element type.
 *
 * Tensors are streamed in pieces of a few rows, so memory does not grow with the model. Vectors
 * (norms, biases) and everything that is no matrix of a readable type are copied as they are; the
 * metadata too, except for general.file_type. The output appears under its name only when whole.
 *
 * Layer: lora/compress. Threads: one caller; rows run over the pool.
 */
#ifndef SHOAL_LORA_COMPRESS_QUANTIZE_H
#define SHOAL_LORA_COMPRESS_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/base/threads.h"
#include "kernels/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of the matrices. */
typedef struct shoal_quantize_target {
    bool packed;     /* the packed form of the type a matrix has, without loss; `type` is unused */
    shoal_type type; /* writable, or the packed form of a writable type */
    bool has_head;   /* embedding and output take `head` instead; without it they take Q8_0 where */
    shoal_type head; /* `type` is a block type, P8_0 where it is a packed one, 6 bits beside
                      * an affine one, else `type` */
} shoal_quantize_target;

/* A type by name, or "packed", into *t; UNSUPPORTED with the list of names otherwise. Only a type's
 * name may be given as `head` (or NULL). */
SHOAL_MUST_USE shoal_status shoal_quantize_target_parse(shoal_quantize_target *t, const char *type,
                                                        const char *head, shoal_error *err);

typedef struct shoal_quantize_report {
    uint64_t bytes_in, bytes_out; /* of tensor data */
    size_t changed, copied;       /* tensors */
    size_t fallbacks;             /* matrices whose rows do not fit the type: they took another */
} shoal_quantize_report;

/* Called now and then with the bytes of input tensors done, out of all. */
typedef void shoal_quantize_progress(void *ctx, uint64_t done, uint64_t total);

/* Reads `in`, writes `out` (another file). `pool` may be NULL, `progress` too. A row length that is
 * no multiple of a K type's 256 takes Q5_0 (Q4_K), Q5_1 (Q5_K) or Q8_0 (Q6_K); no multiple of 32
 * takes F16; rows that are no multiple of 8 take the plain form of a packed type. */
SHOAL_MUST_USE shoal_status shoal_quantize_file(const char *in, const char *out,
                                                const shoal_quantize_target *t, shoal_pool *pool,
                                                shoal_quantize_progress *progress, void *ctx,
                                                shoal_quantize_report *report, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
