/* ca_link.c - questions to the CA, one after another, without waiting. */
#include "aggregator/ca_link.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/net/watch.h"

enum { QUEUE_MAX = 256, ANSWER_MS = 5000, AGAIN_MS = 1000 };

typedef struct question {
    struct question *next;
    uint32_t number;
    shoal_buf frame;
    shoal_ca_answer_fn *fn;
    void *ctx;
} question;

struct shoal_ca_link {
    shoal_loop *loop;
    shoal_timer *late, *again;
    shoal_watch *watch; /* NULL: not connected */
    int fd;             /* -1: not connected */
    char path[SHOAL_CONFIG_PATH];
    question *first, **last; /* the first one is on its way when `sent` */
    size_t n;
    bool sent;
    uint32_t numbers;
    uint8_t in[SHOAL_SIGNER_FRAME];
};

static void send_next(shoal_ca_link *l);

/* Takes the first question off and answers it. */
static void answer_first(shoal_ca_link *l, shoal_status st, shoal_cursor *body,
                         const shoal_error *err)
{
    question *q = l->first;
    l->first = q->next;
    l->last = l->first != NULL ? l->last : &l->first;
    l->n--;
    l->sent = false;
    shoal_timer_stop(l->late);
    q->fn(q->ctx, st, body, err);
    shoal_buf_wipe(&q->frame);
    shoal_free(q);
}

static void fail_first(shoal_ca_link *l, const char *why)
{
    shoal_error err = {0};
    shoal_cursor nothing = {0};
    shoal_status st = shoal_fail(&err, SHOAL_ERR_AGAIN, "%s", why);
    answer_first(l, st, &nothing, &err);
}

static void fail_all(shoal_ca_link *l, const char *why)
{
    while (l->first != NULL) {
        fail_first(l, why);
    }
}

static void disconnect(shoal_ca_link *l)
{
    shoal_watch_close(l->watch);
    l->watch = NULL;
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    l->fd = -1;
}

static void lost(shoal_ca_link *l)
{
    shoal_log(SHOAL_LOG_ERROR, "ca", "the CA has gone: nobody can join or renew for now");
    disconnect(l);
    fail_all(l, "the certificate authority is away");
    if (l->path[0] != '\0') {
        shoal_timer_start(l->again, AGAIN_MS, 0);
    }
}

static void on_readable(void *ctx)
{
    shoal_ca_link *l = ctx;
    shoal_error err = {0};
    shoal_cursor body;
    uint32_t number = 0;
    ssize_t n = recv(l->fd, l->in, sizeof l->in, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        lost(l);
        return;
    }
    shoal_status st = shoal_signer_read_answer(l->in, (size_t)n, &number, &body, &err);
    if (l->sent && number == l->first->number) { /* otherwise its question was given up */
        answer_first(l, st, &body, &err);
        send_next(l);
    }
    shoal_wipe(l->in, (size_t)n);
}

static void on_late(void *ctx)
{
    shoal_ca_link *l = ctx;
    shoal_log(SHOAL_LOG_WARN, "ca", "the CA does not answer");
    fail_first(l, "the certificate authority does not answer");
    send_next(l);
}

static void send_next(shoal_ca_link *l)
{
    while (!l->sent && l->first != NULL) {
        const shoal_buf *f = &l->first->frame;
        if (l->fd >= 0 &&
            send(l->fd, f->data, f->len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)f->len) {
            l->sent = true;
            shoal_timer_start(l->late, ANSWER_MS, 0);
        } else {
            fail_first(l, "the certificate authority is away");
        }
    }
}

static shoal_status attach(shoal_ca_link *l, int fd, shoal_error *err)
{
    SHOAL_TRY(shoal_watch_open(&l->watch, l->loop, fd, on_readable, l, err));
    l->fd = fd;
    return SHOAL_OK;
}

static void on_again(void *ctx)
{
    shoal_ca_link *l = ctx;
    int fd = -1;
    if (shoal_signer_connect(l->path, &fd, NULL) == SHOAL_OK && attach(l, fd, NULL) == SHOAL_OK) {
        shoal_log(SHOAL_LOG_INFO, "ca", "the CA is back");
        return;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    shoal_timer_start(l->again, AGAIN_MS, 0);
}

shoal_status shoal_ca_link_open(shoal_ca_link **out, shoal_loop *loop, int fd, const char *path,
                                shoal_error *err)
{
    *out = NULL;
    shoal_ca_link *l = shoal_calloc(1, sizeof *l);
    if (l == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory");
    }
    l->loop = loop;
    l->fd = -1;
    l->last = &l->first;
    (void)snprintf(l->path, sizeof l->path, "%s", path != NULL ? path : "");
    shoal_status st = shoal_timer_open(&l->late, loop, on_late, l, err);
    if (st == SHOAL_OK) {
        st = shoal_timer_open(&l->again, loop, on_again, l, err);
    }
    if (st == SHOAL_OK) {
        st = attach(l, fd, err);
    }
    if (st != SHOAL_OK) {
        shoal_ca_link_close(l);
        return st;
    }
    *out = l;
    return SHOAL_OK;
}

void shoal_ca_link_close(shoal_ca_link *l)
{
    if (l == NULL) {
        return;
    }
    disconnect(l);
    fail_all(l, "the aggregator is stopping");
    shoal_timer_close(l->late);
    shoal_timer_close(l->again);
    shoal_free(l);
}

static question *make_question(shoal_ca_link *l, shoal_signer_op op, const shoal_buf *head,
                               const void *rest, size_t n)
{
    question *q = shoal_calloc(1, sizeof *q);
    if (q == NULL) {
        return NULL;
    }
    q->number = ++l->numbers;
    q->frame = shoal_buf_init(SHOAL_SIGNER_FRAME);
    (void)shoal_buf_put_u8(&q->frame, (uint8_t)op);
    (void)shoal_buf_put_u32(&q->frame, q->number);
    if (head != NULL) {
        (void)shoal_buf_put(&q->frame, head->data, head->len);
    }
    (void)shoal_buf_put(&q->frame, rest, n);
    if (q->frame.failed) {
        shoal_buf_wipe(&q->frame);
        shoal_free(q);
        return NULL;
    }
    return q;
}

shoal_status shoal_ca_link_ask(shoal_ca_link *l, shoal_signer_op op, const shoal_buf *head,
                               const void *rest, size_t n, shoal_ca_answer_fn *fn, void *ctx,
                               shoal_error *err)
{
    if (l->fd < 0 || l->n >= QUEUE_MAX) {
        return shoal_fail(err, SHOAL_ERR_AGAIN,
                          l->fd < 0 ? "the certificate authority is away"
                                    : "many devices join at this moment");
    }
    question *q = make_question(l, op, head, rest, n);
    if (q == NULL) {
        return shoal_fail(err, SHOAL_ERR_AGAIN, "no memory for a question to the CA");
    }
    q->fn = fn;
    q->ctx = ctx;
    *l->last = q;
    l->last = &q->next;
    l->n++;
    send_next(l);
    return SHOAL_OK;
}
