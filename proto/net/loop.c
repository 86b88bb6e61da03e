/* loop.c - the event loop over libuv. libuv's handles must stay alive until their close callback,
 * so every handle lives in its own heap block that the callback frees. */
#include "proto/net/loop.h"

#include <signal.h>
#include <uv.h>

#include "kernels/base/mem.h"
#include "proto/net/loop_uv.h"

enum { MAX_SIGNALS = 8, READ_BYTES = 65536 };

typedef struct post {
    struct post *next;
    shoal_loop_fn *fn;
    void *ctx;
} post;

typedef struct signal_watch {
    uv_signal_t handle;
    shoal_loop_fn *fn;
    void *ctx;
} signal_watch;

struct shoal_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_mutex_t lock; /* guards the queue of posts */
    post *first;
    post **last;
    signal_watch signals[MAX_SIGNALS];
    size_t n_signals;
    char read_buf[READ_BYTES]; /* shared by all streams: a read is handed over before the next */
};

struct shoal_timer {
    uv_timer_t handle;
    shoal_loop_fn *fn;
    void *ctx;
};

typedef struct work_item {
    uv_work_t req;
    shoal_loop_fn *work;
    shoal_loop_fn *done;
    void *ctx;
} work_item;

struct uv_loop_s *shoal_loop_uv(shoal_loop *loop)
{
    return &loop->uv;
}

char *shoal_loop_read_buf(struct uv_loop_s *uv, size_t *n)
{
    shoal_loop *loop = uv->data;
    *n = sizeof loop->read_buf;
    return loop->read_buf;
}

shoal_status shoal_fail_uv(shoal_error *err, int uv_code, const char *what)
{
    shoal_status st = uv_code == UV_ENOMEM ? SHOAL_ERR_NOMEM : SHOAL_ERR_IO;
    return shoal_fail(err, st, "%s: %s", what, uv_strerror(uv_code));
}

static void run_posts(uv_async_t *wake)
{
    shoal_loop *loop = wake->data;
    uv_mutex_lock(&loop->lock);
    post *p = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    uv_mutex_unlock(&loop->lock);
    while (p != NULL) {
        post *next = p->next;
        p->fn(p->ctx);
        shoal_free(p);
        p = next;
    }
}

shoal_status shoal_loop_open(shoal_loop **out, shoal_error *err)
{
    *out = NULL;
    shoal_loop *loop = shoal_calloc(1, sizeof *loop);
    if (loop == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the event loop");
    }
    loop->last = &loop->first;
    int rc = uv_mutex_init(&loop->lock);
    if (rc != 0) {
        goto no_lock;
    }
    rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        goto no_loop;
    }
    rc = uv_async_init(&loop->uv, &loop->wake, run_posts);
    if (rc != 0) {
        goto no_async;
    }
    loop->uv.data = loop;
    loop->wake.data = loop;
    /* A peer that closed must be an error code of write, not the end of the process. */
    (void)signal(SIGPIPE, SIG_IGN);
    *out = loop;
    return SHOAL_OK;

no_async:
    (void)uv_loop_close(&loop->uv);
no_loop:
    uv_mutex_destroy(&loop->lock);
no_lock:
    shoal_free(loop);
    return shoal_fail_uv(err, rc, "cannot open an event loop");
}

