/* top_logits.h - the few best tokens of a row of logits.
 *
 * Layer: client. Threads: pure function.
 */
#ifndef SHOAL_CLIENT_TOP_LOGITS_H
#define SHOAL_CLIENT_TOP_LOGITS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_TOP_LOGITS = 8 };

/* Best first, the lower id first among equals. Returns how many there are: SHOAL_TOP_LOGITS or n.
 */
size_t shoal_top_logits(const float *logits, size_t n, int32_t ids[SHOAL_TOP_LOGITS],
                        float values[SHOAL_TOP_LOGITS]);

#ifdef __cplusplus
}
#endif
#endif
