/* decode.c - answers as text. */
#include "client/decode.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "client/stop_text.h"
#include "kernels/base/term.h"

shoal_decoding shoal_decoding_default(void)
{
    return (shoal_decoding){.seed = 1, .spec = "auto"};
}

void shoal_decoding_option_table(shoal_decoding *d, shoal_option table[SHOAL_DECODING_N_OPTIONS])
{
    const shoal_option filled[SHOAL_DECODING_N_OPTIONS] = {
        SHOAL_COUNT("max-tokens", 'n', &d->max_tokens, "N", "most tokens to generate, 0: no limit",
                    0, INT32_MAX),
        SHOAL_NUMBER("temp", 0, &d->temperature, "T", "temperature; 0 is greedy (0)", 0, 100),
        SHOAL_COUNT("top-k", 0, &d->top_k, "N", "only the N best tokens, 0: all (0)", 0, INT32_MAX),
        SHOAL_NUMBER("top-p", 0, &d->top_p, "P", "only the best tokens of this mass, 0: all (0)", 0,
                     1),
        SHOAL_NUMBER("min-p", 0, &d->min_p, "P", "only tokens P times as likely as the best (0)", 0,
                     1),
        SHOAL_COUNT("seed", 0, &d->seed, "S", "of the draws; same seed, same text (1)", 0, 0),
        SHOAL_STRING("spec", 0, &d->spec, "HOW",
                     "speculative decoding: none, ngram, draft or auto (auto)")};
    memcpy(table, filled, sizeof filled);
}

shoal_status shoal_decoding_check(const shoal_decoding *d, shoal_error *err)
{
    static const char *const known[] = {"none", "ngram", "auto"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(d->spec, known[i]) == 0) return SHOAL_OK;
    }
    if (strcmp(d->spec, "draft") == 0) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--spec draft is not available in this build");
        shoal_hint(err, "use --spec ngram, which needs no second model");
    } else {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--spec does not know \"%.40s\"", d->spec);
        shoal_hint(err, "use none, ngram or auto");
    }
    return SHOAL_ERR_ARG;
}

double shoal_decode_tps(const shoal_decode_result *r)
{
    if (r->n_tokens < 2 || r->generate_s <= 0.0) return 0.0;
    return (double)(r->n_tokens - 1) / r->generate_s;
}

/* One answer in progress. */
typedef struct answer {
    const shoal_decode_job *job;
    const shoal_tokenizer *tok;
    shoal_decode_result *result;
    shoal_utf8_stream utf8;
    shoal_stop_text stop;
    shoal_buf whole; /* whole characters not yet looked at for stop texts */
    shoal_buf show;  /* what may be shown now */
    double begun_s, first_s, last_s;
    bool ended;             /* by the model or by a stop text */
    shoal_tokens generated; /* only when room may have to be made */
    shoal_tokens sequence;  /* what an answer goes on from after room was made */
    shoal_session *s;
    shoal_status st;
    shoal_error *err;
} answer;

enum { PIECE_MAX = 1 << 20 };

static bool hand_out(answer *a)
{
    bool go_on = true;
    if (a->show.len > 0 && a->job->on_text != NULL) {
        go_on = a->job->on_text(a->job->ctx, shoal_buf_str(&a->show), a->show.len);
    }
    a->show.len = 0;
    return go_on;
}

static bool take_piece(answer *a, shoal_str piece)
{
    shoal_utf8_push(&a->utf8, piece, &a->whole);
    bool stopped = shoal_stop_text_push(&a->stop, shoal_buf_str(&a->whole), a->whole.len, &a->show);
    a->whole.len = 0;
    a->ended = stopped;
    return hand_out(a) && !stopped;
}

static bool on_token(void *ctx, int32_t id)
{
    answer *a = ctx;
    a->last_s = shoal_clock_s();
    if (a->result->n_tokens++ == 0) a->first_s = a->last_s;
    if (a->job->tokens != NULL) {
        a->st = shoal_tokens_push(a->job->tokens, id, a->err);
        if (a->st != SHOAL_OK) return false;
    }
    if (a->job->make_room != NULL) {
        a->st = shoal_tokens_push(&a->generated, id, a->err);
        if (a->st != SHOAL_OK) return false;
    }
    if (shoal_tokenizer_is_stop(a->tok, id)) {
        a->ended = true;
        return false;
    }
    if (shoal_tokenizer_is_control(a->tok, id)) return true;
    return take_piece(a, shoal_token_piece(a->tok, id));
}

/* What is held back at the end: half a character, the beginning of a stop text. */
static void flush(answer *a)
{
    shoal_utf8_flush(&a->utf8, &a->whole);
    if (!shoal_stop_text_push(&a->stop, shoal_buf_str(&a->whole), a->whole.len, &a->show)) {
        shoal_stop_text_flush(&a->stop, &a->show);
    }
    (void)hand_out(a);
}

/* Local layers forget, so blocks are kept while a long prompt is read. */
static void on_chunk(void *ctx, size_t done, size_t total)
{
    answer *a = ctx;
    shoal_prompt_store_keep(a->job->store, a->job->adapter, a->s, false);
    if (a->job->on_read != NULL) a->job->on_read(a->job->read_ctx, done, total);
}

