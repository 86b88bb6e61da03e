/* serve_job.c - one chat completion from request to answer. */
#include "client/serve_job.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/memory_cap.h"
#include "client/context.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

#define ANSWER_MAX ((size_t)16 << 20)
#define CHUNK_MAX ((size_t)1 << 20)

/* ---- the session (worker thread)
 * ----------------------------------------------------------------- */

static shoal_status use_model(shoal_serve_session *s, size_t model, shoal_error *err);

shoal_status shoal_serve_session_init(shoal_serve_session *s, const shoal_serve_options *o,
                                      shoal_error *err)
{
    *s = (shoal_serve_session){.o = o};
    const shoal_model *m = o->engine->model;
    SHOAL_TRY(shoal_chat_template_init(&s->ct, m->gguf, m->tok, err));
    /* A bound that does not hold is found out now, not by the first request. */
    return o->engine->max_ram == 0 ? SHOAL_OK : use_model(s, o->default_model, err);
}

void shoal_serve_session_clear(shoal_serve_session *s)
{
    shoal_session_close(s->session);
    s->session = NULL;
}

/* Keys and values depend on the adapter: another one means an empty session, which the prompt store
 * fills with what it has. */
static shoal_status use_model(shoal_serve_session *s, size_t model, shoal_error *err)
{
    if (s->session != NULL && s->model == model) return SHOAL_OK;
    shoal_serve_session_clear(s);
    const shoal_session_opts so = {
        .n_ctx = s->o->n_ctx, .adapter = s->o->models[model].adapter, .kv = s->o->engine->kv};
    SHOAL_TRY(shoal_engine_open_session(s->o->engine, &so, &s->session, err));
    s->model = model;
    return SHOAL_OK;
}

/* ---- opening and closing (loop thread)
 * ------------------------------------------------------------ */

static bool find_model(const shoal_serve_options *o, const char *id, size_t *model)
{
    *model = o->default_model;
    if (id == NULL) return true;
    for (size_t i = 0; i < o->n_models; i++) {
        if (strcmp(o->models[i].id, id) == 0) {
            *model = i;
            return true;
        }
    }
    return o->n_models == 1; /* only the base: clients that insist on a name get it */
}

static void identify(shoal_job *job, const char *model, uint64_t number)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    shoal_rng rng =
        shoal_rng_init((uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec + number);
    (void)snprintf(job->answer.id, sizeof job->answer.id, "chatcmpl-%016llx",
                   (unsigned long long)shoal_rng_u64(&rng));
    job->answer.created = now.tv_sec;
    job->answer.model = model;
}

static void fill_decoding(shoal_job *job, const shoal_decoding *defaults, uint64_t number)
{
    const shoal_openai_request *r = &job->request;
    job->how = *defaults;
    job->how.temperature = r->temperature;
    job->how.top_p = r->top_p;
    job->how.min_p = r->min_p;
    job->how.top_k = r->top_k;
    job->how.seed = r->seed_given ? r->seed : defaults->seed + number;
    if (r->max_tokens > 0) job->how.max_tokens = r->max_tokens;
}

static shoal_status decode_body(shoal_job *job, const shoal_serve_options *o, const void *body,
                                size_t n, int *http_status, const char **code, shoal_error *err)
{
    shoal_openai_request *r = &job->request;
    r->temperature = o->decoding.temperature;
    r->top_p = o->decoding.top_p;
    r->min_p = o->decoding.min_p;
    r->top_k = o->decoding.top_k;
    *http_status = 400;
    *code = "invalid_request";
    SHOAL_TRY(shoal_openai_request_decode(r, body, n, err));
    if (find_model(o, r->model, &job->model)) return SHOAL_OK;
    *http_status = 404;
    *code = "model_not_found";
    return shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no model \"%.60s\"; see /v1/models",
                      r->model);
}

