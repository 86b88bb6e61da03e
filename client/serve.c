/* serve.c - the OpenAI-compatible server: routes, queue, stop. */
#include "client/serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/openai.h"
#include "client/serve_job.h"
#include "kernels/base/mem.h"
#include "proto/net/http_server.h"
#include "proto/net/loop.h"

enum { STOP_GRACE_MS = 1500 };

/* Everything here belongs to the loop's thread. */
typedef struct server {
    const shoal_serve_options *o;
    shoal_loop *loop;
    shoal_http_server *http;
    shoal_serve_session session; /* lent to the job that runs */
    shoal_job *running;
    shoal_job *first, *last; /* waiting */
    size_t n_waiting;
    uint64_t n_requests;
    int64_t started;
    bool stopping;
} server;

/* ---- who may ask
 * ------------------------------------------------------------------------------------ */

bool shoal_is_loopback(const char *host)
{
    bool numeric = strspn(host, "0123456789.") == strlen(host);
    return (numeric && strncmp(host, "127.", 4) == 0) || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* "localhost:8080", "[::1]:8080", "127.0.0.1": is the name before the port loopback? */
static bool names_loopback(const char *authority)
{
    char host[64];
    const char *begin = authority;
    size_t n = 0;
    if (*begin == '[') {
        begin++;
        n = strcspn(begin, "]");
    } else {
        n = strcspn(begin, ":");
    }
    if (n >= sizeof host) return false;
    memcpy(host, begin, n);
    host[n] = '\0';
    return shoal_is_loopback(host);
}

/* A web page of another site can reach loopback through the browser (directly, or by rebinding its
 * own name): such a request carries a foreign Origin or Host. */
static bool from_foreign_page(const shoal_http_request *req)
{
    const char *host = shoal_http_header(req, "Host");
    const char *origin = shoal_http_header(req, "Origin");
    if (host != NULL && !names_loopback(host)) return true;
    if (origin == NULL) return false;
    const char *authority = strstr(origin, "://");
    return authority == NULL || !names_loopback(authority + 3);
}

/* ---- the queue
 * -------------------------------------------------------------------------------------- */

static void start_next(server *s);

static void job_over(void *ctx, shoal_job *job)
{
    server *s = ctx;
    s->running = NULL;
    shoal_job_close(job);
    start_next(s);
}

static void start_next(server *s)
{
    if (s->running != NULL || s->first == NULL || s->stopping) return;
    shoal_job *job = s->first;
    s->first = job->next;
    if (s->first == NULL) s->last = NULL;
    s->n_waiting--;
    s->running = job;
    shoal_job_start(job);
}

static void enqueue(server *s, shoal_job *job)
{
    job->next = NULL;
    if (s->last != NULL) {
        s->last->next = job;
    } else {
        s->first = job;
    }
    s->last = job;
    s->n_waiting++;
}

/* Takes a job that has not started out of the queue. */
static void remove_waiting(server *s, shoal_job *job)
{
    shoal_job *before = NULL;
    for (shoal_job *j = s->first; j != NULL; before = j, j = j->next) {
        if (j != job) continue;
        if (before != NULL) {
            before->next = j->next;
        } else {
            s->first = j->next;
        }
        if (s->last == j) s->last = before;
        s->n_waiting--;
        return;
    }
}

/* At the end: those who wait are told at once. */
static void refuse_waiting(server *s)
{
    while (s->first != NULL) {
        shoal_job *job = s->first;
        remove_waiting(s, job);
        shoal_serve_error(job->req, 503, "shutting_down", "the server is stopping");
        shoal_job_close(job);
    }
}

static void on_gone(void *ctx, shoal_http_request *req)
{
    shoal_job *job = ctx;
    server *s = job->over_ctx;
    (void)req;
    shoal_job_gone(job);
    if (!job->started) {
        remove_waiting(s, job);
        shoal_job_close(job);
    }
}

/* ---- routes
 * ------------------------------------------------------------------------------------------ */

static void complete_chat(server *s, shoal_http_request *req)
{
    shoal_error err = {0};
    shoal_job *job = NULL;
    int http_status = 0;
    const char *code = NULL;
    size_t n = 0;
    size_t queue = s->o->queue > 0 ? s->o->queue : SHOAL_SERVE_QUEUE;
    const uint8_t *body = shoal_http_body(req, &n);
    if (s->n_waiting >= queue || s->stopping) {
        (void)shoal_http_add_header(req, "Retry-After", "2");
        shoal_serve_error(req, 503, "overloaded", "too many requests are waiting");
        return;
    }
    shoal_status st =
        shoal_job_open(&job, s->o, body, n, s->n_requests++, &http_status, &code, &err);
    if (st != SHOAL_OK) {
        shoal_serve_error(req, http_status, code, err.msg);
        return;
    }
    job->loop = s->loop;
    job->session = &s->session;
    job->req = req;
    job->over = job_over;
    job->over_ctx = s;
    shoal_http_on_gone(req, on_gone, job);
    enqueue(s, job);
    start_next(s);
}

static void list_models(server *s, shoal_http_request *req)
{
    const char *ids[SHOAL_SERVE_MAX_MODELS];
    shoal_buf b = shoal_buf_init(65536);
    for (size_t i = 0; i < s->o->n_models; i++) {
        ids[i] = s->o->models[i].id;
    }
    if (shoal_openai_encode_models(&b, ids, s->o->n_models, s->started, NULL) == SHOAL_OK) {
        shoal_http_respond(req, 200, "application/json", b.data, b.len);
    } else {
        shoal_serve_error(req, 500, "internal", "the list could not be written");
    }
    shoal_buf_clear(&b);
}

static void say_health(server *s, shoal_http_request *req)
{
    char text[96];
    int n = snprintf(text, sizeof text, "{\"status\":\"ok\",\"running\":%d,\"waiting\":%zu}",
                     s->running != NULL, s->n_waiting);
    shoal_http_respond(req, 200, "application/json", text, (size_t)n);
}

typedef struct route {
    const char *path, *method;
    void (*answer)(server *s, shoal_http_request *req);
    size_t max_body;
} route;

static const route routes[] = {
    {"/v1/chat/completions", "POST", complete_chat, SHOAL_OPENAI_MAX_BODY},
    {"/v1/models", "GET", list_models, 0},
    {"/health", "GET", say_health, 0},
};

static const route *find_route(const shoal_http_request *req)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(routes[i].path, shoal_http_path(req)) == 0) return &routes[i];
    }
    return NULL;
}

