/* quantize.h - rewrites a GGUF model with its matrices in another element type.
 *
 * Streamed as rewrite.h says: memory does not grow with the model, and vectors stay as they are.
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
#include "lora/compress/rewrite.h"

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

/* Reads `in`, writes `out` (another file). `pool` may be NULL, `progress` too. */
SHOAL_MUST_USE shoal_status shoal_quantize_file(const char *in, const char *out,
                                                const shoal_quantize_target *t, shoal_pool *pool,
                                                shoal_rewrite_progress *progress, void *ctx,
                                                shoal_rewrite_report *report, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
