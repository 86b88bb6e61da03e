/* signer.c - the CA's end of the conversation, and what both ends share. */
#include "aggregator/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/process.h"

enum { ASK_TIMEOUT_MS = 5000, STOP_POLL_MS = 250, HOSTS = 8 };

/* ---- answers ----------------------------------------------------------------------------------
 */

static void put_grant(const shoal_ca_grant *g, shoal_buf *out)
{
    (void)shoal_buf_put_u8(out, (uint8_t)g->level);
    (void)shoal_buf_put(out, g->cert.data, g->cert.n);
}

static shoal_status answer_begin(shoal_ca *ca, shoal_cursor *c, int64_t now_s, shoal_buf *out,
                                 shoal_error *err)
{
    shoal_enrol_begin q;
    shoal_enrol_challenge r = {0};
    SHOAL_TRY(shoal_enrol_begin_decode(c->p, c->left, &q, err));
    SHOAL_TRY(shoal_ca_begin(ca, &q, now_s, &r, err));
    return shoal_enrol_challenge_encode(&r, out, err);
}

static shoal_status answer_enrol(shoal_ca *ca, shoal_cursor *c, int64_t now_s, shoal_buf *out,
                                 shoal_error *err)
{
    shoal_ca_grant g;
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q); /* too large for the stack */
    if (q == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    shoal_status st = shoal_enrol_request_decode(c->p, c->left, q, err);
    if (st == SHOAL_OK) {
        st = shoal_ca_enrol(ca, q, now_s, &g, err);
    }
    shoal_wipe(q->token, sizeof q->token);
    shoal_free(q);
    if (st == SHOAL_OK) {
        put_grant(&g, out);
    }
    return st;
}

static shoal_status answer_renew(shoal_ca *ca, shoal_cursor *c, int64_t now_s, shoal_buf *out,
                                 shoal_error *err)
{
    shoal_wire_der old = {.n = shoal_cursor_u16(c)};
    shoal_renew_request q;
    shoal_ca_grant g;
    const uint8_t *der = shoal_cursor_bytes(c, old.n);
    if (der == NULL || old.n > sizeof old.data) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a request without its certificate");
    }
    memcpy(old.data, der, old.n);
    SHOAL_TRY(shoal_renew_request_decode(c->p, c->left, &q, err));
    SHOAL_TRY(shoal_ca_renew(ca, &old, &q, now_s, &g, err));
    put_grant(&g, out);
    return SHOAL_OK;
}

static shoal_status answer_server(shoal_ca *ca, shoal_cursor *c, int64_t now_s, shoal_buf *out,
                                  shoal_error *err)
{
    char text[HOSTS][256] = {{0}};
    const char *hosts[HOSTS];
    size_t n = 0;
    shoal_wire_der cert;
    while (c->left > 0 && n < HOSTS) {
        uint8_t len = shoal_cursor_u8(c);
        if (!shoal_cursor_copy(c, text[n], len) || strlen(text[n]) != len) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "a host name that cannot be read");
        }
        hosts[n] = text[n];
        n++;
    }
    if (c->left > 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "more than %d host names", HOSTS);
    }
    SHOAL_TRY(shoal_ca_server(ca, hosts, n, now_s, &cert, err));
    (void)shoal_buf_put(out, cert.data, cert.n);
    return SHOAL_OK;
}

static shoal_status answer_info(shoal_ca *ca, shoal_buf *out, shoal_error *err)
{
    SHOAL_TRY(shoal_ca_reload(ca, err));
    const shoal_buf *bundle = shoal_ca_bundle_of(ca);
    (void)shoal_buf_put(out, bundle->data, bundle->len);
    return SHOAL_OK;
}

static shoal_status dispatch(shoal_ca *ca, uint8_t op, shoal_cursor *c, int64_t now_s,
                             shoal_buf *out, shoal_error *err)
{
    switch (op) {
    case SHOAL_SIGNER_INFO: return answer_info(ca, out, err);
    case SHOAL_SIGNER_BEGIN: return answer_begin(ca, c, now_s, out, err);
    case SHOAL_SIGNER_ENROL: return answer_enrol(ca, c, now_s, out, err);
    case SHOAL_SIGNER_RENEW: return answer_renew(ca, c, now_s, out, err);
    case SHOAL_SIGNER_SERVER: return answer_server(ca, c, now_s, out, err);
    default: return shoal_fail(err, SHOAL_ERR_FORMAT, "an operation the CA does not know");
    }
}

