/* demo.c - sets the demo's stage and runs its acts in order. */
#include "client/demo.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/demo_internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { LOG_MAX = 1 << 20, COMMAND_TIMEOUT_S = 120 };

/* ---- helpers of all acts ----------------------------------------------------------------------
 */

size_t demo_ctx(const demo *d)
{
    return d->opt->data_dir != NULL ? DEMO_CTX_USER : DEMO_CTX;
}

void demo_say(demo *d, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    /* Clears the bar's line; the bar redraws itself below. */
    bool over_bar = d->bar_open && shoal_term_is_live();
    shoal_term_note("%s%s", over_bar ? "\r\033[K" : "", text);
}

shoal_status demo_path(const demo *d, char out[SHOAL_PATH_MAX], shoal_error *err, const char *fmt,
                       ...)
{
    int n = snprintf(out, SHOAL_PATH_MAX, "%s/", d->out->dir);
    if (n > 0 && n < SHOAL_PATH_MAX) {
        va_list args;
        va_start(args, fmt);
        int m = vsnprintf(out + n, (size_t)(SHOAL_PATH_MAX - n), fmt, args);
        va_end(args);
        if (m >= 0 && m < SHOAL_PATH_MAX - n) return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the demo's directory has too long a name");
}

/* OUT.log, where a program's stderr goes. */
static shoal_status log_path(const char *out_path, char log[SHOAL_PATH_MAX], shoal_error *err)
{
    int n = snprintf(log, SHOAL_PATH_MAX, "%s.log", out_path);
    if (n > 0 && n < SHOAL_PATH_MAX) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the demo's directory has too long a name");
}

shoal_status demo_fail(const char *what, const char *out_path, shoal_error *err)
{
    char log[SHOAL_PATH_MAX];
    shoal_buf b = shoal_buf_init(LOG_MAX);
    const char *last = NULL;
    SHOAL_TRY(log_path(out_path, log, err));
    if (shoal_file_read(log, LOG_MAX, &b, NULL) == SHOAL_OK) {
        for (const char *p = shoal_buf_str(&b); (p = strstr(p, "error: ")) != NULL; p += 7) {
            last = p + 7;
        }
    }
    int n = last == NULL ? 0 : (int)strcspn(last, "\n");
    shoal_fail(err, SHOAL_ERR_STATE, "%s ended early: %.*s", what, n > 0 ? n : 21,
               n > 0 ? last : "it did not say why   ");
    shoal_hint(err, "its log is %s", log);
    shoal_buf_clear(&b);
    return SHOAL_ERR_STATE;
}

shoal_status demo_start(const demo *d, shoal_child *c, const char *const *argv, const char *home,
                        const char *out_path, shoal_error *err)
{
    char log[SHOAL_PATH_MAX];
    char home_env[SHOAL_PATH_MAX + 16];
    (void)d;
    SHOAL_TRY(log_path(out_path, log, err));
    (void)snprintf(home_env, sizeof home_env, "SHOAL_HOME=%s", home != NULL ? home : "");
    const char *env[] = {home != NULL ? home_env : NULL, NULL};
    shoal_child_spec spec = {.argv = argv, .stdout_path = out_path, .stderr_path = log, .env = env};
    return shoal_child_start(c, &spec, err);
}

shoal_status demo_run(const demo *d, const char *const *argv, const char *home,
                      const char *out_path, shoal_error *err)
{
    shoal_child c;
    SHOAL_TRY(demo_start(d, &c, argv, home, out_path, err));
    shoal_status st = shoal_child_wait(&c, COMMAND_TIMEOUT_S, d->opt->stop, NULL, NULL, err);
    if (st != SHOAL_OK) {
        shoal_child_end(&c, 2.0);
        return st;
    }
    char what[100];
    (void)snprintf(what, sizeof what, "`%.60s %.30s`",
                   strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0], argv[1]);
    return c.exit_code == 0 ? SHOAL_OK : demo_fail(what, out_path, err);
}

/* ---- the stage --------------------------------------------------------------------------------
 */

