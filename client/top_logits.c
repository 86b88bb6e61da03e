/* top_logits.c - the few best tokens of a row of logits. */
#include "client/top_logits.h"

size_t shoal_top_logits(const float *logits, size_t n, int32_t ids[SHOAL_TOP_LOGITS],
                        float values[SHOAL_TOP_LOGITS])
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == SHOAL_TOP_LOGITS && !(logits[i] > values[kept - 1])) continue;
        size_t at = kept < SHOAL_TOP_LOGITS ? kept++ : kept - 1;
        while (at > 0 && logits[i] > values[at - 1]) {
            values[at] = values[at - 1];
            ids[at] = ids[at - 1];
            at--;
        }
        values[at] = logits[i];
        ids[at] = (int32_t)i;
    }
    return kept;
}
