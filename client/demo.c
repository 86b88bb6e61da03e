/* demo.c - sets the demo's stage and runs its acts in order. */
#include "client/demo.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/demo_data.h"
#include "client/demo_internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum {
    TRAIN_ROWS = 48,    /* private rows of a household */
    HELD_ROWS = 8,      /* held-out rows of a household */
    DATA_MAX = 1 << 24, /* bytes of one of the user's files */
    LOG_MAX = 1 << 20,
    COMMAND_TIMEOUT_S = 120
};

/* ---- helpers of all acts ----------------------------------------------------------------------
 */

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

/* ---- data -------------------------------------------------------------------------------------
 */

static shoal_status write_buf(const char *path, const shoal_buf *b, shoal_error *err)
{
    return shoal_file_write_atomic(path, b->data, b->len, 0600, err);
}

/* The first row alone: `shoal train` wants something to measure itself on, and nobody looks. */
static shoal_status write_one_row(demo *d, const shoal_buf *held, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    const uint8_t *end = held->len == 0 ? NULL : memchr(held->data, '\n', held->len);
    SHOAL_TRY(demo_path(d, path, err, "one-row.jsonl"));
    size_t n = end == NULL ? held->len : (size_t)(end - held->data) + 1;
    return shoal_file_write_atomic(path, held->len == 0 ? (const void *)"" : held->data, n, 0600,
                                   err);
}

static size_t count_lines(const shoal_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++)
        n += b->data[i] == '\n';
    return n;
}

static shoal_status make_data(demo *d, shoal_error *err)
{
    shoal_buf held = shoal_buf_init(DATA_MAX);
    shoal_status st = SHOAL_OK;
    for (size_t i = 0; i < d->opt->clients && st == SHOAL_OK; i++) {
        shoal_buf train = shoal_buf_init(DATA_MAX);
        (void)snprintf(d->device[i].name, sizeof d->device[i].name, "%s", shoal_demo_household(i));
        st = shoal_demo_rows(i, d->opt->seed, TRAIN_ROWS, HELD_ROWS, &train, &held, err);
        if (st == SHOAL_OK) st = write_buf(d->device[i].data, &train, err);
        shoal_buf_clear(&train);
    }
    if (st == SHOAL_OK) st = write_buf(d->held, &held, err);
    if (st == SHOAL_OK) st = write_one_row(d, &held, err);
    d->out->held_rows = count_lines(&held);
    shoal_buf_clear(&held);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of the *.jsonl files of a directory but held-out.jsonl, sorted. */
static shoal_status list_files(const char *dir, char names[][64], size_t *n, shoal_error *err)
{
    const char *order[SHOAL_DEMO_CLIENTS_MAX];
    char found[SHOAL_DEMO_CLIENTS_MAX][64];
    *n = 0;
    DIR *d = opendir(dir);
    if (d == NULL) return shoal_fail_errno(err, errno, "cannot read %s", dir);
    for (struct dirent *e = readdir(d); e != NULL && *n < SHOAL_DEMO_CLIENTS_MAX; e = readdir(d)) {
        size_t len = strlen(e->d_name);
        if (len < 7 || len > 63 || strcmp(e->d_name + len - 6, ".jsonl") != 0) continue;
        if (strcmp(e->d_name, "held-out.jsonl") == 0) continue;
        memcpy(found[*n], e->d_name, len + 1);
        order[*n] = found[*n];
        (*n)++;
    }
    (void)closedir(d);
    qsort(order, *n, sizeof order[0], by_name);
    for (size_t i = 0; i < *n; i++)
        memcpy(names[i], order[i], sizeof found[0]);
    return SHOAL_OK;
}

static shoal_status copy_file(const char *dir, const char *name, const char *to, shoal_buf *b,
                              shoal_error *err)
{
    char from[SHOAL_PATH_MAX];
    if (snprintf(from, sizeof from, "%s/%s", dir, name) >= (int)sizeof from) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "--data has too long a name");
    }
    SHOAL_TRY(shoal_file_read(from, DATA_MAX, b, err));
    return write_buf(to, b, err);
}

static shoal_status take_data(demo *d, shoal_error *err)
{
    char names[SHOAL_DEMO_CLIENTS_MAX][64];
    size_t n = 0;
    shoal_buf b = shoal_buf_init(0);
    SHOAL_TRY(list_files(d->opt->data_dir, names, &n, err));
    if (n < d->opt->clients) {
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "%s holds %zu data files, %zu devices need one each",
                   d->opt->data_dir, n, d->opt->clients);
        shoal_hint(err, "one *.jsonl for each device, and held-out.jsonl to measure on");
        return SHOAL_ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < d->opt->clients; i++) {
        (void)snprintf(d->device[i].name, sizeof d->device[i].name, "%.*s",
                       (int)(strlen(names[i]) - 6), names[i]);
        SHOAL_TRY(copy_file(d->opt->data_dir, names[i], d->device[i].data, &b, err));
        shoal_buf_clear(&b);
    }
    shoal_status st = copy_file(d->opt->data_dir, "held-out.jsonl", d->held, &b, err);
    if (st == SHOAL_OK) st = write_one_row(d, &b, err);
    d->out->held_rows = count_lines(&b);
    shoal_buf_clear(&b);
    return st;
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
    return d->opt->data_dir != NULL ? take_data(d, err) : make_data(d, err);
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
