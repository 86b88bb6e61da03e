/* cmd_common.c - options, times and names the commands share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aggregator/cmd.h"

void cmd_common_table(cmd_common *c, shoal_option table[CMD_COMMON_N])
{
    table[0] = (shoal_option)SHOAL_STRING("dir", 'd', &c->dir, "DIR",
                                          "the deployment (default: $SHOAL_AGGREGATOR_DIR or .)");
    table[1] = (shoal_option)SHOAL_FLAG("json", 0, &c->json, "one JSON object a line on stdout");
}

const char *cmd_dir(const cmd_common *c)
{
    if (c->dir != NULL) {
        return c->dir;
    }
    const char *env = getenv("SHOAL_AGGREGATOR_DIR");
    return env != NULL && *env != '\0' ? env : ".";
}

bool cmd_begin(const shoal_usage *usage, cmd_common *c, const shoal_option *own, size_t n_own,
               int argc, char **argv, shoal_arguments *args, int *code)
{
    shoal_option common[CMD_COMMON_N];
    cmd_common_table(c, common);
    const shoal_option_group groups[] = {{"common", common, CMD_COMMON_N}, {"options", own, n_own}};
    return shoal_command_begin(usage, groups, n_own > 0 ? 2 : 1, argc, argv, args, code);
}

typedef struct only_task {
    shoal_db_task *out;
    size_t n;
} only_task;

static void keep_task(void *ctx, const shoal_db_task *t)
{
    only_task *o = ctx;
    *o->out = *t;
    o->n++;
}

shoal_status cmd_find_task(shoal_deployment *d, const char *name, shoal_db_task *out,
                           shoal_error *err)
{
    if (name != NULL) {
        return shoal_db_task_by_name(d->db, name, out, err);
    }
    only_task o = {.out = out};
    SHOAL_TRY(shoal_db_tasks(d->db, keep_task, &o, err));
    if (o.n == 1) {
        return SHOAL_OK;
    }
    shoal_status st = o.n == 0
                          ? shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no task yet")
                          : shoal_fail(err, SHOAL_ERR_ARG, "there are %zu tasks: say which", o.n);
    shoal_hint(err, o.n == 0 ? "`shoal-aggregator task create --help` shows how to make one"
                             : "`shoal-aggregator task list` shows their names");
    return st;
}

shoal_status cmd_parse_duration(const char *text, int64_t max_s, int64_t *out, shoal_error *err)
{
    char digits[16] = {0};
    size_t n = strspn(text, "0123456789");
    uint64_t v = 0;
    uint64_t unit = strcmp(text + n, "") == 0 || strcmp(text + n, "s") == 0 ? 1
                    : strcmp(text + n, "m") == 0                            ? 60
                    : strcmp(text + n, "h") == 0                            ? 3600
                                                                            : 0;
    if (n < sizeof digits) {
        memcpy(digits, text, n);
    }
    if (unit == 0 || !shoal_parse_u64(digits, &v) || v == 0 || v > (uint64_t)max_s / unit) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_ARG, "\"%.40s\" is not a usable duration", text);
        shoal_hint(err, "write 90s, 10m or 1h; at most %lld seconds", (long long)max_s);
        return st;
    }
    *out = (int64_t)(v * unit);
    return SHOAL_OK;
}

void cmd_time_text(int64_t t_s, char out[CMD_TIME_TEXT])
{
    time_t t = (time_t)t_s;
    struct tm tm;
    if (t_s == 0 || gmtime_r(&t, &tm) == NULL || strftime(out, CMD_TIME_TEXT, "%F %T", &tm) == 0) {
        (void)snprintf(out, CMD_TIME_TEXT, "-");
    }
}

const char *cmd_task_state(shoal_task_state st)
{
    switch (st) {
    case SHOAL_TASK_RUNNING: return "running";
    case SHOAL_TASK_STOPPED: return "stopped";
    case SHOAL_TASK_FINISHED: return "finished";
    }
    return "unknown";
}

const char *cmd_round_state(shoal_round_state st)
{
    switch (st) {
    case SHOAL_ROUND_OPEN: return "running";
    case SHOAL_ROUND_DONE: return "done";
    case SHOAL_ROUND_FAILED: return "failed";
    case SHOAL_ROUND_ABANDONED: return "abandoned";
    }
    return "unknown";
}