shoal_status shoal_job_open(shoal_job **out, const shoal_serve_options *o, const void *body,
                            size_t n, uint64_t number, int *http_status, const char **code,
                            shoal_error *err)
{
    *out = NULL;
    *http_status = 500;
    *code = "out_of_memory";
    shoal_job *job = shoal_calloc(1, sizeof *job);
    if (job == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    job->text = shoal_buf_init(ANSWER_MAX);
    atomic_init(&job->cancel, false);
    atomic_init(&job->pieces, 0);
    shoal_status st = decode_body(job, o, body, n, http_status, code, err);
    if (st != SHOAL_OK) {
        shoal_job_close(job);
        return st;
    }
    fill_decoding(job, &o->decoding, number);
    identify(job, o->models[job->model].id, number);
    *out = job;
    return SHOAL_OK;
}

void shoal_job_close(shoal_job *job)
{
    if (job == NULL) return;
    shoal_openai_request_clear(&job->request);
    shoal_buf_clear(&job->text);
    shoal_free(job);
}

/* ---- pieces of a stream
 * --------------------------------------------------------------------------- */

/* A piece of text on its way from the worker to the loop. */
typedef struct piece {
    shoal_job *job;
    size_t n;
    char text[];
} piece;

/* Writes one server-sent event. */
static void send_event(shoal_job *job, const shoal_openai_chunk *c)
{
    shoal_buf b = shoal_buf_init(CHUNK_MAX);
    shoal_buf_put_str(&b, "data: ");
    shoal_status st = shoal_openai_encode_chunk(&b, &job->answer, c, NULL);
    shoal_buf_put_str(&b, "\n\n");
    if (st == SHOAL_OK && !b.failed) {
        /* AGAIN means a slow reader; TOO_LARGE that it was dropped, and gone follows. */
        st = shoal_http_stream_write(job->req, b.data, b.len);
        if (st == SHOAL_ERR_TOO_LARGE) atomic_store(&job->cancel, true);
    }
    shoal_buf_clear(&b);
}

static void begin_stream(shoal_job *job)
{
    if (job->streaming) return;
    job->streaming = true;
    (void)shoal_http_add_header(job->req, "Cache-Control", "no-cache");
    shoal_http_stream_begin(job->req, 200, "text/event-stream");
    send_event(job, &(shoal_openai_chunk){.role = true});
}

/* ---- answering (loop thread)
 * ----------------------------------------------------------------------- */

void shoal_serve_error(shoal_http_request *req, int http_status, const char *code,
                       const char *message)
{
    shoal_buf b = shoal_buf_init(CHUNK_MAX);
    bool encoded = shoal_openai_encode_error(&b, http_status, code, message, NULL) == SHOAL_OK;
    shoal_http_respond(req, http_status, encoded ? "application/json" : NULL, b.data,
                       encoded ? b.len : 0);
    shoal_buf_clear(&b);
}

static const char *finish_reason(const shoal_job *job)
{
    return job->result.reason == SHOAL_STOP_END ? "stop" : "length";
}

static shoal_openai_usage usage_of(const shoal_job *job)
{
    return (shoal_openai_usage){job->n_prompt, job->result.n_tokens, job->result.n_cached,
                                job->result.drafted, job->result.accepted};
}

static void answer_failure(shoal_job *job)
{
    bool too_long = job->status == SHOAL_ERR_TOO_LARGE;
    const char *text = job->err.msg[0] != '\0' ? job->err.msg : shoal_status_text(job->status);
    if (job->streaming) { /* the status line is gone: say it in the stream, as others do */
        shoal_buf b = shoal_buf_init(CHUNK_MAX);
        shoal_buf_put_str(&b, "data: ");
        shoal_status st = shoal_openai_encode_error(&b, 500, "generation_failed", text, NULL);
        shoal_buf_put_str(&b, "\n\n");
        if (st == SHOAL_OK) (void)shoal_http_stream_write(job->req, b.data, b.len);
        shoal_buf_clear(&b);
        if (job->req != NULL) shoal_http_stream_end(job->req);
        return;
    }
    shoal_serve_error(job->req, too_long ? 400 : 500,
                      too_long ? "context_length_exceeded" : "generation_failed", text);
}

static void answer_stream(shoal_job *job)
{
    static const char done[] = "data: [DONE]\n\n";
    shoal_openai_usage usage = usage_of(job);
    begin_stream(job);
    if (job->req != NULL) send_event(job, &(shoal_openai_chunk){.finish = finish_reason(job)});
    if (job->req != NULL && job->request.include_usage) {
        send_event(job, &(shoal_openai_chunk){.usage = &usage});
    }
    if (job->req != NULL) (void)shoal_http_stream_write(job->req, done, sizeof done - 1);
    if (job->req != NULL) shoal_http_stream_end(job->req);
}

static void answer_whole(shoal_job *job)
{
    shoal_buf b = shoal_buf_init(4 * ANSWER_MAX);
    shoal_openai_usage usage = usage_of(job);
    shoal_str text = {shoal_buf_str(&job->text), job->text.len};
    shoal_status st =
        shoal_openai_encode_response(&b, &job->answer, text, finish_reason(job), &usage, &job->err);
    if (st == SHOAL_OK) {
        shoal_http_respond(job->req, 200, "application/json", b.data, b.len);
    } else {
        shoal_serve_error(job->req, 500, "generation_failed", job->err.msg);
    }
    shoal_buf_clear(&b);
}

static void answer(shoal_job *job)
{
    if (job->req == NULL) return;
    if (job->status != SHOAL_OK) {
        answer_failure(job);
    } else if (job->request.stream) {
        answer_stream(job);
    } else {
        answer_whole(job);
    }
    job->req = NULL;
}

/* Over when the worker has returned and all it posted has arrived, in whichever order. */
static void end_if_over(shoal_job *job)
{
    if (!job->worked || atomic_load(&job->pieces) > 0) return;
    answer(job);
    shoal_log(SHOAL_LOG_INFO, "serve", "answer model=%s prompt=%zu cached=%zu tokens=%zu tps=%.1f",
              job->answer.model, job->n_prompt, job->result.n_cached, job->result.n_tokens,
              shoal_decode_tps(&job->result));
    job->over(job->over_ctx, job);
}

static void take_piece(void *ctx)
{
    piece *p = ctx;
    shoal_job *job = p->job;
    if (job->req != NULL) begin_stream(job);
    if (job->req != NULL) send_event(job, &(shoal_openai_chunk){.text = {p->text, p->n}});
    shoal_free(p);
    (void)atomic_fetch_sub(&job->pieces, 1);
    end_if_over(job);
}

static void work_done(void *ctx)
{
    shoal_job *job = ctx;
    job->worked = true;
    end_if_over(job);
}

/* ---- generating (worker thread)
 * --------------------------------------------------------------------- */

static bool on_text(void *ctx, const char *text, size_t n)
{
    shoal_job *job = ctx;
    if (!job->request.stream) return shoal_buf_put(&job->text, text, n);
    piece *p = shoal_alloc(sizeof *p + n);
    if (p == NULL) return false;
    p->job = job;
    p->n = n;
    memcpy(p->text, text, n);
    (void)atomic_fetch_add(&job->pieces, 1);
    if (shoal_loop_post(job->loop, take_piece, p)) return true;
    (void)atomic_fetch_sub(&job->pieces, 1);
    shoal_free(p);
    return false;
}

static shoal_context_room room_of(const shoal_job *job)
{
    const shoal_serve_session *s = job->session;
    return shoal_context_room_of(shoal_session_capacity(s->session), s->o->engine->model->cfg.n_ctx,
                                 job->how.max_tokens, s->o->context_shift);
}

/* The answer outgrew the context: it goes on behind fewer of the turns before it. */
static shoal_status make_room(void *ctx, const int32_t *generated, size_t n, shoal_tokens *ids,
                              shoal_error *err)
{
    const shoal_job *job = ctx;
    shoal_context_room room = room_of(job);
    size_t dropped = 0;
    room.reserve += n;
    SHOAL_TRY(shoal_context_encode(&job->session->ct, job->request.messages,
                                   job->request.n_messages, &room, ids, &dropped, err));
    if (ids->n + n >= room.capacity) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "nothing is left to forget");
    }
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, generated[i], err));
    }
    return SHOAL_OK;
}