void shoal_signer_answer(shoal_ca *ca, const uint8_t *in, size_t n, int64_t now_s, shoal_buf *out)
{
    shoal_error err = {0};
    shoal_cursor c = shoal_cursor_init(in, n);
    uint8_t op = shoal_cursor_u8(&c);
    uint32_t number = shoal_cursor_u32(&c);
    out->len = 0;
    (void)shoal_buf_put_u8(out, 0);
    (void)shoal_buf_put_u32(out, number);
    shoal_status st = dispatch(ca, op, &c, now_s, out, &err);
    if (st == SHOAL_OK) {
        st = shoal_buf_status(out, &err);
    }
    if (st != SHOAL_OK) {
        out->len = 0;
        (void)shoal_buf_put_u8(out, (uint8_t)-st);
        (void)shoal_buf_put_u32(out, number);
        (void)shoal_buf_put(out, err.msg, strlen(err.msg) + 1);
        (void)shoal_buf_put(out, err.hint, strlen(err.hint) + 1);
    }
}

/* A text that ends inside the cursor; false otherwise. */
static bool take_text(shoal_cursor *c, const char **out)
{
    const uint8_t *end = c->left > 0 ? memchr(c->p, 0, c->left) : NULL;
    if (end == NULL) {
        return false;
    }
    *out = (const char *)shoal_cursor_bytes(c, (uint64_t)(end - c->p) + 1);
    return *out != NULL;
}

shoal_status shoal_signer_read_answer(const uint8_t *data, size_t n, uint32_t *number,
                                      shoal_cursor *body, shoal_error *err)
{
    const char *msg = "";
    const char *hint = "";
    *body = shoal_cursor_init(data, n);
    uint8_t status = shoal_cursor_u8(body);
    *number = shoal_cursor_u32(body);
    if (body->failed || status > -SHOAL_ERR_INTERNAL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the CA's answer cannot be read");
    }
    if (status == 0) {
        return SHOAL_OK;
    }
    if (!take_text(body, &msg) || !take_text(body, &hint)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the CA's answer cannot be read");
    }
    shoal_status st = shoal_fail(err, (shoal_status)-status, "%s", msg);
    if (hint[0] != '\0') {
        shoal_hint(err, "%s", hint);
    }
    return st;
}

/* ---- sockets ----------------------------------------------------------------------------------
 */

shoal_status shoal_signer_pair(int fd[2], shoal_error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd) != 0) {
        return shoal_fail_errno(err, errno, "cannot make a socket for the CA");
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(fd[i], F_SETFD, FD_CLOEXEC);
    }
    return SHOAL_OK;
}

