/* wire_proxy.c - see wire_proxy.h. */
#include "tests/support/wire_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void cut(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) (void)close(pair[i]);
        pair[i] = -1;
    }
}

static void cut_all(wire_proxy *p)
{
    for (int i = 0; i < WIRE_PROXY_PAIRS; i++)
        cut(p->pair[i]);
}

static void take_connection(wire_proxy *p)
{
    int in = accept(p->listener, NULL, NULL);
    int out = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = loopback(p->target);
    int i = 0;
    while (i < WIRE_PROXY_PAIRS && p->pair[i][0] >= 0)
        i++;
    if (in < 0 || out < 0 || i == WIRE_PROXY_PAIRS ||
        connect(out, (struct sockaddr *)&to, sizeof to) != 0) {
        if (in >= 0) (void)close(in);
        if (out >= 0) (void)close(out);
        return;
    }
    p->pair[i][0] = in;
    p->pair[i][1] = out;
    p->connections++;
}

static bool send_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t put = send(fd, data, n, MSG_NOSIGNAL);
        if (put <= 0) return false;
        data += put;
        n -= (size_t)put;
    }
    return true;
}

/* Everything up to the byte of the cut still passes. */
static bool reached(atomic_ullong *count, atomic_ullong *cut_at, size_t *n)
{
    unsigned long long at = atomic_load(cut_at), was = atomic_load(count);
    bool now = at > 0 && was + *n >= at;
    if (now) {
        *n = at > was ? (size_t)(at - was) : 0;
        atomic_store(cut_at, 0);
    }
    atomic_fetch_add(count, *n);
    return now;
}

static void relay(wire_proxy *p, int pair[2], bool up)
{
    char data[4096];
    size_t most = sizeof data;
    unsigned rate = up ? atomic_load(&p->bytes_per_ms) : 0;
    if (rate > 0) {
        struct timespec ms = {0, 1000000};
        (void)nanosleep(&ms, NULL);
        most = rate < most ? rate : most;
    }
    ssize_t got = recv(pair[up ? 0 : 1], data, most, 0);
    if (got <= 0) {
        cut(pair);
        return;
    }
    size_t n = (size_t)got;
    bool over = up ? reached(&p->up, &p->cut_at_up, &n) : reached(&p->down, &p->cut_at_down, &n);
    if (!send_all(pair[up ? 1 : 0], data, n)) cut(pair);
    if (over) cut_all(p);
}

static void *run(void *ctx)
{
    wire_proxy *p = ctx;
    while (!atomic_load(&p->stop)) {
        struct pollfd fds[1 + 2 * WIRE_PROXY_PAIRS] = {{.fd = p->listener, .events = POLLIN}};
        for (int i = 0; i < 2 * WIRE_PROXY_PAIRS; i++) {
            fds[1 + i] = (struct pollfd){.fd = p->pair[i / 2][i % 2], .events = POLLIN};
        }
        if (poll(fds, 1 + 2 * WIRE_PROXY_PAIRS, 20) <= 0) continue;
        for (int i = 0; i < 2 * WIRE_PROXY_PAIRS; i++) {
            bool still = p->pair[i / 2][i % 2] == fds[1 + i].fd && fds[1 + i].fd >= 0;
            if (still && fds[1 + i].revents != 0) relay(p, p->pair[i / 2], i % 2 == 0);
        }
        if (fds[0].revents != 0) take_connection(p);
    }
    return NULL;
}

void wire_proxy_open(wire_proxy *p, uint16_t target)
{
    struct sockaddr_in a = loopback(0);
    socklen_t n = sizeof a;
    memset(p, 0, sizeof *p);
    memset(p->pair, 0xff, sizeof p->pair);
    p->target = target;
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p->listener, 8), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &n), 0);
    p->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, run, p), 0);
}

void wire_proxy_close(wire_proxy *p)
{
    atomic_store(&p->stop, true);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    cut_all(p);
    (void)close(p->listener);
}
