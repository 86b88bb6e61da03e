/* open_files.h - how many files, connections included, this process may have open.
 *
 * Layer: aggregator. Threads: call before others are started.
 */
#ifndef SHOAL_AGGREGATOR_OPEN_FILES_H
#define SHOAL_AGGREGATOR_OPEN_FILES_H

#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raises the process's own limit to what max_connections and everything beside them need. FULL,
 * with a hint, when the system does not let it. */
SHOAL_MUST_USE shoal_status shoal_open_files_reserve(uint32_t max_connections, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
