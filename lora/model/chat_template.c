/* chat_template.c - a rendered conversation, cut at the template's control tokens, as ids. */
#include "lora/model/chat_template.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/jinja.h"

enum { MAX_MESSAGES = 65536, TEMPLATE = 0, NONE = -1 };

/* Of rendering: fixed room, and some copies of what people wrote. */
static const size_t BASE_BYTES = (size_t)64 << 20;
enum { COPIES = 24 };

static const char ASSISTANT[] = "assistant";

/* ---- rendering --------------------------------------------------------------------------------
 */

static shoal_status check_messages(const shoal_message *msgs, size_t n, shoal_error *err)
{
    if (n > MAX_MESSAGES) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a conversation of %zu messages", n);
    }
    for (size_t i = 0; i < n; i++) {
        const char *role = msgs[i].role;
        if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
            strcmp(role, ASSISTANT) != 0) {
            (void)shoal_fail(err, SHOAL_ERR_FORMAT, "message %zu has an unknown role", i + 1);
            shoal_hint(err, "roles are system, user and assistant");
            return SHOAL_ERR_FORMAT;
        }
    }
    return SHOAL_OK;
}

/* Message i's content has origin i + 1. Roles are one of three words, so they count as template. */
static void define_messages(shoal_jinja_data *d, const shoal_message *msgs, size_t n)
{
    shoal_jinja_value list = shoal_jinja_list(d);
    for (size_t i = 0; i < n; i++) {
        shoal_jinja_value m = shoal_jinja_dict(d);
        shoal_str role = shoal_str_of(msgs[i].role);
        shoal_jinja_set(d, m, "role", shoal_jinja_string(d, role, TEMPLATE));
        shoal_jinja_set(d, m, "content", shoal_jinja_string(d, msgs[i].content, (uint32_t)(i + 1)));
        shoal_jinja_push(d, list, m);
    }
    shoal_jinja_define(d, "messages", list);
}

static void define_token(shoal_jinja_data *d, const shoal_chat_template *ct, const char *name,
                         int32_t id)
{
    if (id == NONE) return;
    shoal_jinja_define(d, name, shoal_jinja_string(d, shoal_token_piece(ct->tok, id), TEMPLATE));
}

/* Everything that the reference gives a template, and nothing else. */
static void define_all(shoal_jinja_data *d, const shoal_chat_template *ct,
                       const shoal_message *msgs, size_t n, bool add_generation_prompt)
{
    define_messages(d, msgs, n);
    shoal_jinja_define(d, "add_generation_prompt", shoal_jinja_bool(add_generation_prompt));
    shoal_jinja_define(d, "tools", shoal_jinja_none());
    shoal_jinja_define(d, "documents", shoal_jinja_none());
    define_token(d, ct, "bos_token", shoal_tokenizer_bos(ct->tok));
    define_token(d, ct, "eos_token", shoal_tokenizer_eos(ct->tok));
    define_token(d, ct, "unk_token", ct->unk);
    define_token(d, ct, "pad_token", ct->pad);
    if (ct->has_time) shoal_jinja_set_time(d, ct->time);
}

/* A conversation as its template shows it. What `out` views is in `data`: close that. */
static shoal_status render(const shoal_chat_template *ct, const shoal_message *msgs, size_t n,
                           bool add_generation_prompt, shoal_jinja_data **data,
                           shoal_jinja_output *out, shoal_error *err)
{
    *data = NULL;
    SHOAL_TRY(check_messages(msgs, n, err));
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (msgs[i].content.n > SHOAL_TOKENIZER_MAX_TEXT - bytes) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a conversation of more than %d bytes",
                              (int)SHOAL_TOKENIZER_MAX_TEXT);
        }
        bytes += msgs[i].content.n;
    }
    shoal_jinja *t = NULL;
    SHOAL_TRY(shoal_jinja_open(&t, ct->source, "chat template", err));
    shoal_status st = shoal_jinja_data_open(data, BASE_BYTES + COPIES * bytes, err);
    if (st == SHOAL_OK) {
        define_all(*data, ct, msgs, n, add_generation_prompt);
        st = shoal_jinja_render(t, *data, out, err);
    }
    shoal_jinja_close(t);
    return st;
}

static int32_t token_of(const shoal_gguf *g, const shoal_tokenizer *tok, const char *key)
{
    uint64_t id = 0;
    shoal_status st = shoal_gguf_get_uint(g, key, shoal_tokenizer_vocab(tok) - 1, &id, NULL);
    return st == SHOAL_OK ? (int32_t)id : NONE;
}

