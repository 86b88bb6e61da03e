/* train_fit.h - what `shoal train` makes smaller, in which order, when its memory is bounded.
 *
 * The plan (lora/train/plan.h) gives up what does not show in the result. Where that is not enough
 * the run itself becomes smaller, in halves, until it fits:
 *   1. rows of a micro-batch, down to the longest conversation: the same gradient in more pieces
 *   2. the adapted layers, from the bottom up, down to two
 *   3. the longest conversation, down to 64 tokens: longer ones are split
 * The last two are choices that a user may have made: then they hold, and the plan's refusal says
 * which bound would do. What was chosen goes into checkpoints, because a resumed run must choose
 * alike whatever is resident then.
 *
 * Layer: client. Threads: pure functions.
 */
#ifndef SHOAL_CLIENT_TRAIN_FIT_H
#define SHOAL_CLIENT_TRAIN_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_train_fit {
    uint64_t rows;   /* most rows of a micro-batch; 0: what a batch fills, up to ctx */
    uint64_t layers; /* adapted, from the top; 0: as the options say */
    uint64_t ctx;    /* tokens of the longest conversation; 0: as the options say */
} shoal_train_fit;

/* What the refused run was. */
typedef struct shoal_train_size {
    uint64_t rows, longest; /* of a micro-batch; of the longest conversation */
    uint64_t layers, ctx;
    bool layers_fixed, ctx_fixed; /* by the user */
} shoal_train_size;

/* The next smaller run; false when there is none. */
bool shoal_train_fit_less(shoal_train_fit *fit, const shoal_train_size *now);

/* For a person: what was made smaller; nothing where nothing was. */
void shoal_train_fit_tell(const shoal_train_fit *fit);

/* At the beginning of a checkpoint's notes, and back: *used are the bytes it took. Values that no
 * run can have are SHOAL_ERR_FORMAT. */
void shoal_train_fit_encode(const shoal_train_fit *fit, shoal_buf *out);
SHOAL_MUST_USE shoal_status shoal_train_fit_decode(shoal_train_fit *fit, const void *data, size_t n,
                                                   size_t *used, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
