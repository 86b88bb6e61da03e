/* net.c - HTTP over TLS through libcurl, which is loaded when it is first used: it brings 26
 * further libraries along, which would be two thirds of the time and of the memory that starting
 * the program takes, also where nothing is ever sent. */
#include "client/net.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <curl/curl.h>

#include "kernels/base/mem.h"

enum {
    URL_MAX_BYTES = 2048,
    CONNECT_TIMEOUT_S = 10,
    DOWNLOAD_STALL_S = 60, /* a download slower than 1 byte/s for this long has stalled */
    REDIRECTS_MAX = 5
};

struct shoal_net {
    CURL *curl;
    char base_url[URL_MAX_BYTES];
    bool (*stop)(void);
    char detail[CURL_ERROR_SIZE];
    shoal_net_meter meter;                         /* all NULL: none */
    uint64_t up_now, up_lost, down_now, down_lost; /* of the exchange; lost: of broken attempts */
};

bool shoal_net_is_away(shoal_status st)
{
    return st == SHOAL_ERR_IO || st == SHOAL_ERR_TIMEOUT;
}

/* libcurl's functions, under their names without "curl_". */
static struct {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *c, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *c);
    CURLcode (*easy_getinfo)(CURL *c, CURLINFO info, ...);
    void (*easy_cleanup)(CURL *c);
    const char *(*easy_strerror)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
} curl;

/* dlsym gives functions as object pointers, which C does not convert and POSIX says to copy. */
static bool find_function(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static bool find_functions(void *library)
{
    const struct {
        const char *name;
        void *function;
    } all[] = {
        {"curl_global_init", &curl.global_init},      {"curl_easy_init", &curl.easy_init},
        {"curl_easy_setopt", &curl.easy_setopt},      {"curl_easy_perform", &curl.easy_perform},
        {"curl_easy_getinfo", &curl.easy_getinfo},    {"curl_easy_cleanup", &curl.easy_cleanup},
        {"curl_easy_strerror", &curl.easy_strerror},  {"curl_slist_append", &curl.slist_append},
        {"curl_slist_free_all", &curl.slist_free_all}};
    bool ok = true;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        ok = ok && find_function(library, all[i].name, all[i].function);
    }
    return ok;
}

/* Any TLS flavour will do, as what we ask of it is the plain interface. SHOAL_LIBCURL names another
 * one, for machines where it lies elsewhere and for tests. */
static void *open_library(void)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"};
    const char *own = getenv("SHOAL_LIBCURL");
    if (own != NULL && *own != '\0') return dlopen(own, RTLD_NOW | RTLD_LOCAL);
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* Loads libcurl and sets it up, once a process. The programs call it from the main thread only. */
static shoal_status load_curl(shoal_error *err)
{
    static bool done;
    if (done) return SHOAL_OK;
    void *library = open_library();
    if (library == NULL || !find_functions(library)) {
        const char *why = dlerror();
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "libcurl cannot be loaded: %.100s",
                         why == NULL ? "it lacks a function" : why);
        shoal_hint(err, "install it (Debian: libcurl4); everything without a network works as is");
        return SHOAL_ERR_UNSUPPORTED;
    }
    if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "libcurl cannot start");
    }
    done = true;
    return SHOAL_OK;
}

/* Base64 of 32 bytes with padding, the form CURLOPT_PINNEDPUBLICKEY wants. */
static void base64_of_32(const uint8_t in[32], char out[45])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t o = 0;
    for (size_t i = 0; i < 32; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        v |= i + 1 < 32 ? (uint32_t)in[i + 1] << 8 : 0u;
        v |= i + 2 < 32 ? (uint32_t)in[i + 2] : 0u;
        for (int shift = 18; shift >= 0; shift -= 6)
            out[o++] = digits[(v >> shift) & 63u];
    }
    out[43] = '='; /* 32 = 3 * 10 + 2: the last group has one byte too few */
    out[44] = '\0';
}

/* What libcurl's result means to the caller. `where` is the address without secrets. */
static shoal_status fail_curl(shoal_error *err, CURLcode code, const char *where,
                              const char *detail)
{
    const char *why = detail[0] != '\0' ? detail : curl.easy_strerror(code);
    shoal_status st = SHOAL_ERR_IO;
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK: return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
    case CURLE_OUT_OF_MEMORY: return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        shoal_fail(err, SHOAL_ERR_TAMPERED, "%s is not the server that issued the join link",
                   where);
        shoal_hint(err, "its key differs from the one in the link: ask for a fresh link, and do "
                        "not go on if nobody has changed the server's key");
        return SHOAL_ERR_TAMPERED;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: st = SHOAL_ERR_ARG; break;
    case CURLE_OPERATION_TIMEDOUT: st = SHOAL_ERR_TIMEOUT; break;
    default: break;
    }
    shoal_fail(err, st, "cannot reach %s: %s", where, why);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST) {
        shoal_hint(err, "is the server running, and is this device online?");
    }
    return st;
}

