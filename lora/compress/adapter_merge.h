/* adapter_merge.h - writes a model whose weights contain an adapter: W' = W + scale B A.
 *
 * Streamed as rewrite.h says, eight rows at a time over the pool. In the type it had, a matrix is
 * quantised anew from W', which costs a little: what is smaller than half a step of its block is
 * lost. In a wider type next to nothing is.
 *
 * Layer: lora/compress. Threads: one caller; rows run over the pool.
 */
#ifndef SHOAL_LORA_COMPRESS_ADAPTER_MERGE_H
#define SHOAL_LORA_COMPRESS_ADAPTER_MERGE_H

#include <stdbool.h>

#include "lora/compress/rewrite.h"
#include "lora/train/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the adapted matrices become; all others keep type and bytes. */
typedef struct shoal_merge_target {
    bool same;       /* the type each has; `type` is unused */
    shoal_type type; /* writable, or the packed form of a writable type */
} shoal_merge_target;

/* Merges `a`, which was loaded for the model in `in`, into `out` (another file). The output says
 * `note` under the key shoal.merged_adapter. */
SHOAL_MUST_USE shoal_status shoal_adapter_merge(const char *in, const char *out,
                                                const shoal_adapter *a,
                                                const shoal_merge_target *target, const char *note,
                                                shoal_pool *pool, shoal_rewrite_progress *progress,
                                                void *ctx, shoal_rewrite_report *report,
                                                shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
