/* demo_data.h - the demo's own data: requests to the assistants of several households.
 *
 * Each household has its own devices, rooms and words, and its own actions, which its assistant
 * answers with as one JSON object. Nobody outside a household has seen them. All share ways of
 * asking. From a seed: same seed, same bytes on every machine.
 *
 * Layer: client/. Threads: pure function over its arguments.
 */
#ifndef SHOAL_CLIENT_DEMO_DATA_H
#define SHOAL_CLIENT_DEMO_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_DEMO_HOUSEHOLDS = 6, SHOAL_DEMO_ROWS_MAX = 4096 };

/* "the attic flat", ...; NULL past the last. */
const char *shoal_demo_household(size_t i);

/* Appends n_train rows of a household to `train` and n_held further rows to `held`, one JSON object
 * a line; no request of `held` is in `train`. TOO_LARGE when the household has not that much to
 * say. */
SHOAL_MUST_USE shoal_status shoal_demo_rows(size_t household, uint64_t seed, size_t n_train,
                                            size_t n_held, shoal_buf *train, shoal_buf *held,
                                            shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