/* Only what the engine lacks counts: a template may well refuse a small conversation. */
static shoal_status try_out(const shoal_chat_template *ct, shoal_error *err)
{
    static const shoal_message TALK[] = {{"user", {"a", 1}}, {"assistant", {"b", 1}}};
    shoal_jinja_data *data = NULL;
    shoal_jinja_output out;
    shoal_error found = {0};
    shoal_status st = render(ct, TALK, 2, false, &data, &out, &found);
    shoal_jinja_data_close(data);
    if (st != SHOAL_OK && st != SHOAL_ERR_UNSUPPORTED) {
        st = render(ct, TALK, 1, true, &data, &out, &found);
        shoal_jinja_data_close(data);
    }
    if (st == SHOAL_OK) return SHOAL_OK;
    if (err != NULL) *err = found;
    return st;
}

shoal_status shoal_chat_template_init(shoal_chat_template *ct, const shoal_gguf *g,
                                      const shoal_tokenizer *tok, shoal_error *err)
{
    *ct = (shoal_chat_template){
        .tok = tok,
        .unk = token_of(g, tok, "tokenizer.ggml.unknown_token_id"),
        .pad = token_of(g, tok, "tokenizer.ggml.padding_token_id"),
    };
    shoal_status st = shoal_gguf_get_str(g, "tokenizer.chat_template", &ct->source, err);
    if (st == SHOAL_OK && ct->source.n > 0) return try_out(ct, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: it has no chat template", shoal_gguf_name(g));
    shoal_hint(err, "conversations need a model made for them; raw prompts work with any");
    return SHOAL_ERR_UNSUPPORTED;
}

shoal_status shoal_chat_text(const shoal_chat_template *ct, const shoal_message *msgs, size_t n,
                             bool add_generation_prompt, shoal_buf *out, shoal_error *err)
{
    shoal_jinja_data *data = NULL;
    shoal_jinja_output shown;
    shoal_status st = render(ct, msgs, n, add_generation_prompt, &data, &shown, err);
    if (st == SHOAL_OK) {
        shoal_buf_put(out, shown.text.p, shown.text.n);
        st = shoal_buf_status(out, err);
    }
    shoal_jinja_data_close(data);
    return st;
}

/* ---- control tokens and answers ---------------------------------------------------------------
 */

/* A control token that the template put into the text. */
typedef struct cut {
    size_t at, n; /* bytes */
    int32_t id;
    bool answer; /* supervised */
} cut;

/* A rendered conversation on its way to ids. */
typedef struct talk {
    const shoal_chat_template *ct;
    const shoal_message *msgs;
    shoal_jinja_output out;
    cut *cuts; /* [n_cuts] from left to right */
    size_t n_cuts;
    uint8_t *answer; /* [out.text.n] 1 for bytes of answers */
} talk;

/* Longest first, as the tokenizer does it: user-defined tokens wherever they are, control tokens
 * where one span of template text has all of them. Stores when cuts are given; how many. */
static size_t find_cuts(const talk *t, cut *cuts)
{
    const shoal_str text = t->out.text;
    const shoal_jinja_span whole = {text.n, TEMPLATE};
    const shoal_jinja_span *spans = t->out.n_spans == 0 ? &whole : t->out.spans;
    size_t n = 0;
    size_t end = spans[0].n; /* of the span that `at` is in */
    for (size_t at = 0, span = 0; at < text.n;) {
        while (at >= end) {
            end += spans[++span].n;
        }
        size_t own = spans[span].origin == TEMPLATE ? end - at : 0;
        int32_t control = shoal_tokenizer_special(t->ct->tok, text.p + at, own, true);
        int32_t user = shoal_tokenizer_special(t->ct->tok, text.p + at, text.n - at, false);
        size_t n_control = control == NONE ? 0 : shoal_token_piece(t->ct->tok, control).n;
        size_t n_user = user == NONE ? 0 : shoal_token_piece(t->ct->tok, user).n;
        if (n_control > n_user) {
            if (cuts != NULL) cuts[n] = (cut){at, n_control, control, false};
            n++;
        }
        size_t step = n_control > n_user ? n_control : n_user;
        at += step > 0 ? step : 1;
    }
    return n;
}

/* The first control token at or after byte `at`; NULL when there is none. `from` goes along. */
static cut *next_cut(const talk *t, size_t at, size_t *from)
{
    while (*from < t->n_cuts && t->cuts[*from].at < at) {
        (*from)++;
    }
    return *from < t->n_cuts ? &t->cuts[*from] : NULL;
}

/* The end of a turn: a control token directly after the answer, or after white space when it is one
 * that ends generation. [at, template_end) is the template's. */
static void mark_end(talk *t, cut *c, size_t at, size_t template_end)
{
    if (c == NULL) return;
    size_t space = at;
    while (space < c->at && space < template_end && strchr(" \n\t\r", t->out.text.p[space])) {
        space++;
    }
    if (space != c->at || (space > at && !shoal_tokenizer_is_stop(t->ct->tok, c->id))) return;
    memset(t->answer + at, 1, space - at);
    c->answer = true;
}

/* Answers are the assistant's contents; what the template put between two parts of one, without a
 * control token, is part of it. */
static void mark_answers(talk *t)
{
    size_t begin = 0;
    size_t cut_at = 0;
    size_t last_end = 0;
    uint32_t last_origin = TEMPLATE;
    for (size_t i = 0; i < t->out.n_spans; i++) {
        const shoal_jinja_span *s = &t->out.spans[i];
        size_t end = begin + s->n;
        if (s->origin != TEMPLATE && strcmp(t->msgs[s->origin - 1].role, ASSISTANT) == 0) {
            const cut *between = next_cut(t, last_end, &cut_at);
            bool same = s->origin == last_origin && (between == NULL || between->at >= begin);
            size_t from = same ? last_end : begin;
            if (end > from) memset(t->answer + from, 1, end - from);
            bool more = i + 1 < t->out.n_spans && t->out.spans[i + 1].origin == TEMPLATE;
            mark_end(t, next_cut(t, end, &cut_at), end, more ? end + t->out.spans[i + 1].n : end);
            last_end = end;
            last_origin = s->origin;
        }
        begin = end;
    }
}

/* ---- ids --------------------------------------------------------------------------------------
 */

static shoal_status put_mask(shoal_buf *mask, uint8_t value, shoal_error *err)
{
    if (mask == NULL) return SHOAL_OK;
    (void)shoal_buf_put_u8(mask, value);
    return shoal_buf_status(mask, err);
}

/* Where in the text a token's bytes are, `at` or a little later: a tokenizer may leave bytes out
 * that it has no token for. One that put bytes in (a first space) matches nowhere and stays. */
static size_t find_piece(shoal_str text, size_t at, size_t end, shoal_str piece)
{
    enum { FAR = 64 };
    size_t stop = end - at > FAR ? at + FAR : end;
    for (size_t i = at; i < stop && piece.n > 0 && piece.n <= end - i; i++) {
        if (memcmp(text.p + i, piece.p, piece.n) == 0) return i;
    }
    return at;
}

/* Ids of [from, to), text without control tokens. A token is answer when it begins in one. */
static shoal_status put_text(const talk *t, size_t from, size_t to, shoal_tokens *ids,
                             shoal_buf *mask, shoal_error *err)
{
    const shoal_str text = t->out.text;
    size_t first = ids->n;
    SHOAL_TRY(shoal_tokenize(t->ct->tok, text.p + from, to - from, false, ids, err));
    for (size_t i = first; i < ids->n && mask != NULL; i++) {
        shoal_str piece = shoal_token_piece(t->ct->tok, ids->ids[i]);
        bool added = i == first && piece.n > 0 && piece.p[0] == ' ' && text.p[from] != ' ';
        if (added) piece = (shoal_str){piece.p + 1, piece.n - 1};
        size_t at = find_piece(text, from, to, piece);
        SHOAL_TRY(put_mask(mask, at < text.n ? t->answer[at] : 0, err));
        from = piece.n <= to - at ? at + piece.n : to;
    }
    return SHOAL_OK;
}

static shoal_status put_all(const talk *t, shoal_tokens *ids, shoal_buf *mask, shoal_error *err)
{
    size_t at = 0;
    for (size_t i = 0; i < t->n_cuts; i++) {
        const cut *c = &t->cuts[i];
        SHOAL_TRY(put_text(t, at, c->at, ids, mask, err));
        SHOAL_TRY(shoal_tokens_push(ids, c->id, err));
        SHOAL_TRY(put_mask(mask, c->answer, err));
        at = c->at + c->n;
    }
    return put_text(t, at, t->out.text.n, ids, mask, err);
}

static shoal_status encode(talk *t, shoal_tokens *ids, shoal_buf *mask, shoal_error *err)
{
    t->n_cuts = find_cuts(t, NULL);
    t->cuts = shoal_calloc(t->n_cuts, sizeof *t->cuts);
    t->answer = shoal_calloc(t->out.text.n, 1);
    shoal_status st = SHOAL_ERR_NOMEM;
    if (t->cuts == NULL || t->answer == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for a conversation");
    } else {
        (void)find_cuts(t, t->cuts);
        mark_answers(t);
        st = put_all(t, ids, mask, err);
    }
    shoal_free(t->cuts);
    shoal_free(t->answer);
    return st;
}

shoal_status shoal_chat_encode(const shoal_chat_template *ct, const shoal_message *msgs, size_t n,
                               bool add_generation_prompt, shoal_tokens *ids, shoal_buf *mask,
                               shoal_error *err)
{
    talk t = {.ct = ct, .msgs = msgs};
    shoal_jinja_data *data = NULL;
    shoal_status st = render(ct, msgs, n, add_generation_prompt, &data, &t.out, err);
    if (st == SHOAL_OK) st = encode(&t, ids, mask, err);
    shoal_jinja_data_close(data);
    return st;
}
