/* demo_measure.c - what federation is compared with: each device alone, and the base model. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/demo_internal.h"
#include "client/json.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"

enum { JOBS_MAX = SHOAL_DEMO_CLIENTS_MAX + 2, ARGS_MAX = 40, POLL_MS = 100, OUTPUT_MAX = 1 << 20 };

/* Programs that run one a processor; each writes JSON lines to its own file. */
typedef struct job {
    const char *argv[ARGS_MAX];
    char out[SHOAL_PATH_MAX];
    const char *name;
    shoal_child child;
    shoal_tail tail;
    bool started, ended;
    uint64_t lines;
} job;

typedef struct jobs {
    job item[JOBS_MAX];
    size_t n;
} jobs;

static size_t parallel(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (size_t)n;
}

static shoal_status start_some(demo *d, jobs *js, shoal_error *err)
{
    size_t running = 0;
    for (size_t i = 0; i < js->n; i++)
        running += js->item[i].started && !js->item[i].ended;
    for (size_t i = 0; i < js->n && running < parallel(); i++) {
        job *j = &js->item[i];
        if (j->started) continue;
        SHOAL_TRY(demo_start(d, &j->child, j->argv, NULL, j->out, err));
        if (!shoal_tail_open(&j->tail, j->out)) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the demo's directory has too long a name");
        }
        j->started = true;
        running++;
    }
    return SHOAL_OK;
}

/* Counts new lines of output and notices the end. */
static shoal_status look_at(job *j, shoal_error *err)
{
    if (!j->started || j->ended) return SHOAL_OK;
    bool running = shoal_child_running(&j->child);
    while (shoal_tail_next(&j->tail) != NULL)
        j->lines++;
    if (running) return SHOAL_OK;
    j->ended = true;
    return j->child.exit_code == 0 ? SHOAL_OK : demo_fail(j->name, j->out, err);
}

static shoal_status run_some(demo *d, jobs *js, const char *label, uint64_t total, shoal_error *err)
{
    shoal_progress_begin(&d->bar, label, total, 0, d->opt->quiet);
    shoal_status st = SHOAL_OK;
    for (bool going = true; going && st == SHOAL_OK;) {
        uint64_t lines = 0;
        st = start_some(d, js, err);
        going = false;
        for (size_t i = 0; i < js->n && st == SHOAL_OK; i++) {
            st = look_at(&js->item[i], err);
            lines += js->item[i].lines;
            going = going || !js->item[i].ended;
        }
        shoal_progress_update(&d->bar, lines < total ? lines : total, "");
        if (st == SHOAL_OK && d->opt->stop != NULL && d->opt->stop()) {
            st = shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        }
        struct timespec t = {0, POLL_MS * 1000000L};
        if (going) (void)nanosleep(&t, NULL);
    }
    shoal_progress_end(&d->bar, st == SHOAL_OK ? "done" : "stopped");
    for (size_t i = 0; i < js->n; i++)
        shoal_child_end(&js->item[i].child, 3.0);
    return st;
}

/* ---- alone ------------------------------------------------------------------------------------
 */