static shoal_status make_socket(const char *path, struct sockaddr_un *at, int *fd, shoal_error *err)
{
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at->sun_path) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the path of the CA's socket is too long");
    }
    memcpy(at->sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (*fd < 0) {
        return shoal_fail_errno(err, errno, "cannot make a socket for the CA");
    }
    (void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
    return SHOAL_OK;
}

shoal_status shoal_signer_connect(const char *path, int *fd, shoal_error *err)
{
    struct sockaddr_un at;
    SHOAL_TRY(make_socket(path, &at, fd, err));
    if (connect(*fd, (const struct sockaddr *)&at, sizeof at) == 0) {
        return SHOAL_OK;
    }
    shoal_status st = shoal_fail_errno(err, errno, "cannot reach the CA at %s", path);
    shoal_hint(err, "is `shoal-aggregator ca serve` running?");
    (void)close(*fd);
    *fd = -1;
    return st;
}

/* A socket file that nobody listens at any more is removed; one that answers is not. */
shoal_status shoal_signer_listen(const char *path, int *fd, shoal_error *err)
{
    struct sockaddr_un at;
    int other = -1;
    if (shoal_signer_connect(path, &other, NULL) == SHOAL_OK) {
        (void)close(other);
        return shoal_fail(err, SHOAL_ERR_STATE, "a CA is serving at %s already", path);
    }
    struct stat s;
    if (lstat(path, &s) == 0 && S_ISSOCK(s.st_mode)) {
        (void)unlink(path);
    }
    SHOAL_TRY(make_socket(path, &at, fd, err));
    if (bind(*fd, (const struct sockaddr *)&at, sizeof at) != 0 || chmod(path, 0666) != 0 ||
        listen(*fd, SHOAL_SIGNER_PEERS) != 0) {
        shoal_status st = shoal_fail_errno(err, errno, "cannot listen at %s", path);
        (void)close(*fd);
        *fd = -1;
        return st;
    }
    return SHOAL_OK;
}

/* ---- serving ----------------------------------------------------------------------------------
 */

typedef struct serving {
    shoal_ca *ca;
    const shoal_signer_serve_options *o;
    struct pollfd fds[1 + SHOAL_SIGNER_PEERS]; /* the listener, then peers */
    size_t n;
    shoal_buf out;
    uint8_t in[SHOAL_SIGNER_FRAME + 1];
} serving;

static void drop_peer(serving *s, size_t i)
{
    if (s->fds[i].fd != s->o->peer) {
        (void)close(s->fds[i].fd);
    }
    s->fds[i] = s->fds[--s->n];
}

static void accept_peer(serving *s)
{
    unsigned user = 0;
    int fd = accept(s->o->listener, NULL, NULL);
    if (fd < 0) {
        return;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    bool known = shoal_process_peer_user(fd, &user) &&
                 (user == 0 || user == s->o->owner || user == (unsigned)geteuid());
    if (!known || s->n == sizeof s->fds / sizeof s->fds[0]) {
        shoal_log(SHOAL_LOG_WARN, "ca", "refused a connection of user %u", user);
        (void)close(fd);
        return;
    }
    s->fds[s->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* False when the peer has gone or does not keep to the form. */
static bool serve_peer(serving *s, int fd)
{
    ssize_t n = recv(fd, s->in, sizeof s->in, 0);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    if (n < SHOAL_SIGNER_HEAD || n > SHOAL_SIGNER_FRAME) {
        return false;
    }
    shoal_signer_answer(s->ca, s->in, (size_t)n, (int64_t)time(NULL), &s->out);
    shoal_wipe(s->in, (size_t)n); /* it may have held a token */
    ssize_t sent = send(fd, s->out.data, s->out.len, MSG_NOSIGNAL);
    return sent == (ssize_t)s->out.len;
}

static shoal_status serve_loop(serving *s, shoal_error *err)
{
    while (s->o->stop == NULL || !s->o->stop()) {
        int ready = poll(s->fds, s->n, STOP_POLL_MS);
        if (ready < 0 && errno != EINTR) {
            return shoal_fail_errno(err, errno, "the CA cannot wait for requests");
        }
        for (size_t i = s->n; ready > 0 && i-- > 1;) {
            if (s->fds[i].revents != 0 && !serve_peer(s, s->fds[i].fd)) {
                drop_peer(s, i);
            }
        }
        if (s->o->listener >= 0 && (s->fds[0].revents & POLLIN) != 0) {
            accept_peer(s);
        }
        if (s->o->listener < 0 && s->n == 1) {
            return SHOAL_OK; /* the one we serve has gone */
        }
        s->fds[0].revents = 0;
    }
    return SHOAL_OK;
}

shoal_status shoal_signer_serve(shoal_ca *ca, const shoal_signer_serve_options *o, shoal_error *err)
{
    serving *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    s->ca = ca;
    s->o = o;
    s->n = 1;
    s->out = shoal_buf_init(SHOAL_SIGNER_FRAME);
    s->fds[0] = (struct pollfd){.fd = o->listener, .events = POLLIN}; /* -1: poll skips it */
    if (o->peer >= 0) {
        s->fds[s->n++] = (struct pollfd){.fd = o->peer, .events = POLLIN};
    }
    shoal_status st = serve_loop(s, err);
    while (s->n > 1) {
        drop_peer(s, s->n - 1);
    }
    shoal_buf_wipe(&s->out);
    shoal_free(s);
    return st;
}

/* ---- asking and waiting -----------------------------------------------------------------------
 */

static shoal_status wait_readable(int fd, shoal_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc;
    do {
        rc = poll(&p, 1, ASK_TIMEOUT_MS);
    } while (rc < 0 && errno == EINTR);
    return rc > 0 ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_TIMEOUT, "the CA does not answer");
}

shoal_status shoal_signer_ask_now(int fd, shoal_signer_op op, const void *body, size_t n,
                                  shoal_buf *out, shoal_error *err)
{
    uint8_t in[4096]; /* what is asked so has short answers */
    uint32_t number = 0;
    shoal_cursor c;
    shoal_buf frame = shoal_buf_init(SHOAL_SIGNER_FRAME);
    (void)shoal_buf_put_u8(&frame, (uint8_t)op);
    (void)shoal_buf_put_u32(&frame, 0);
    (void)shoal_buf_put(&frame, body, n);
    shoal_status st = shoal_buf_status(&frame, err);
    if (st == SHOAL_OK && send(fd, frame.data, frame.len, MSG_NOSIGNAL) != (ssize_t)frame.len) {
        st = shoal_fail_errno(err, errno, "the CA cannot be asked");
    }
    shoal_buf_clear(&frame);
    SHOAL_TRY(st);
    SHOAL_TRY(wait_readable(fd, err));
    ssize_t got = recv(fd, in, sizeof in, 0);
    if (got <= 0) {
        st = shoal_fail(err, SHOAL_ERR_IO, "the CA has ended");
        shoal_hint(err, "what it said before says why");
        return st;
    }
    SHOAL_TRY(shoal_signer_read_answer(in, (size_t)got, &number, &c, err));
    (void)shoal_buf_put(out, c.p, c.left);
    return shoal_buf_status(out, err);
}
