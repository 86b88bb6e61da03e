/* watch.c - a readable file descriptor as an event. */
#include "proto/net/watch.h"

#include <uv.h>

#include "kernels/base/mem.h"
#include "proto/net/loop_uv.h"

struct shoal_watch {
    uv_poll_t handle;
    shoal_loop_fn *fn;
    void *ctx;
};

static void on_ready(uv_poll_t *handle, int status, int events)
{
    const shoal_watch *w = handle->data;
    (void)status; /* an error is read from the descriptor itself */
    (void)events;
    w->fn(w->ctx);
}

static void on_closed(uv_handle_t *handle)
{
    shoal_free(handle->data);
}

shoal_status shoal_watch_open(shoal_watch **out, shoal_loop *loop, int fd, shoal_loop_fn *fn,
                              void *ctx, shoal_error *err)
{
    *out = NULL;
    shoal_watch *w = shoal_calloc(1, sizeof *w);
    if (w == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to watch a descriptor");
    }
    w->fn = fn;
    w->ctx = ctx;
    int rc = uv_poll_init(shoal_loop_uv(loop), &w->handle, fd);
    if (rc != 0) {
        shoal_free(w);
        return shoal_fail_uv(err, rc, "cannot watch a descriptor");
    }
    w->handle.data = w;
    rc = uv_poll_start(&w->handle, UV_READABLE, on_ready);
    if (rc != 0) {
        shoal_watch_close(w);
        return shoal_fail_uv(err, rc, "cannot watch a descriptor");
    }
    *out = w;
    return SHOAL_OK;
}

void shoal_watch_close(shoal_watch *w)
{
    if (w != NULL) {
        uv_close((uv_handle_t *)&w->handle, on_closed);
    }
}