/* The same start, data, batches, rate and number of steps as in the rounds, nobody to sum with. */
shoal_status demo_train_alone(demo *d, shoal_error *err)
{
    static jobs js; /* large; the demo runs once a process */
    char steps[24];
    char batch[8];
    char ctx[8];
    char start[SHOAL_PATH_MAX];
    char valid[SHOAL_PATH_MAX];
    static char adapters[SHOAL_DEMO_CLIENTS_MAX][SHOAL_PATH_MAX];
    js.n = 0;
    (void)snprintf(steps, sizeof steps, "%zu", d->opt->rounds * d->opt->steps);
    (void)snprintf(batch, sizeof batch, "%d", DEMO_BATCH);
    (void)snprintf(ctx, sizeof ctx, "%zu", demo_ctx(d));
    SHOAL_TRY(demo_path(d, start, err, "device-1/adapters/%s/v0.gguf", d->task));
    SHOAL_TRY(demo_path(d, valid, err, "one-row.jsonl"));
    for (size_t i = 0; i < d->opt->clients; i++) {
        job *j = &js.item[js.n++];
        *j = (job){.name = d->device[i].name};
        SHOAL_TRY(demo_path(d, j->out, err, "alone-%zu.jsonl", i + 1));
        SHOAL_TRY(demo_path(d, adapters[i], err, "alone-%zu.gguf", i + 1));
        const char *argv[] = {d->shoal,      "train",
                              "-m",          d->out->model,
                              "-a",          start,
                              "-d",          d->device[i].data,
                              "--valid",     valid,
                              "-o",          adapters[i],
                              "--max-steps", steps,
                              "--epochs",    "1000",
                              "--batch",     batch,
                              "--ctx",       ctx,
                              "--lr",        DEMO_LR,
                              "--schedule",  "constant",
                              "--warmup",    "0",
                              "--threads",   "1",
                              "--json",      "--keep-anyway",
                              NULL};
        memcpy(j->argv, argv, sizeof argv);
    }
    uint64_t lines = (uint64_t)js.n * (d->opt->rounds * d->opt->steps + 1);
    return run_some(d, &js, "each alone", lines, err);
}

/* ---- the table --------------------------------------------------------------------------------
 */

static void add_eval(demo *d, jobs *js, const char *name, const char *adapter)
{
    job *j = &js->item[js->n++];
    *j = (job){.name = name};
    size_t n = 0;
    const char *argv[] = {d->shoal,       "eval",
                          "-m",           d->out->model,
                          "-d",           d->held,
                          "--threads",    "1",
                          "--json",       d->opt->skip_exact ? "--loss-only" : "--exact-json",
                          "--max-tokens", "40"};
    for (; n < sizeof argv / sizeof argv[0]; n++)
        j->argv[n] = argv[n];
    if (adapter != NULL) {
        j->argv[n++] = "-a";
        j->argv[n++] = adapter;
    }
}

/* {"loss","exact_match",...}: the last line a `shoal eval` wrote. */
static shoal_status read_eval(const job *j, shoal_demo_row *row, shoal_error *err)
{
    shoal_buf b;
    json_t *o = NULL;
    SHOAL_TRY(shoal_file_read(j->out, OUTPUT_MAX, &b, err));
    shoal_status st = shoal_json_object(&o, shoal_buf_str(&b), b.len, j->out, false, err);
    shoal_buf_clear(&b);
    if (st != SHOAL_OK) return st;
    const json_t *exact = json_object_get(o, "exact_match");
    (void)snprintf(row->name, sizeof row->name, "%s", j->name);
    row->loss = json_number_value(json_object_get(o, "loss"));
    row->exact = json_is_number(exact) ? json_number_value(exact) : -1.0;
    row->measured = true;
    json_decref(o);
    return SHOAL_OK;
}

shoal_status demo_measure(demo *d, shoal_error *err)
{
    static jobs js;
    static char alone[SHOAL_DEMO_CLIENTS_MAX][SHOAL_PATH_MAX];
    size_t n_alone = d->opt->skip_alone ? 0 : d->opt->clients;
    js.n = 0;
    add_eval(d, &js, "before", NULL);
    add_eval(d, &js, "federated", d->out->adapter);
    for (size_t i = 0; i < n_alone; i++) {
        SHOAL_TRY(demo_path(d, alone[i], err, "alone-%zu.gguf", i + 1));
        add_eval(d, &js, d->device[i].name, alone[i]);
    }
    for (size_t i = 0; i < js.n; i++) {
        SHOAL_TRY(demo_path(d, js.item[i].out, err, "eval-%zu.json", i));
    }
    SHOAL_TRY(run_some(d, &js, "measuring", js.n, err));
    SHOAL_TRY(read_eval(&js.item[0], &d->out->before, err));
    SHOAL_TRY(read_eval(&js.item[1], &d->out->federated, err));
    for (size_t i = 0; i < n_alone; i++) {
        SHOAL_TRY(read_eval(&js.item[i + 2], &d->out->alone[i], err));
    }
    d->out->n_alone = n_alone;
    return SHOAL_OK;
}
