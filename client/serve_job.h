/* serve_job.h - one chat completion from request to answer; the worker's side of serve.c.
 *
 * Layer: client. Threads: said at each function.
 */
#ifndef SHOAL_CLIENT_SERVE_JOB_H
#define SHOAL_CLIENT_SERVE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/openai.h"
#include "client/serve.h"
#include "lora/model/chat_template.h"
#include "proto/net/http_server.h"
#include "proto/net/loop.h"

/* No C++ here: decode.h is C. */

/* The model being served and its one session. Worker thread only, once serving. */
typedef struct shoal_serve_session {
    const shoal_serve_options *o;
    shoal_chat_template ct;
    shoal_session *session; /* NULL until first used */
    size_t model;           /* whose adapter the session has */
} shoal_serve_session;

SHOAL_MUST_USE shoal_status shoal_serve_session_init(shoal_serve_session *s,
                                                     const shoal_serve_options *o,
                                                     shoal_error *err);
void shoal_serve_session_clear(shoal_serve_session *s);

typedef struct shoal_job shoal_job;

/* Called on the loop's thread when a job is over and its request answered or gone. */
typedef void shoal_job_over(void *ctx, shoal_job *job);

struct shoal_job {
    shoal_loop *loop;
    shoal_serve_session *session;
    shoal_http_request *req; /* loop thread; NULL once answered or gone */
    shoal_openai_request request;
    shoal_openai_answer answer;
    shoal_decoding how;
    size_t model;
    shoal_job_over *over;
    void *over_ctx;
    shoal_job *next;   /* in the queue */
    bool started;      /* given to a worker */
    bool streaming;    /* the first chunk is out */
    bool worked;       /* the worker is done; pieces of its text may still be on their way */
    atomic_int pieces; /* on their way from the worker to the loop */
    atomic_bool cancel;
    /* Written by the worker, read by the loop after the work is done. */
    shoal_buf text;
    shoal_decode_result result;
    size_t n_prompt;
    shoal_status status;
    shoal_error err;
};

/* Loop thread. Decodes the body; on failure *out is NULL and *http_status says what to answer. */
SHOAL_MUST_USE shoal_status shoal_job_open(shoal_job **out, const shoal_serve_options *o,
                                           const void *body, size_t n, uint64_t number,
                                           int *http_status, const char **code, shoal_error *err);
void shoal_job_close(shoal_job *job);

/* Loop thread. Runs the job on a worker; `over` follows in any case. */
void shoal_job_start(shoal_job *job);

/* Loop thread. The client went away. */
void shoal_job_gone(shoal_job *job);

/* Answers a request with an error in the API's form. Loop thread. */
void shoal_serve_error(shoal_http_request *req, int http_status, const char *code,
                       const char *message);

#endif
