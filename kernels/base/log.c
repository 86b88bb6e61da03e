/* log.c - see log.h. */
#include "kernels/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static shoal_log_level g_max = SHOAL_LOG_INFO;
static shoal_log_sink *g_sink;
static void *g_ctx;

void shoal_log_set(shoal_log_level max_level, shoal_log_sink *sink, void *ctx)
{
    g_max = max_level;
    g_sink = sink;
    g_ctx = ctx;
}

shoal_log_level shoal_log_max(void)
{
    return g_max;
}

void shoal_log(shoal_log_level level, const char *module, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (level > g_max) return;
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    if (g_sink != NULL) {
        g_sink(g_ctx, level, module, line);
        return;
    }
    (void)fprintf(stderr, "%s %s %s\n", names[level], module, line);
}