static void on_headers(void *ctx, shoal_http_request *req, shoal_http_accept *accept)
{
    const server *s = ctx;
    const route *r = find_route(req);
    if (s->o->loopback && from_foreign_page(req)) {
        shoal_serve_error(req, 403, "foreign_origin", "this server answers local programs only");
    } else if (r == NULL) {
        shoal_serve_error(req, 404, "not_found", "there is nothing at this path");
    } else if (strcmp(r->method, shoal_http_method(req)) != 0) {
        (void)shoal_http_add_header(req, "Allow", r->method);
        shoal_serve_error(req, 405, "method_not_allowed", "this path takes another method");
    } else {
        accept->max_body = r->max_body;
    }
}

static void on_request(void *ctx, shoal_http_request *req)
{
    find_route(req)->answer(ctx, req); /* on_headers let it pass, so there is one */
}

static void on_error(void *ctx, const shoal_http_refusal *why, shoal_buf *body,
                     const char **media_type)
{
    (void)ctx;
    const char *code = why->retry_after_ms > 0 ? "rate_limit_exceeded" : "bad_request";
    if (shoal_openai_encode_error(body, why->status, code, why->reason, NULL) == SHOAL_OK) {
        *media_type = "application/json";
    }
}

/* ---- start and stop
 * ----------------------------------------------------------------------------------- */

static void on_stopped(void *ctx)
{
    const server *s = ctx;
    shoal_loop_stop(s->loop);
}

static void on_signal(void *ctx)
{
    server *s = ctx;
    if (s->stopping) return;
    s->stopping = true;
    if (s->running != NULL) atomic_store(&s->running->cancel, true);
    refuse_waiting(s);
    shoal_http_server_stop(s->http, STOP_GRACE_MS, on_stopped, s);
}

static shoal_status open_server(server *s, shoal_error *err)
{
    const shoal_http_options ho = {
        .host = s->o->host, .port = s->o->port, .handler = {s, on_headers, on_request, on_error}};
    SHOAL_TRY(shoal_serve_session_init(&s->session, s->o, err));
    SHOAL_TRY(shoal_loop_open(&s->loop, err));
    SHOAL_TRY(shoal_loop_on_signal(s->loop, SIGINT, on_signal, s, err));
    SHOAL_TRY(shoal_loop_on_signal(s->loop, SIGTERM, on_signal, s, err));
    return shoal_http_server_open(&s->http, s->loop, &ho, err);
}

/* Cuts connections (their jobs are told), waits for the worker, frees what waited. */
static void close_server(server *s)
{
    s->stopping = true;
    if (s->running != NULL) atomic_store(&s->running->cancel, true);
    shoal_http_server_close(s->http);
    shoal_loop_close(s->loop);
    while (s->first != NULL) {
        shoal_job *job = s->first;
        s->first = job->next;
        shoal_job_close(job);
    }
    shoal_serve_session_clear(&s->session);
}

shoal_status shoal_serve(const shoal_serve_options *o, shoal_serve_ready *ready, void *ctx,
                         shoal_error *err)
{
    server s = {.o = o, .started = time(NULL)};
    shoal_status st = open_server(&s, err);
    if (st == SHOAL_OK) {
        ready(ctx, shoal_http_server_port(s.http));
        shoal_loop_run(s.loop);
    }
    close_server(&s);
    return st;
}