static int on_transfer(void *ctx, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total,
                       curl_off_t ul_now)
{
    (void)dl_total;
    (void)ul_total;
    shoal_net *net = ctx;
    /* libcurl sends once more on a new connection by itself, and counts from 0 again. */
    uint64_t up = ul_now > 0 ? (uint64_t)ul_now : 0, down = dl_now > 0 ? (uint64_t)dl_now : 0;
    if (up < net->up_now) net->up_lost += net->up_now;
    if (down < net->down_now) net->down_lost += net->down_now;
    net->up_now = up;
    net->down_now = down;
    return net->stop != NULL && net->stop() ? 1 : 0;
}

/* Returning less than n makes libcurl end with CURLE_WRITE_ERROR. */
static size_t on_reply(char *data, size_t size, size_t n, void *ctx)
{
    return shoal_buf_put(ctx, data, size * n) ? size * n : 0;
}

/* Options that never change between requests: who we talk to and what TLS must look like. The
 * server's certificate is its own CA's, so the public key itself is checked, not a chain: at the
 * end of the handshake, before a request is sent (Spec 2.3). */
static bool set_up_tls(shoal_net *net, const shoal_net_config *cfg)
{
    char pin[64];
    char b64[45];
    base64_of_32(cfg->pin, b64);
    (void)snprintf(pin, sizeof pin, "sha256//%s", b64);
    CURL *c = net->curl;
    bool ok = curl.easy_setopt(c, CURLOPT_PINNEDPUBLICKEY, pin) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK;
    if (cfg->cert_path != NULL) {
        ok = ok && curl.easy_setopt(c, CURLOPT_SSLCERT, cfg->cert_path) == CURLE_OK;
        ok = ok && curl.easy_setopt(c, CURLOPT_SSLKEY, cfg->key_path) == CURLE_OK;
        ok = ok && curl.easy_setopt(c, CURLOPT_SSLCERTTYPE, "DER") == CURLE_OK;
        ok = ok && curl.easy_setopt(c, CURLOPT_SSLKEYTYPE, "DER") == CURLE_OK;
    }
    return ok;
}

/* A proxy of the environment cannot reach this machine's own loopback. */
static bool is_loopback(const char *url)
{
    const char *host = url + strlen("https://");
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 ||
           strncmp(host, "localhost", 9) == 0;
}

static bool set_up_transfer(shoal_net *net)
{
    CURL *c = net->curl;
    bool ok = curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_ERRORBUFFER, net->detail) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK;
    /* HTTP/2 where server and library offer it (ALPN), 1.1 otherwise */
    ok = ok &&
         (curl.easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) == CURLE_OK ||
          curl.easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK);
    if (is_loopback(net->base_url))
        ok = ok && curl.easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_USERAGENT, "shoal/" SHOAL_VERSION) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_transfer) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_XFERINFODATA, net) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_reply) == CURLE_OK;
    return ok;
}

shoal_status shoal_net_open(shoal_net **out, const shoal_net_config *cfg, shoal_error *err)
{
    *out = NULL;
    SHOAL_TRY(load_curl(err));
    if (strncmp(cfg->base_url, "https://", 8) != 0 || strlen(cfg->base_url) > URL_MAX_BYTES / 2) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the server's address must be https://HOST:PORT");
    }
    shoal_net *net = shoal_calloc(1, sizeof *net);
    if (net == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    memcpy(net->base_url, cfg->base_url, strlen(cfg->base_url) + 1);
    net->stop = cfg->stop;
    net->curl = curl.easy_init();
    if (net->curl == NULL || !set_up_transfer(net) || !set_up_tls(net, cfg)) {
        shoal_net_close(net);
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "this libcurl cannot do pinned TLS");
    }
    *out = net;
    return SHOAL_OK;
}

void shoal_net_close(shoal_net *net)
{
    if (net == NULL) return;
    curl.easy_cleanup(net->curl);
    shoal_free(net);
}

/* ---- what it costs ----------------------------------------------------------------------------
 */

enum {
    HANDSHAKE = 2200,    /* either way: a full one, with a certificate of at most 1 KiB */
    RECORD_BYTES = 4096, /* of a body; at most 29 bytes of TLS around each */
    RECORD_EXTRA = 29,
    HEADERS_BYTES = 1024, /* of a request or an answer, at most, for the guess before it */
    HEADERS_LEAST = 64    /* of one, at least: so that nothing at all is never enough */
};