static shoal_status generate(shoal_job *job, shoal_error *err)
{
    shoal_serve_session *s = job->session;
    shoal_tokens prompt = {0};
    size_t dropped = 0;
    SHOAL_TRY(use_model(s, job->model, err));
    const shoal_context_room room = room_of(job);
    shoal_status st = shoal_context_encode(&s->ct, job->request.messages, job->request.n_messages,
                                           &room, &prompt, &dropped, err);
    job->n_prompt = prompt.n;
    if (st == SHOAL_OK) {
        const shoal_decode_job d = {.prompt = prompt.ids,
                                    .n_prompt = prompt.n,
                                    .how = &job->how,
                                    .stops = job->request.stops,
                                    .n_stops = job->request.n_stops,
                                    .on_text = on_text,
                                    .ctx = job,
                                    .cancel = &job->cancel,
                                    .store = s->o->store,
                                    .adapter = s->o->models[job->model].adapter,
                                    .make_room = s->o->context_shift ? make_room : NULL,
                                    .room_ctx = job};
        st = shoal_decode(s->session, &d, &job->result, err);
    }
    shoal_tokens_clear(&prompt);
    return st;
}

static void work(void *ctx)
{
    shoal_job *job = ctx;
    job->status = generate(job, &job->err);
}

void shoal_job_start(shoal_job *job)
{
    job->started = true;
    shoal_error err = {0};
    shoal_status st = shoal_loop_work(job->loop, work, work_done, job, &err);
    if (st == SHOAL_OK) return; /* from here on the job's result is the worker's to write */
    job->status = st;
    job->err = err;
    work_done(job);
}

void shoal_job_gone(shoal_job *job)
{
    job->req = NULL;
    atomic_store(&job->cancel, true);
}
