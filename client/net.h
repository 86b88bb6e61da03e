/* net.h - HTTP over TLS to one server, and downloads of files. The only user of libcurl.
 *
 * Requests to an aggregator: https only, TLS 1.2 or newer, no redirects, the server's public key
 * pinned by its SHA-256, own certificate and key from files, every answer capped, every wait
 * bounded. Downloads of models by address may follow redirects: their bytes are checked against a
 * hash before anybody sees them.
 *
 * A transfer asks `stop` at least once a second and ends with CANCELLED once it says so.
 *
 * Layer: client/. Threads: one owner per shoal_net.
 */
#ifndef SHOAL_CLIENT_NET_H
#define SHOAL_CLIENT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_net shoal_net;

typedef struct shoal_net_config {
    const char *base_url;  /* "https://host:port", no path; borrowed during open */
    const uint8_t *pin;    /* [32] SHA-256 of the server's SubjectPublicKeyInfo (DER); required */
    const char *cert_path; /* DER; NULL before enrolment */
    const char *key_path;  /* DER; NULL before enrolment */
    bool (*stop)(void);    /* true: give up with CANCELLED; may be NULL */
} shoal_net_config;

SHOAL_MUST_USE shoal_status shoal_net_open(shoal_net **out, const shoal_net_config *cfg,
                                           shoal_error *err);
void shoal_net_close(shoal_net *net);

/* Asked before every exchange with the least and the most bytes it may take, both ways together (a
 * status other than OK stops it), and told afterwards what it took, also of one that failed.
 * libcurl does not see TLS: its handshakes and records are estimated, above what they are. */
typedef struct shoal_net_meter {
    shoal_status (*before)(void *ctx, uint64_t least, uint64_t most, shoal_error *err);
    void (*after)(void *ctx, uint64_t sent, uint64_t received);
    void *ctx;
} shoal_net_meter;

void shoal_net_set_meter(shoal_net *net, const shoal_net_meter *meter);

/* True when the failure says nothing about us: the server is away, slow or unreachable, and the
 * same request may work later. */
bool shoal_net_is_away(shoal_status st);

/* One request. `reply` is owned by the caller and emptied first; its max caps the answer.
 * timeout_s bounds the whole exchange. Returns OK for any HTTP status, which goes to *http_status:
 * what a status means is the caller's business. */
typedef struct shoal_net_request {
    const char *method;       /* "GET", "POST" or "PUT" */
    const char *path;         /* "/v1/..." */
    const char *content_type; /* of the body; NULL for none */
    const void *body;
    size_t body_len;
    uint64_t range_at, range_n; /* GET of range_n bytes from range_at on; 0: of everything */
    unsigned timeout_s;
} shoal_net_request;

SHOAL_MUST_USE shoal_status shoal_net_exchange(shoal_net *net, const shoal_net_request *rq,
                                               shoal_buf *reply, int *http_status,
                                               shoal_error *err);

/* Called a few times a second while bytes arrive; total is 0 when the server does not say. */
typedef void shoal_net_progress(void *ctx, uint64_t done, uint64_t total);

/* Brings url into the file `path`, going on where an earlier attempt stopped when the server can.
 * The file is left as it is on failure, for the next attempt. */
typedef struct shoal_net_download {
    const char *url; /* http or https */
    const char *path;
    uint64_t max_bytes;
    shoal_net_progress *progress; /* may be NULL */
    void *progress_ctx;
    bool (*stop)(void); /* as above */
} shoal_net_download;

SHOAL_MUST_USE shoal_status shoal_net_fetch_file(const shoal_net_download *d, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