static uint64_t with_tls(uint64_t n)
{
    return n + (n / RECORD_BYTES + 2) * RECORD_EXTRA;
}

void shoal_net_set_meter(shoal_net *net, const shoal_net_meter *meter)
{
    net->meter = *meter;
}

static shoal_status meter_before(shoal_net *net, const shoal_net_request *rq,
                                 const shoal_buf *reply, shoal_error *err)
{
    net->up_now = net->up_lost = net->down_now = net->down_lost = 0;
    if (net->meter.before == NULL) return SHOAL_OK;
    uint64_t least =
        with_tls((uint64_t)rq->body_len + HEADERS_LEAST) + with_tls(rq->range_n + HEADERS_LEAST);
    uint64_t most = with_tls((uint64_t)rq->body_len + HEADERS_BYTES) + HANDSHAKE +
                    with_tls((uint64_t)reply->max + HEADERS_BYTES) + HANDSHAKE;
    return net->meter.before(net->meter.ctx, least, most, err);
}

static void meter_after(shoal_net *net)
{
    curl_off_t up = 0, down = 0;
    long head_up = 0, head_down = 0, connections = 0;
    CURL *c = net->curl;
    if (net->meter.after == NULL) return;
    (void)curl.easy_getinfo(c, CURLINFO_SIZE_UPLOAD_T, &up);
    (void)curl.easy_getinfo(c, CURLINFO_SIZE_DOWNLOAD_T, &down);
    (void)curl.easy_getinfo(c, CURLINFO_REQUEST_SIZE, &head_up);
    (void)curl.easy_getinfo(c, CURLINFO_HEADER_SIZE, &head_down);
    (void)curl.easy_getinfo(c, CURLINFO_NUM_CONNECTS, &connections);
    uint64_t sent = (uint64_t)up + (uint64_t)head_up + net->up_lost;
    uint64_t received = (uint64_t)down + (uint64_t)head_down + net->down_lost;
    net->meter.after(net->meter.ctx, with_tls(sent) + (uint64_t)connections * HANDSHAKE,
                     with_tls(received) + (uint64_t)connections * HANDSHAKE);
}

/* Method, body and headers of one request; the header list is the caller's to free. */
static bool set_up_request(CURL *c, const shoal_net_request *rq, struct curl_slist **headers)
{
    char type[128];
    bool get = strcmp(rq->method, "GET") == 0;
    (void)snprintf(type, sizeof type, "Content-Type: %s",
                   rq->content_type != NULL ? rq->content_type : "application/octet-stream");
    /* "Expect:" off: the server answers at once, a second round trip would be waste. */
    *headers = curl.slist_append(NULL, "Expect:");
    if (*headers == NULL) return false;
    if (!get && curl.slist_append(*headers, type) == NULL) return false;
    bool ok = curl.easy_setopt(c, CURLOPT_HTTPHEADER, *headers) == CURLE_OK;
    char range[48];
    (void)snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, rq->range_at,
                   rq->range_at + rq->range_n - 1); /* libcurl copies it */
    ok = ok && curl.easy_setopt(c, CURLOPT_RANGE, rq->range_n > 0 ? range : NULL) == CURLE_OK;
    if (get) return ok && curl.easy_setopt(c, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK;
    ok =
        ok && curl.easy_setopt(c, CURLOPT_POSTFIELDS, rq->body_len > 0 ? rq->body : "") == CURLE_OK;
    return ok &&
           curl.easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_len) == CURLE_OK;
}

shoal_status shoal_net_exchange(shoal_net *net, const shoal_net_request *rq, shoal_buf *reply,
                                int *http_status, shoal_error *err)
{
    char url[URL_MAX_BYTES];
    struct curl_slist *headers = NULL;
    *http_status = 0;
    shoal_buf_clear(reply);
    if (snprintf(url, sizeof url, "%s%s", net->base_url, rq->path) >= (int)sizeof url) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the request's address is too long");
    }
    SHOAL_TRY(meter_before(net, rq, reply, err));
    CURL *c = net->curl;
    net->detail[0] = '\0';
    const char *verb = strcmp(rq->method, "PUT") == 0 ? "PUT" : NULL; /* NULL: as set up */
    bool ok = set_up_request(c, rq, &headers) &&
              curl.easy_setopt(c, CURLOPT_CUSTOMREQUEST, verb) == CURLE_OK &&
              curl.easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
              curl.easy_setopt(c, CURLOPT_WRITEDATA, reply) == CURLE_OK &&
              curl.easy_setopt(c, CURLOPT_TIMEOUT, (long)rq->timeout_s) == CURLE_OK;
    CURLcode code = ok ? curl.easy_perform(c) : CURLE_OUT_OF_MEMORY;
    meter_after(net);
    (void)curl.easy_setopt(c, CURLOPT_HTTPHEADER, NULL);
    curl.slist_free_all(headers);
    if (code == CURLE_WRITE_ERROR && reply->failed) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the server's answer is over %zu bytes",
                          reply->max);
    }
    if (code != CURLE_OK) return fail_curl(err, code, net->base_url, net->detail);
    long status = 0;
    (void)curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    *http_status = (int)status;
    return SHOAL_OK;
}

