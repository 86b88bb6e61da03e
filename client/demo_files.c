/* demo_files.c - the data of the demo's devices: made from the seed, or the user's own. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/demo_data.h"
#include "client/demo_internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"

enum {
    TRAIN_ROWS = 48,   /* private rows of a household */
    HELD_ROWS = 8,     /* held-out rows of a household */
    DATA_MAX = 1 << 24 /* bytes of one of the user's files */
};

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

shoal_status demo_files_make(demo *d, shoal_error *err)
{
    return d->opt->data_dir != NULL ? take_data(d, err) : make_data(d, err);
}

/* "the attic flat" -> "attic-flat" */
static void file_stem(const char *name, char out[64])
{
    (void)snprintf(out, 64, "%s", strncmp(name, "the ", 4) == 0 ? name + 4 : name);
    for (char *p = out; *p != '\0'; p++) {
        if (*p == ' ') *p = '-';
    }
}

static shoal_status write_household(const char *dir, size_t i, uint64_t seed, shoal_buf *held,
                                    shoal_error *err)
{
    char stem[64];
    char path[SHOAL_PATH_MAX];
    shoal_buf train = shoal_buf_init(DATA_MAX);
    file_stem(shoal_demo_household(i), stem);
    if (snprintf(path, sizeof path, "%s/%s.jsonl", dir, stem) >= (int)sizeof path) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the directory has too long a name");
    }
    shoal_status st = shoal_demo_rows(i, seed, TRAIN_ROWS, HELD_ROWS, &train, held, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, train.data, train.len, 0644, err);
    shoal_buf_clear(&train);
    return st;
}

shoal_status shoal_demo_write_data(const char *dir, size_t clients, uint64_t seed, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_buf held = shoal_buf_init(DATA_MAX);
    if (snprintf(path, sizeof path, "%s/held-out.jsonl", dir) >= (int)sizeof path) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the directory has too long a name");
    }
    SHOAL_TRY(shoal_store_mkdir(dir, err));
    shoal_status st = SHOAL_OK;
    for (size_t i = 0; i < clients && st == SHOAL_OK; i++) {
        st = write_household(dir, i, seed, &held, err);
    }
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, held.data, held.len, 0644, err);
    shoal_buf_clear(&held);
    return st;
}