/* This program's own file, and its counterpart beside it; both by name when that cannot be told. */
static void find_programs(demo *d)
{
    ssize_t n = readlink("/proc/self/exe", d->shoal, sizeof d->shoal - 1);
    d->shoal[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(d->shoal, '/');
    if (slash == NULL) (void)snprintf(d->shoal, sizeof d->shoal, "shoal");
    int dir = slash == NULL ? 0 : (int)(slash - d->shoal) + 1;
    int put = snprintf(d->aggregator, sizeof d->aggregator, "%.*sshoal-aggregator", dir, d->shoal);
    if (put >= (int)sizeof d->aggregator || access(d->aggregator, X_OK) != 0) {
        (void)snprintf(d->aggregator, sizeof d->aggregator, "shoal-aggregator");
    }
}

/* --dir, made absolute: devices and links must mean the same place. */
static shoal_status make_named_dir(demo *d, shoal_error *err)
{
    char cwd[SHOAL_PATH_MAX] = "";
    bool absolute = d->opt->dir[0] == '/';
    if (!absolute && getcwd(cwd, sizeof cwd) == NULL) {
        return shoal_fail_errno(err, errno, "cannot tell the working directory");
    }
    int n = snprintf(d->out->dir, SHOAL_PATH_MAX, "%s%s%s", cwd, absolute ? "" : "/", d->opt->dir);
    if (n >= SHOAL_PATH_MAX) return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "--dir is too long");
    if (access(d->out->dir, F_OK) != 0) return shoal_store_mkdir(d->out->dir, err);
    shoal_fail(err, SHOAL_ERR_STATE, "%s is already there", d->out->dir);
    shoal_hint(err, "name a new directory with --dir, or leave --dir out");
    return SHOAL_ERR_STATE;
}

static shoal_status make_dir(demo *d, shoal_error *err)
{
    const char *base = getenv("TMPDIR");
    if (d->opt->dir != NULL) return make_named_dir(d, err);
    int n = snprintf(d->out->dir, SHOAL_PATH_MAX, "%s/shoal-demo-XXXXXX",
                     base != NULL && base[0] == '/' ? base : "/tmp");
    if (n >= SHOAL_PATH_MAX || mkdtemp(d->out->dir) == NULL) {
        return shoal_fail_errno(err, errno, "cannot make a directory for the demo");
    }
    return SHOAL_OK;
}

static shoal_status make_homes(demo *d, shoal_error *err)
{
    for (size_t i = 0; i < d->opt->clients; i++) {
        demo_device *v = &d->device[i];
        SHOAL_TRY(demo_path(d, v->home, err, "device-%zu", i + 1));
        SHOAL_TRY(demo_path(d, v->data, err, "device-%zu/private.jsonl", i + 1));
        SHOAL_TRY(shoal_store_mkdir(v->home, err));
    }
    SHOAL_TRY(demo_path(d, d->held, err, "held-out.jsonl"));
    return SHOAL_OK;
}

/* ---- the acts ---------------------------------------------------------------------------------
 */

static shoal_status prepare(demo *d, shoal_error *err)
{
    (void)snprintf(d->task, sizeof d->task, "demo");
    SHOAL_TRY(shoal_store_model_path(d->opt->model, d->out->model, err));
    find_programs(d);
    SHOAL_TRY(make_dir(d, err));
    demo_say(d, "everything happens in %s, which is kept", d->out->dir);
    SHOAL_TRY(make_homes(d, err));
    return demo_files_make(d, err);
}

static shoal_status federate(demo *d, shoal_error *err)
{
    SHOAL_TRY(demo_server_start(d, err));
    SHOAL_TRY(demo_devices_join(d, err));
    demo_say(d, "%zu devices have joined; each trains on its own data, which it never sends",
             d->opt->clients);
    SHOAL_TRY(demo_devices_run(d, err));
    shoal_child_end(&d->server, 5.0);
    return demo_path(d, d->out->adapter, err, "device-1/adapters/%s/latest.gguf", d->task);
}

shoal_status shoal_demo_run(const shoal_demo_options *opt, shoal_demo_result *out, shoal_error *err)
{
    double begun = shoal_clock_s();
    memset(out, 0, sizeof *out);
    if (opt->clients < 3 || opt->clients > SHOAL_DEMO_CLIENTS_MAX || opt->rounds == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the demo takes 3 to %d devices and at least 1 round",
                          SHOAL_DEMO_CLIENTS_MAX);
    }
    demo *d = shoal_calloc(1, sizeof *d);
    if (d == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    d->opt = opt;
    d->out = out;
    shoal_status st = prepare(d, err);
    if (st == SHOAL_OK) st = federate(d, err);
    demo_devices_end(d);
    shoal_child_end(&d->server, 5.0);
    if (st == SHOAL_OK && !opt->skip_alone) st = demo_train_alone(d, err);
    if (st == SHOAL_OK) st = demo_measure(d, err);
    out->seconds = shoal_clock_s() - begun;
    shoal_free(d);
    return st;
}
