/* http_parse.c - from bytes to requests, by http-parser. */
#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"
#include "proto/net/http_conn.h"

enum { MAX_HEADERS = 64 };

void http_request_init(shoal_http_request *r, http_conn *c)
{
    size_t max = c->server->lim.max_header_bytes;
    *r = (shoal_http_request){.conn = c,
                              .text = shoal_buf_init(max),
                              .url = shoal_buf_init(max),
                              .extra = shoal_buf_init(4096)};
}

void http_request_over(shoal_http_request *r)
{
    http_conn *c = r->conn;
    if (r->counted) {
        r->counted = false;
        c->server->count.open_requests--;
        if (c->client != NULL) {
            c->client->n_requests--;
        }
    }
}

void http_request_clear(shoal_http_request *r)
{
    http_release(r);
    http_request_over(r);
    r->conn->server->count.body_bytes -= r->body_held;
    r->body_held = 0;
    shoal_buf_clear(&r->text);
    shoal_buf_clear(&r->url);
    shoal_buf_clear(&r->body);
    shoal_buf_clear(&r->extra);
}

/* Remembers what the server will answer and stops the parser. */
static int refuse(shoal_http_request *r, int status, const char *reason)
{
    r->fail_status = status;
    r->fail_reason = reason;
    return -1;
}

static int on_begin(http_parser *p)
{
    http_conn *c = p->data;
    http_request_clear(&c->req);
    http_request_init(&c->req, c);
    http_conn_phase(c, HTTP_HEADERS, c->server->lim.header_timeout_ms);
    return 0;
}

static int too_large_headers(shoal_http_request *r)
{
    return refuse(r, 431, "request header too large");
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    shoal_http_request *r = &((http_conn *)p->data)->req;
    return shoal_buf_put(&r->url, at, n) ? 0 : too_large_headers(r);
}

/* Header text lies as name NUL value NUL name NUL value NUL; while a value is read its NUL is
 * missing, while a name is read so is its own. */
static int on_field(http_parser *p, const char *at, size_t n)
{
    shoal_http_request *r = &((http_conn *)p->data)->req;
    bool ok = !r->in_value || shoal_buf_put_u8(&r->text, 0);
    r->in_value = false;
    return ok && shoal_buf_put(&r->text, at, n) ? 0 : too_large_headers(r);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    shoal_http_request *r = &((http_conn *)p->data)->req;
    bool ok = r->in_value || shoal_buf_put_u8(&r->text, 0);
    r->in_value = true;
    return ok && shoal_buf_put(&r->text, at, n) ? 0 : too_large_headers(r);
}

/* Appends path and query of the request target to the text. */
static int split_target(shoal_http_request *r)
{
    struct http_parser_url u;
    http_parser_url_init(&u);
    const char *url = shoal_buf_str(&r->url);
    if (http_parser_parse_url(url, r->url.len, 0, &u) != 0 ||
        (u.field_set & (1u << UF_PATH)) == 0) {
        return refuse(r, 400, "bad request target");
    }
    shoal_buf *t = &r->text;
    bool ok = !r->in_value || shoal_buf_put_u8(t, 0);
    ok = ok && shoal_buf_put_u8(t, 0); /* an empty name ends the list of headers */
    r->path_at = t->len;
    ok = ok && shoal_buf_put(t, url + u.field_data[UF_PATH].off, u.field_data[UF_PATH].len) &&
         shoal_buf_put_u8(t, 0);
    r->query_at = t->len;
    if ((u.field_set & (1u << UF_QUERY)) != 0) {
        ok = ok && shoal_buf_put(t, url + u.field_data[UF_QUERY].off, u.field_data[UF_QUERY].len);
    }
    return ok && shoal_buf_put_u8(t, 0) ? 0 : too_large_headers(r);
}

/* http-parser, as distributions build it, lets spaces through in header names. */
static int check_headers(shoal_http_request *r)
{
    size_t n = 0;
    const char *s = shoal_buf_str(&r->text);
    while (*s != '\0') {
        if (strpbrk(s, " \t") != NULL) {
            return refuse(r, 400, "space in a header name");
        }
        s += strlen(s) + 1; /* name */
        s += strlen(s) + 1; /* value */
        n++;
    }
    return n <= MAX_HEADERS ? 0 : refuse(r, 431, "too many headers");
}

