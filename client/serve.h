/* serve.h - the OpenAI-compatible server: routes, a bounded queue, one generation at a time.
 *
 * The loop's thread owns sockets, requests and the queue; one job at a time runs on a worker thread
 * and reaches the loop only by posts. A client that goes away cancels its job. What was read is
 * kept between requests, of several conversations and adapters in turn (prompt_store.h), so only
 * what is new is read.
 *
 * Layer: client. Threads: as said; shoal_serve itself runs on the calling thread.
 */
#ifndef SHOAL_CLIENT_SERVE_H
#define SHOAL_CLIENT_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/decode.h"
#include "client/engine.h"
#include "client/prompt_store.h"

/* No C++ here: decode.h is C. */

enum {
    SHOAL_SERVE_MAX_MODELS = 17, /* the base and up to 16 adapters */
    SHOAL_SERVE_NAME = 65,
    SHOAL_SERVE_QUEUE = 16 /* requests that wait; further ones get 503 and Retry-After */
};

/* A model id and what it means. adapter NULL: the base. */
typedef struct shoal_serve_model {
    char id[SHOAL_SERVE_NAME];
    shoal_adapter *adapter; /* owned by the caller */
} shoal_serve_model;

typedef struct shoal_serve_options {
    const char *host; /* numeric address to bind */
    uint16_t port;    /* 0: the system chooses */
    const shoal_engine *engine;
    const shoal_serve_model *models; /* [n_models]; [0] is the base */
    size_t n_models;
    size_t default_model;      /* answers requests that name none */
    shoal_decoding decoding;   /* what requests leave open */
    size_t n_ctx;              /* 0: the model's, at most 4096 */
    size_t queue;              /* 0: SHOAL_SERVE_QUEUE */
    shoal_prompt_store *store; /* what was read before; used by the worker. NULL: nothing */
    bool context_shift;        /* drop a conversation's oldest turns instead of refusing it */
    bool loopback; /* bound to loopback only: requests from web pages of other sites are refused */
} shoal_serve_options;

/* Called once when the server listens. */
typedef void shoal_serve_ready(void *ctx, uint16_t port);

/* Serves until SIGINT or SIGTERM. */
SHOAL_MUST_USE shoal_status shoal_serve(const shoal_serve_options *o, shoal_serve_ready *ready,
                                        void *ctx, shoal_error *err);

/* True for 127.0.0.0/8, ::1 and localhost. */
bool shoal_is_loopback(const char *host);

#endif