/* Generates until the answer ends or the context is full. */
static shoal_status generate(answer *a, const int32_t *prompt, size_t n, shoal_gen_opts *opts,
                             shoal_error *err)
{
    shoal_gen_result r = {.n_tokens = 0};
    size_t most = (size_t)a->job->how->max_tokens;
    opts->max_tokens = most == 0 ? 0 : most - a->result->n_tokens;
    shoal_session_set_on_chunk(a->s, on_chunk, a);
    shoal_status st = shoal_generate(a->s, prompt, n, opts, &r, err);
    shoal_session_set_on_chunk(a->s, NULL, NULL);
    if (st == SHOAL_OK) st = a->st;
    a->result->reason = a->ended ? SHOAL_STOP_END : r.reason;
    a->result->drafted += r.drafted;
    a->result->accepted += r.accepted;
    return st;
}

/* While the context fills up and room can be made: what stays is read anew, so the tokens are those
 * a fresh session would give. */
static shoal_status generate_on(answer *a, shoal_gen_opts *opts, shoal_error *err)
{
    const shoal_decode_job *job = a->job;
    while (job->make_room != NULL && a->result->reason == SHOAL_STOP_CONTEXT) {
        a->sequence.n = 0;
        shoal_status st =
            job->make_room(job->room_ctx, a->generated.ids, a->generated.n, &a->sequence, err);
        if (st == SHOAL_ERR_TOO_LARGE) break;
        if (st != SHOAL_OK) return st;
        if (a->sequence.n >= shoal_session_capacity(a->s)) break;
        a->result->n_shifts++;
        SHOAL_TRY(generate(a, a->sequence.ids, a->sequence.n, opts, err));
    }
    return SHOAL_OK;
}

static shoal_status run(answer *a, shoal_sampler *sampler, shoal_error *err)
{
    const shoal_decode_job *job = a->job;
    shoal_ngram_source ngram = shoal_ngram_source_init();
    const shoal_draft_source source = {shoal_ngram_draft, &ngram};
    /* End tokens are looked for in on_token, so that they are among the tokens reported. */
    shoal_gen_opts opts = {.ignore_stop = true,
                           .sampler = sampler,
                           .draft = strcmp(job->how->spec, "none") == 0 ? NULL : &source,
                           .on_token = on_token,
                           .ctx = a,
                           .cancel = job->cancel};
    a->begun_s = shoal_clock_s();
    a->result->n_prompt = job->n_prompt;
    a->result->n_cached =
        shoal_prompt_store_restore(job->store, job->adapter, a->s, job->prompt, job->n_prompt);
    shoal_status st = generate(a, job->prompt, job->n_prompt, &opts, err);
    if (st == SHOAL_OK) st = generate_on(a, &opts, err);
    if (st != SHOAL_OK) return st;
    flush(a);
    shoal_prompt_store_keep(job->store, job->adapter, a->s, true);
    a->result->prompt_s = a->result->n_tokens > 0 ? a->first_s - a->begun_s : 0.0;
    a->result->generate_s = a->last_s - a->first_s;
    return SHOAL_OK;
}

shoal_status shoal_decode(shoal_session *s, const shoal_decode_job *job,
                          shoal_decode_result *result, shoal_error *err)
{
    *result = (shoal_decode_result){.reason = SHOAL_STOP_END};
    const shoal_decoding *how = job->how;
    const shoal_sampling sampling = {(float)how->temperature, (size_t)how->top_k, (float)how->top_p,
                                     (float)how->min_p, how->seed};
    const shoal_model *m = shoal_session_model(s);
    shoal_sampler *sampler = NULL;
    SHOAL_TRY(shoal_decoding_check(how, err));
    if (how->temperature > 0.0) {
        SHOAL_TRY(shoal_sampler_open(&sampler, &sampling, m->cfg.n_vocab, err));
    }
    answer a = {.job = job,
                .tok = m->tok,
                .result = result,
                .stop = shoal_stop_text_init(job->stops, job->n_stops),
                .whole = shoal_buf_init(PIECE_MAX),
                .show = shoal_buf_init(PIECE_MAX),
                .s = s,
                .err = err};
    shoal_status st = run(&a, sampler, err);
    shoal_tokens_clear(&a.generated);
    shoal_tokens_clear(&a.sequence);
    shoal_stop_text_clear(&a.stop);
    shoal_buf_clear(&a.whole);
    shoal_buf_clear(&a.show);
    shoal_sampler_close(sampler);
    return st;
}

shoal_status shoal_decode_print_json(const shoal_decode_result *r, const shoal_tokens *tokens,
                                     const shoal_buf *text, shoal_error *err)
{
    return shoal_json_print(stdout,
                            json_pack("{s:o, s:o, s:f, s:I, s:I, s:I, s:I}", "tokens",
                                      shoal_json_from_ids(tokens->ids, tokens->n), "text",
                                      shoal_json_from_text(shoal_buf_str(text), text->len),
                                      "tg_tps", shoal_decode_tps(r), "accepted",
                                      (json_int_t)r->accepted, "drafted", (json_int_t)r->drafted,
                                      "prompt_tokens", (json_int_t)r->n_prompt, "cached_tokens",
                                      (json_int_t)r->n_cached),
                            err);
}
