/* demo_internal.h - what the files of the demo share.
 *
 * Layer: client/. Threads: as demo.h.
 */
#ifndef SHOAL_CLIENT_DEMO_INTERNAL_H
#define SHOAL_CLIENT_DEMO_INTERNAL_H

#include "client/child.h"
#include "client/demo.h"
#include "client/tail.h"
#include "kernels/base/term.h"

enum { SHOAL_DEMO_LINK = 600 };

/* One device: an agent process with its own SHOAL_HOME. */
typedef struct demo_device {
    char name[64];              /* its household, or its data file */
    char home[SHOAL_PATH_MAX];  /* DIR/device-N */
    char data[SHOAL_PATH_MAX];  /* its private JSONL */
    char link[SHOAL_DEMO_LINK]; /* to join with */
    shoal_child child;
    shoal_tail events;
    unsigned starts;    /* how often the agent was started */
    uint64_t trainings; /* finished local trainings */
    uint64_t step;      /* of the training going on */
    uint64_t rounds;    /* completed */
    uint64_t tokens;
    uint64_t peak_rss_bytes;
    bool summing; /* in a session, as opposed to training */
    bool done;    /* the agent ended by itself, its task over */
} demo_device;

typedef struct demo {
    const shoal_demo_options *opt;
    shoal_demo_result *out;
    char shoal[SHOAL_PATH_MAX];      /* this program */
    char aggregator[SHOAL_PATH_MAX]; /* its counterpart */
    char held[SHOAL_PATH_MAX];       /* held-out.jsonl */
    char task[32];
    shoal_child server;
    demo_device device[SHOAL_DEMO_CLIENTS_MAX];
    shoal_progress bar;
    bool bar_open;
} demo;

/* How everything trains: the task's settings, and those of the clients alone. */
enum {
    DEMO_RANK = 8,
    DEMO_ALPHA = 16,
    DEMO_BATCH = 2,
    DEMO_CTX = 128,     /* a household's longest row has fewer tokens */
    DEMO_CTX_USER = 512 /* the user's data may be longer */
};
#define DEMO_LR "2e-3"

/* demo.c: tokens of the longest sample. */
size_t demo_ctx(const demo *d);
/* A line of talk that does not tear the bar. */
void demo_say(demo *d, const char *fmt, ...) SHOAL_PRINTF(2, 3);
/* DIR/<formatted> */
SHOAL_MUST_USE shoal_status demo_path(const demo *d, char out[SHOAL_PATH_MAX], shoal_error *err,
                                      const char *fmt, ...) SHOAL_PRINTF(4, 5);
/* Runs a program to its end with stdout in OUT and stderr in OUT.log; what it complained of becomes
 * the error. home may be NULL. */
SHOAL_MUST_USE shoal_status demo_run(const demo *d, const char *const *argv, const char *home,
                                     const char *out_path, shoal_error *err);
/* The same, started only. */
SHOAL_MUST_USE shoal_status demo_start(const demo *d, shoal_child *c, const char *const *argv,
                                       const char *home, const char *out_path, shoal_error *err);
/* An error with the last "error: ..." of OUT.log. */
shoal_status demo_fail(const char *what, const char *out_path, shoal_error *err);

/* demo_files.c: each device's private data and the held-out rows, generated or the user's. */
SHOAL_MUST_USE shoal_status demo_files_make(demo *d, shoal_error *err);

/* demo_server.c: DIR/server is made, its task created, the server started, and each device given a
 * link. */
SHOAL_MUST_USE shoal_status demo_server_start(demo *d, shoal_error *err);

/* demo_devices.c: the devices join, and take part until the task is over; one is killed in
 * mid-round and comes back. */
SHOAL_MUST_USE shoal_status demo_devices_join(demo *d, shoal_error *err);
SHOAL_MUST_USE shoal_status demo_devices_run(demo *d, shoal_error *err);
void demo_devices_end(demo *d);

/* demo_measure.c: each device alone, and the table. */
SHOAL_MUST_USE shoal_status demo_train_alone(demo *d, shoal_error *err);
SHOAL_MUST_USE shoal_status demo_measure(demo *d, shoal_error *err);

#endif