/* ---- downloads --------------------------------------------------------------------------------
 */

typedef struct download {
    const shoal_net_download *d;
    FILE *file;
    uint64_t have; /* bytes in the file */
    uint64_t had;  /* of them, from earlier attempts */
    int why;       /* errno of a failed write */
    bool too_large;
} download;

static size_t on_file_bytes(char *data, size_t size, size_t n, void *ctx)
{
    download *dl = ctx;
    size_t bytes = size * n;
    if (bytes > dl->d->max_bytes || dl->have > dl->d->max_bytes - bytes) {
        dl->too_large = true;
        return 0;
    }
    errno = 0;
    if (fwrite(data, 1, bytes, dl->file) != bytes) {
        dl->why = errno != 0 ? errno : EIO;
        return 0;
    }
    dl->have += bytes;
    return bytes;
}

static int on_download(void *ctx, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total,
                       curl_off_t ul_now)
{
    (void)dl_now;
    (void)ul_total;
    (void)ul_now;
    download *dl = ctx;
    if (dl->d->stop != NULL && dl->d->stop()) return 1;
    if (dl->d->progress != NULL) {
        uint64_t total = dl_total > 0 ? (uint64_t)dl_total + dl->had : 0;
        dl->d->progress(dl->d->progress_ctx, dl->have, total);
    }
    return 0;
}

static bool set_up_download(CURL *c, download *dl, char *detail)
{
    bool ok = curl.easy_setopt(c, CURLOPT_URL, dl->d->url) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_ERRORBUFFER, detail) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_FAILONERROR, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)DOWNLOAD_STALL_S) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_USERAGENT, "shoal/" SHOAL_VERSION) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)dl->had) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_file_bytes) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_WRITEDATA, dl) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_download) == CURLE_OK;
    ok = ok && curl.easy_setopt(c, CURLOPT_XFERINFODATA, dl) == CURLE_OK;
    return ok;
}

/* One attempt from byte `had` on. *restart is set when the server cannot go on from there, and
 * *complete when it says that nothing is missing. */
static shoal_status download_from(download *dl, bool *restart, shoal_error *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    CURL *c = curl.easy_init();
    if (c == NULL || !set_up_download(c, dl, detail)) {
        curl.easy_cleanup(c);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "libcurl cannot prepare the download");
    }
    CURLcode code = curl.easy_perform(c);
    long status = 0;
    (void)curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl.easy_cleanup(c);
    if (fflush(dl->file) != 0 && dl->why == 0) dl->why = errno;
    if (dl->why != 0) return shoal_fail_errno(err, dl->why, "cannot write %s", dl->d->path);
    if (dl->too_large) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s is larger than a model may be", dl->d->url);
    }
    *restart = dl->had > 0 && (code == CURLE_RANGE_ERROR || status == 416);
    if (*restart || code == CURLE_OK) return SHOAL_OK;
    if (code == CURLE_HTTP_RETURNED_ERROR) {
        return shoal_fail(err, status == 404 ? SHOAL_ERR_NOT_FOUND : SHOAL_ERR_IO,
                          "the server answers %ld for %s", status, dl->d->url);
    }
    return fail_curl(err, code, dl->d->url, detail);
}

shoal_status shoal_net_fetch_file(const shoal_net_download *d, shoal_error *err)
{
    SHOAL_TRY(load_curl(err));
    struct stat sb;
    download dl = {.d = d};
    if (stat(d->path, &sb) == 0 && sb.st_size > 0) dl.had = (uint64_t)sb.st_size;
    bool restart = false;
    for (int attempt = 0; attempt < 2; attempt++) {
        dl.had = restart ? 0 : dl.had;
        dl.have = dl.had;
        dl.file = fopen(d->path, restart ? "wb" : "ab");
        if (dl.file == NULL) return shoal_fail_errno(err, errno, "cannot open %s", d->path);
        shoal_status st = download_from(&dl, &restart, err);
        if (fclose(dl.file) != 0 && st == SHOAL_OK) {
            st = shoal_fail_errno(err, errno, "cannot write %s", d->path);
        }
        if (st != SHOAL_OK || !restart) return st;
    }
    return shoal_fail(err, SHOAL_ERR_IO, "%s cannot be fetched from its beginning", d->url);
}
