/* demo_server.c - the demo's aggregator: made, given a task, started on a port of the system's
 * choice, asked for one link a device. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/demo_internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum {
    START_TIMEOUT_S = 30,
    POLL_MS = 50,
    LINKS_MAX = 1 << 14,
    STAGE_TIMEOUT_S = 8, /* how long a round waits for a device that was killed */
    WEIGHT_MAX = 1024,
    CLIP = 32 /* above the norm of an honest update here, so that none is shortened */
};

static shoal_status make_deployment(demo *d, const char *dir, shoal_error *err)
{
    char out[SHOAL_PATH_MAX];
    SHOAL_TRY(demo_path(d, out, err, "server-init.out"));
    const char *argv[] = {d->aggregator, "init", dir, "--port", "0", "--name", "demo", NULL};
    return demo_run(d, argv, NULL, out, err);
}

/* Numbers as arguments. */
typedef struct number {
    char text[24];
} number;

static const char *decimal(number *n, size_t v)
{
    (void)snprintf(n->text, sizeof n->text, "%zu", v);
    return n->text;
}

static shoal_status create_task(demo *d, const char *dir, shoal_error *err)
{
    number n[10];
    char out[SHOAL_PATH_MAX];
    SHOAL_TRY(demo_path(d, out, err, "task-create.out"));
    const char *argv[] = {d->aggregator,
                          "task",
                          "create",
                          "--dir",
                          dir,
                          "--name",
                          d->task,
                          "--model",
                          d->out->model,
                          "--targets",
                          "all",
                          "--lr",
                          DEMO_LR,
                          "--rank",
                          decimal(&n[0], DEMO_RANK),
                          "--alpha",
                          decimal(&n[1], DEMO_ALPHA),
                          "--batch",
                          decimal(&n[2], DEMO_BATCH),
                          "--ctx",
                          decimal(&n[3], demo_ctx(d)),
                          "--local-epochs",
                          "0",
                          "--local-steps",
                          decimal(&n[4], d->opt->steps),
                          "--rounds",
                          decimal(&n[5], d->opt->rounds),
                          "--clients",
                          decimal(&n[6], d->opt->clients),
                          "--min-clients",
                          "3",
                          "--clip",
                          decimal(&n[7], CLIP),
                          "--weight-max",
                          decimal(&n[8], WEIGHT_MAX),
                          "--stage-timeout",
                          decimal(&n[9], STAGE_TIMEOUT_S),
                          NULL};
    return demo_run(d, argv, NULL, out, err);
}

static shoal_status start_server(demo *d, const char *dir, shoal_error *err)
{
    char out[SHOAL_PATH_MAX];
    char port_file[SHOAL_PATH_MAX];
    SHOAL_TRY(demo_path(d, out, err, "server.out"));
    SHOAL_TRY(demo_path(d, port_file, err, "server.port"));
    const char *argv[] = {d->aggregator, "run", dir, "--port-file", port_file, NULL};
    SHOAL_TRY(demo_start(d, &d->server, argv, NULL, out, err));
    double end = shoal_clock_s() + START_TIMEOUT_S;
    while (access(port_file, R_OK) != 0) {
        struct timespec t = {0, POLL_MS * 1000000L};
        if (!shoal_child_running(&d->server)) return demo_fail("the aggregator", out, err);
        if (d->opt->stop != NULL && d->opt->stop()) {
            return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        }
        if (shoal_clock_s() > end) {
            return shoal_fail(err, SHOAL_ERR_TIMEOUT, "the aggregator does not start");
        }
        (void)nanosleep(&t, NULL);
    }
    return SHOAL_OK;
}

/* One line a device. */
static shoal_status hand_out(demo *d, char *text, shoal_error *err)
{
    char *p = text;
    for (size_t i = 0; i < d->opt->clients; i++) {
        char *end = strchr(p, '\n');
        if (end == NULL || (size_t)(end - p) >= sizeof d->device[i].link) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "the aggregator gave too few links");
        }
        *end = '\0';
        memcpy(d->device[i].link, p, (size_t)(end - p) + 1);
        p = end + 1;
    }
    return SHOAL_OK;
}

static shoal_status invite(demo *d, const char *dir, shoal_error *err)
{
    number n;
    char out[SHOAL_PATH_MAX];
    shoal_buf links = shoal_buf_init(0);
    SHOAL_TRY(demo_path(d, out, err, "links.out"));
    const char *argv[] = {
        d->aggregator, "invite", "--dir", dir, "--count", decimal(&n, d->opt->clients), NULL};
    SHOAL_TRY(demo_run(d, argv, NULL, out, err));
    shoal_status st = shoal_file_read(out, LINKS_MAX, &links, err);
    (void)unlink(out);
    if (st == SHOAL_OK && links.len == 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "the aggregator gave no links");
    }
    if (st == SHOAL_OK) st = hand_out(d, (char *)links.data, err);
    shoal_buf_wipe(&links);
    return st;
}

shoal_status demo_server_start(demo *d, shoal_error *err)
{
    char dir[SHOAL_PATH_MAX];
    SHOAL_TRY(demo_path(d, dir, err, "server"));
    SHOAL_TRY(make_deployment(d, dir, err));
    SHOAL_TRY(create_task(d, dir, err));
    SHOAL_TRY(start_server(d, dir, err));
    return invite(d, dir, err);
}