static bool expects_continue(const shoal_http_request *r)
{
    const char *v = shoal_http_header(r, "Expect");
    return v != NULL && strcasecmp(v, "100-continue") == 0;
}

static bool has_body(const http_parser *p)
{
    return (p->flags & F_CHUNKED) != 0 || ((p->flags & F_CONTENTLENGTH) && p->content_length > 0);
}

/* Whether the client, and the server, can do with one more request now. */
static int admit_request(shoal_http_request *r)
{
    http_conn *c = r->conn;
    shoal_http_server *s = c->server;
    const shoal_http_limits *lim = &s->lim;
    http_peer *who = c->client != NULL ? c->client : c->address;
    if (!http_bucket_take(&who->requests, lim->request_rate, lim->request_burst,
                          shoal_loop_now_ms(s->loop))) {
        return refuse(r, 429, "too many requests; slow down");
    }
    if (c->client != NULL && lim->max_open_requests_per_client != 0 &&
        c->client->n_requests >= lim->max_open_requests_per_client) {
        return refuse(r, 429, "too many requests at a time");
    }
    if (s->count.open_requests >= lim->max_open_requests) {
        return refuse(r, 503, "many devices are being served");
    }
    r->counted = true;
    s->count.open_requests++;
    if (c->client != NULL) {
        c->client->n_requests++;
    }
    return 0;
}

static int no_room_for_body(shoal_http_request *r)
{
    return refuse(r, 503, "many requests are being received");
}

/* The handler has decided; a body is let in only within its limit. */
static int begin_body(http_conn *c, http_parser *p)
{
    shoal_http_request *r = &c->req;
    if ((p->flags & F_CONTENTLENGTH) != 0 && p->content_length > r->accept.max_body) {
        return refuse(r, 413, "request body too large");
    }
    const shoal_http_server *s = c->server;
    if ((p->flags & F_CONTENTLENGTH) != 0 && r->accept.on_body == NULL &&
        s->count.body_bytes > 0 && /* one alone is always let in, or nothing would ever move */
        (p->content_length > s->lim.max_body_bytes ||
         s->count.body_bytes > s->lim.max_body_bytes - p->content_length)) {
        return no_room_for_body(r);
    }
    r->body = shoal_buf_init(r->accept.max_body);
    r->body_began_ms = shoal_loop_now_ms(c->server->loop);
    http_conn_phase(c, HTTP_BODY, c->server->lim.body_timeout_ms);
    static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (expects_continue(r) && !http_conn_send(c, CONTINUE, sizeof CONTINUE - 1)) {
        return -1;
    }
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    http_conn *c = p->data;
    shoal_http_request *r = &c->req;
    if (p->method == HTTP_CONNECT) {
        return refuse(r, 405, "CONNECT is not served here");
    }
    p->upgrade = 0; /* a wish to upgrade is not an obligation (RFC 9110, 7.8) */
    if (split_target(r) != 0 || check_headers(r) != 0) {
        return -1;
    }
    if (p->http_major != 1 || (p->http_minor >= 1 && shoal_http_header(r, "Host") == NULL)) {
        return refuse(r, 400, "HTTP/1.1 requests must name their host");
    }
    r->head = p->method == HTTP_HEAD;
    c->n_requests++;
    if (http_should_keep_alive(p) == 0 || c->n_requests >= c->server->lim.max_requests ||
        c->server->stopping) {
        c->close_after = true;
    }
    if (admit_request(r) != 0) {
        return -1;
    }
    r->open = true;
    r->has_body = has_body(p);
    c->server->h.on_headers(c->server->h.ctx, r, &r->accept);
    if (r->on_gone == NULL) {
        r->on_gone = r->accept.on_gone;
        r->gone_ctx = r->accept.ctx;
    }
    if (!r->has_body) {
        return 0;
    }
    if (r->answer != ANSWER_NONE || c->closing) {
        c->close_after = true; /* the body stays unread */
        return -1;
    }
    return begin_body(c, p);
}

static bool body_too_slow(const http_conn *c)
{
    const shoal_http_limits *lim = &c->server->lim;
    uint64_t spent = shoal_loop_now_ms(c->server->loop) - c->req.body_began_ms;
    if (spent <= lim->body_timeout_ms) {
        return false;
    }
    return c->req.body_seen * 1000 < (uint64_t)lim->min_body_rate * (spent - lim->body_timeout_ms);
}

