/* log.h - one logger for the project: level, module, event, key=value pairs.
 *
 * Counters and identifiers only: never tokens, text, keys or vectors. Output goes to a callback,
 * stderr by default. `fmt` is "event key=%d key=%s".
 *
 * Layer: kernels/base. Threads: set the sink and level before threads start; logging is safe.
 */
#ifndef SHOAL_KERNELS_BASE_LOG_H
#define SHOAL_KERNELS_BASE_LOG_H

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_log_level {
    SHOAL_LOG_ERROR = 0, /* something asked for was not done */
    SHOAL_LOG_WARN = 1,  /* done, but a person should know */
    SHOAL_LOG_INFO = 2,  /* one line per thing a user started (the default level) */
    SHOAL_LOG_DEBUG = 3  /* for developers; may be one line per message or step */
} shoal_log_level;

typedef void shoal_log_sink(void *ctx, shoal_log_level level, const char *module, const char *line);

/* A NULL sink means stderr. */
void shoal_log_set(shoal_log_level max_level, shoal_log_sink *sink, void *ctx);
shoal_log_level shoal_log_max(void);
void shoal_log(shoal_log_level level, const char *module, const char *fmt, ...) SHOAL_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