void shoal_loop_run(shoal_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void shoal_loop_turn(shoal_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
}

void shoal_loop_stop(shoal_loop *loop)
{
    uv_stop(&loop->uv);
}

void shoal_loop_close(shoal_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    run_posts(&loop->wake);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    for (size_t i = 0; i < loop->n_signals; i++) {
        uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
    }
    /* A pending stop makes the first run return early; a busy loop is run until work is done. */
    while (uv_loop_close(&loop->uv) == UV_EBUSY) {
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    }
    run_posts(&loop->wake);
    uv_mutex_destroy(&loop->lock);
    shoal_free(loop);
}

uint64_t shoal_loop_now_ms(const shoal_loop *loop)
{
    return uv_now(&loop->uv);
}

bool shoal_loop_post(shoal_loop *loop, shoal_loop_fn *fn, void *ctx)
{
    post *p = shoal_alloc(sizeof *p);
    if (p == NULL) {
        return false;
    }
    *p = (post){.fn = fn, .ctx = ctx};
    uv_mutex_lock(&loop->lock);
    *loop->last = p;
    loop->last = &p->next;
    uv_mutex_unlock(&loop->lock);
    (void)uv_async_send(&loop->wake);
    return true;
}

static void work_run(uv_work_t *req)
{
    work_item *w = req->data;
    w->work(w->ctx);
}

static void work_done(uv_work_t *req, int status)
{
    (void)status; /* never cancelled: nothing here calls uv_cancel */
    work_item *w = req->data;
    shoal_loop_fn *done = w->done;
    void *ctx = w->ctx;
    shoal_free(w);
    if (done != NULL) {
        done(ctx);
    }
}

shoal_status shoal_loop_work(shoal_loop *loop, shoal_loop_fn *work, shoal_loop_fn *done, void *ctx,
                             shoal_error *err)
{
    work_item *w = shoal_calloc(1, sizeof *w);
    if (w == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to queue work");
    }
    *w = (work_item){.work = work, .done = done, .ctx = ctx};
    w->req.data = w;
    int rc = uv_queue_work(&loop->uv, &w->req, work_run, work_done);
    if (rc != 0) {
        shoal_free(w);
        return shoal_fail_uv(err, rc, "cannot queue work");
    }
    return SHOAL_OK;
}

static void signal_fired(uv_signal_t *handle, int signo)
{
    (void)signo;
    signal_watch *s = handle->data;
    s->fn(s->ctx);
}

shoal_status shoal_loop_on_signal(shoal_loop *loop, int signo, shoal_loop_fn *fn, void *ctx,
                                  shoal_error *err)
{
    if (loop->n_signals == MAX_SIGNALS) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "too many signal handlers");
    }
    signal_watch *s = &loop->signals[loop->n_signals];
    int rc = uv_signal_init(&loop->uv, &s->handle);
    if (rc != 0) {
        return shoal_fail_uv(err, rc, "cannot watch a signal");
    }
    loop->n_signals++; /* from here on shoal_loop_close closes the handle */
    *s = (signal_watch){.handle = s->handle, .fn = fn, .ctx = ctx};
    s->handle.data = s;
    rc = uv_signal_start(&s->handle, signal_fired, signo);
    return rc == 0 ? SHOAL_OK : shoal_fail_uv(err, rc, "cannot watch a signal");
}

static void timer_fired(uv_timer_t *handle)
{
    shoal_timer *t = handle->data;
    t->fn(t->ctx);
}

shoal_status shoal_timer_open(shoal_timer **out, shoal_loop *loop, shoal_loop_fn *fn, void *ctx,
                              shoal_error *err)
{
    *out = NULL;
    shoal_timer *t = shoal_calloc(1, sizeof *t);
    if (t == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a timer");
    }
    (void)uv_timer_init(&loop->uv, &t->handle); /* cannot fail: fills a struct */
    t->handle.data = t;
    t->fn = fn;
    t->ctx = ctx;
    *out = t;
    return SHOAL_OK;
}

void shoal_timer_start(shoal_timer *t, uint64_t delay_ms, uint64_t repeat_ms)
{
    (void)uv_timer_start(&t->handle, timer_fired, delay_ms, repeat_ms);
}

void shoal_timer_stop(shoal_timer *t)
{
    (void)uv_timer_stop(&t->handle);
}

static void timer_closed(uv_handle_t *handle)
{
    shoal_free(handle->data);
}

void shoal_timer_close(shoal_timer *t)
{
    if (t != NULL) {
        (void)uv_timer_stop(&t->handle);
        uv_close((uv_handle_t *)&t->handle, timer_closed);
    }
}