static int keep_body(shoal_http_request *r, const char *at, size_t n)
{
    shoal_http_server *s = r->conn->server;
    size_t others = s->count.body_bytes - r->body_held;
    if (others > 0 && s->count.body_bytes + n > s->lim.max_body_bytes) {
        return no_room_for_body(r);
    }
    if (!shoal_buf_put(&r->body, at, n)) {
        return refuse(r, 500, "out of memory");
    }
    r->body_held += n;
    s->count.body_bytes += n;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    http_conn *c = p->data;
    shoal_http_request *r = &c->req;
    r->body_seen += n;
    if (r->body_seen > r->accept.max_body) {
        return refuse(r, 413, "request body too large");
    }
    if (body_too_slow(c)) {
        return refuse(r, 408, "request body came too slowly");
    }
    http_conn_phase(c, HTTP_BODY, c->server->lim.body_timeout_ms);
    if (r->accept.on_body == NULL) {
        return keep_body(r, at, n);
    }
    shoal_status st = r->accept.on_body(r->accept.ctx, r, (const uint8_t *)at, n);
    if (r->answer != ANSWER_NONE || c->closing) {
        c->close_after = true;
        return -1;
    }
    return st == SHOAL_OK ? 0 : refuse(r, 400, "the upload was refused");
}

static int on_complete(http_parser *p)
{
    http_conn *c = p->data;
    c->req.complete = true;
    http_parser_pause(p, 1); /* the next request waits for this one's answer */
    return 0;
}

static const http_parser_settings SETTINGS = {.on_message_begin = on_begin,
                                              .on_url = on_url,
                                              .on_header_field = on_field,
                                              .on_header_value = on_value,
                                              .on_headers_complete = on_headers_complete,
                                              .on_body = on_body,
                                              .on_message_complete = on_complete};

/* A request the parser or a callback did not like. */
static void parse_failed(http_conn *c)
{
    shoal_http_request *r = &c->req;
    c->close_after = true;
    if (c->closing || r->answer != ANSWER_NONE) {
        if (r->answer == ANSWER_DONE) {
            http_conn_next(c);
        } else {
            http_conn_phase(c, HTTP_ANSWER, 0); /* the rest of the answer is still being written */
        }
        return;
    }
    if (r->fail_status != 0) {
        http_fail(c, r->fail_status, r->fail_reason);
    } else if (HTTP_PARSER_ERRNO(&c->parser) == HPE_HEADER_OVERFLOW) {
        http_fail(c, 431, "request header too large");
    } else {
        http_fail(c, 400, http_errno_description(HTTP_PARSER_ERRNO(&c->parser)));
    }
}

/* Parses until a request is complete. True when it is the handler's turn. */
static bool parse_once(http_conn *c)
{
    size_t n =
        http_parser_execute(&c->parser, &SETTINGS, (const char *)c->pending.data, c->pending.len);
    enum http_errno e = HTTP_PARSER_ERRNO(&c->parser);
    if (e != HPE_OK && e != HPE_PAUSED) {
        shoal_buf_clear(&c->pending);
        parse_failed(c);
        return false;
    }
    memmove(c->pending.data, c->pending.data + n, c->pending.len - n);
    c->pending.len -= n;
    if (!c->req.complete) {
        return false;
    }
    http_parser_pause(&c->parser, 0);
    http_conn_phase(c, HTTP_ANSWER, 0);
    return true;
}

void http_parse_input(http_conn *c)
{
    if (c->parsing) {
        return; /* an answer given inside a callback: the loop below goes on */
    }
    c->parsing = true;
    while (!c->closing && c->phase < HTTP_ANSWER && c->pending.len > 0) {
        if (!parse_once(c)) {
            continue;
        }
        shoal_http_request *r = &c->req;
        if (r->answer == ANSWER_NONE) {
            c->server->h.on_request(c->server->h.ctx, r);
        } else if (r->answer == ANSWER_DONE) {
            http_conn_next(c); /* answered in on_headers, and there was no body */
        }
    }
    c->parsing = false;
    if (c->pending.len == 0) {
        shoal_buf_clear(&c->pending); /* a connection may now be silent for a long time */
    }
}
