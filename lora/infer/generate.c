/* generate.c - decoding, plain and speculative, by one loop. */
#include "lora/infer/generate.h"

#include "lora/model/tokenizer.h"

/* One generation in progress. */
typedef struct decoder {
    shoal_session *s;
    const shoal_gen_opts *opts;
    shoal_gen_result *result;
    const shoal_tokenizer *tok;
    shoal_draft_control control;
    int32_t batch[SHOAL_DRAFT_MAX + 1]; /* the last token, then the guesses after it */
    size_t n_guesses;
    bool done;
} decoder;

static int32_t sample(decoder *d, size_t row)
{
    const float *logits = shoal_session_logits(d->s, row);
    if (d->opts->sampler != NULL) return shoal_sampler_next(d->opts->sampler, logits);
    return shoal_argmax(logits, shoal_session_model(d->s)->cfg.n_vocab);
}

static void stop(decoder *d, shoal_stop_reason reason)
{
    d->result->reason = reason;
    d->done = true;
}

/* Gives a sampled token to the caller, or ends. */
static void emit(decoder *d, int32_t id)
{
    const shoal_gen_opts *o = d->opts;
    if (!o->ignore_stop && shoal_tokenizer_is_stop(d->tok, id)) {
        stop(d, SHOAL_STOP_END);
        return;
    }
    d->result->n_tokens++;
    if (o->on_token != NULL && !o->on_token(o->ctx, id)) {
        stop(d, SHOAL_STOP_CALLBACK);
    } else if (d->result->n_tokens == o->max_tokens) {
        stop(d, SHOAL_STOP_LENGTH);
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Guesses before the first that is no token: a source may be anything. */
static size_t valid_guesses(const decoder *d, size_t n)
{
    size_t vocab = shoal_session_model(d->s)->cfg.n_vocab;
    for (size_t i = 0; i < n; i++) {
        if (d->batch[i + 1] < 0 || (size_t)d->batch[i + 1] >= vocab) return i;
    }
    return n;
}

/* Guesses after batch[0], which the session has not read yet. No more than could be used: neither
 * beyond max_tokens nor beyond the context. */
static void draft(decoder *d)
{
    const shoal_gen_opts *o = d->opts;
    d->n_guesses = 0;
    if (o->draft == NULL) return;
    size_t past = shoal_session_past(d->s);
    size_t room = shoal_session_capacity(d->s) - past - 1;
    size_t most = shoal_draft_length(&d->control);
    if (o->max_tokens > 0) most = least(most, o->max_tokens - d->result->n_tokens - 1);
    most = least(least(most, room), shoal_session_logit_rows(d->s) - 1);
    if (most == 0) return;
    const int32_t *history = shoal_session_history(d->s, d->batch[0]);
    size_t n = o->draft->draft(o->draft->ctx, history, past + 1, d->batch + 1, most);
    d->n_guesses = valid_guesses(d, least(n, most));
}

/* Reads the batch, then samples position by position from the model's own logits: a guess is kept
 * while it is the token sampled before it. The token sampled last is the next batch[0]. */
static shoal_status step(decoder *d, shoal_error *err)
{
    size_t past = shoal_session_past(d->s);
    size_t n = 1 + d->n_guesses;
    SHOAL_TRY(shoal_session_eval(d->s, d->batch, n, SHOAL_LOGITS_ALL, err));
    d->result->n_evals++;
    size_t kept = 0;
    int32_t id = 0;
    for (;;) {
        id = sample(d, kept);
        bool right = kept < d->n_guesses && d->batch[kept + 1] == id;
        emit(d, id);
        if (d->done || !right) break;
        kept++;
    }
    (void)shoal_session_truncate(d->s, past + 1 + kept);
    shoal_draft_report(&d->control, d->n_guesses, kept);
    d->batch[0] = id;
    return SHOAL_OK;
}

static bool cancelled(const decoder *d)
{
    return d->opts->cancel != NULL && atomic_load_explicit(d->opts->cancel, memory_order_relaxed);
}

static shoal_status decode(decoder *d, const int32_t *prompt, size_t n, shoal_error *err)
{
    SHOAL_TRY(shoal_session_sync(d->s, prompt, n, err));
    d->batch[0] = sample(d, 0);
    emit(d, d->batch[0]);
    while (!d->done) {
        if (cancelled(d)) return SHOAL_ERR_CANCELLED;
        if (shoal_session_past(d->s) == shoal_session_capacity(d->s)) {
            stop(d, SHOAL_STOP_CONTEXT);
            break;
        }
        draft(d);
        SHOAL_TRY(step(d, err));
    }
    return SHOAL_OK;
}

shoal_status shoal_generate(shoal_session *s, const int32_t *prompt, size_t n,
                            const shoal_gen_opts *opts, shoal_gen_result *result, shoal_error *err)
{
    *result = (shoal_gen_result){0};
    decoder d = {
        .s = s,
        .opts = opts,
        .result = result,
        .tok = shoal_session_model(s)->tok,
        .control = shoal_draft_control_init(opts->max_draft),
    };
    shoal_session_set_cancel(s, opts->cancel);
    shoal_status st = decode(&d, prompt, n, err);
    shoal_session_set_cancel(s, NULL);
    result->drafted = d.control.drafted;
    result->accepted = d.control.accepted;
    if (st == SHOAL_ERR_CANCELLED) {
        result->reason = SHOAL_STOP_CANCELLED;
        return SHOAL_OK;
    }
    return st;
}
