/* data.c - JSONL to tokens and masks. */
#include "client/data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "lora/model/tokenizer.h"

enum { CHUNK = 1 << 16 };

/* ---- lines of a file ------------------------------------------------------------------------- */

typedef struct line_reader {
    const char *name; /* for messages */
    shoal_line_fn *fn;
    void *ctx;
    shoal_buf line; /* the unfinished line */
    size_t number;  /* 1-based, of that line */
} line_reader;

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    }
    return true;
}

static shoal_status end_line(line_reader *r, shoal_error *err)
{
    const char *text = shoal_buf_str(&r->line);
    size_t n = r->line.len;
    if (r->number == 1 && n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3; /* a byte order mark, as some editors write */
        n -= 3;
    }
    if (n > 0 && text[n - 1] == '\r') n--;
    shoal_status st = is_blank(text, n) ? SHOAL_OK : r->fn(r->ctx, text, n, r->number, err);
    r->line.len = 0;
    r->number++;
    return st;
}

static shoal_status take_chunk(line_reader *r, const char *chunk, size_t n, shoal_error *err)
{
    while (n > 0) {
        const char *nl = memchr(chunk, '\n', n);
        size_t piece = nl == NULL ? n : (size_t)(nl - chunk);
        if (!shoal_buf_put(&r->line, chunk, piece)) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%.200s:%zu: the line is over %d bytes",
                              r->name, r->number, SHOAL_DATA_MAX_LINE);
        }
        if (nl == NULL) return SHOAL_OK;
        SHOAL_TRY(end_line(r, err));
        chunk += piece + 1;
        n -= piece + 1;
    }
    return SHOAL_OK;
}

static shoal_status read_all(line_reader *r, FILE *f, shoal_error *err)
{
    char *chunk = shoal_alloc(CHUNK);
    if (chunk == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = SHOAL_OK;
    size_t n = 0;
    while (st == SHOAL_OK && (n = fread(chunk, 1, CHUNK, f)) > 0) {
        st = take_chunk(r, chunk, n, err);
    }
    if (st == SHOAL_OK && ferror(f)) {
        st = shoal_fail_errno(err, errno, "cannot read %.200s", r->name);
    }
    if (st == SHOAL_OK && r->line.len > 0) st = end_line(r, err);
    shoal_free(chunk);
    return st;
}

/* Lines are handed out as they come, so that a program at the other end of a pipe is answered line
 * by line: fread on a pipe would wait for a full chunk. */
static shoal_status read_stdin(line_reader *r, shoal_error *err)
{
    shoal_status st = SHOAL_OK;
    int c = 0;
    while (st == SHOAL_OK && (c = fgetc(stdin)) != EOF) {
        char byte = (char)c;
        st = take_chunk(r, &byte, 1, err);
    }
    if (st == SHOAL_OK && ferror(stdin)) {
        st = shoal_fail_errno(err, errno, "cannot read standard input");
    }
    if (st == SHOAL_OK && r->line.len > 0) st = end_line(r, err);
    return st;
}

shoal_status shoal_lines_each(const char *path, shoal_line_fn *fn, void *ctx, shoal_error *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    line_reader r = {from_stdin ? "standard input" : path, fn, ctx,
                     shoal_buf_init(SHOAL_DATA_MAX_LINE), 1};
    shoal_status st = SHOAL_OK;
    if (from_stdin) {
        st = read_stdin(&r, err);
    } else {
        FILE *f = fopen(path, "rb");
        if (f == NULL) return shoal_fail_errno(err, errno, "cannot open %.200s", path);
        st = read_all(&r, f, err);
        (void)fclose(f);
    }
    shoal_buf_clear(&r.line);
    return st;
}

/* ---- one line to one sample ------------------------------------------------------------------ */

/* A line on its way into a data set. */
typedef struct adding {
    shoal_dataset *d;
    const shoal_model *m;
    const shoal_data_options *o;
    const char *where; /* "file:line" */
    size_t line;
} adding;

/* What a sample is made from while it is being built. */
typedef struct draft {
    shoal_tokens ids;
    shoal_buf mask;
    shoal_str answer;
} draft;

static draft draft_init(void)
{
    return (draft){.mask = shoal_buf_init(SHOAL_DATA_MAX_TOKENS)};
}

static void draft_clear(draft *d)
{
    shoal_tokens_clear(&d->ids);
    shoal_buf_clear(&d->mask);
    *d = draft_init();
}

static bool is_role(const shoal_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

/* One sample of the whole of the messages. */
static shoal_status encode_messages(const adding *w, draft *d, const shoal_message *msgs, size_t n,
                                    shoal_error *err)
{
    draft_clear(d);
    for (size_t i = n; i-- > 0 && d->answer.p == NULL;) {
        if (is_role(&msgs[i], "assistant")) d->answer = msgs[i].content;
    }
    if (d->answer.p == NULL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: no assistant message to learn from",
                          w->where);
    }
    if (w->d->chat_of != w->m) {
        SHOAL_TRY(shoal_chat_template_init(&w->d->chat, w->m->gguf, w->m->tok, err));
        w->d->chat_of = w->m;
    }
    return shoal_chat_encode(&w->d->chat, msgs, n, false, &d->ids, &d->mask, err);
}

static shoal_status encode_text(draft *d, shoal_str text, const shoal_model *m, shoal_error *err)
{
    if (shoal_tokenizer_adds_bos(m->tok)) {
        SHOAL_TRY(shoal_tokens_push(&d->ids, shoal_tokenizer_bos(m->tok), err));
    }
    SHOAL_TRY(shoal_tokenize(m->tok, text.p, text.n, false, &d->ids, err));
    for (size_t i = 0; i < d->ids.n; i++) {
        (void)shoal_buf_put_u8(&d->mask, 1);
    }
    return shoal_buf_status(&d->mask, err);
}

/* Where the last run of learnt tokens begins: the tokens before it are what a generator is given.
 */
static size_t last_run(const uint8_t *mask, size_t n)
{
    while (n > 0 && mask[n - 1] == 0) {
        n--;
    }
    while (n > 0 && mask[n - 1] != 0) {
        n--;
    }
    return n;
}

/* Copies tokens [from, from + n) and the answer. */
static shoal_status copy_out(shoal_example *e, const draft *d, size_t from, size_t n,
                             shoal_error *err)
{
    e->ids = shoal_alloc(n * sizeof *e->ids);
    e->mask = shoal_alloc(n);
    e->answer = d->answer.p == NULL ? NULL : shoal_strndup(d->answer.p, d->answer.n);
    e->n_answer = d->answer.n;
    if (e->ids == NULL || e->mask == NULL || (d->answer.p != NULL && e->answer == NULL)) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for the data");
    }
    memcpy(e->ids, d->ids.ids + from, n * sizeof *e->ids);
    memcpy(e->mask, d->mask.data + from, n);
    return SHOAL_OK;
}

/* ---- the data set ------------------------------------------------------------------------------
 */

static void clear_example(shoal_example *e)
{
    shoal_free(e->ids);
    shoal_free(e->mask);
    shoal_free(e->answer);
    *e = (shoal_example){0};
}

static shoal_status grow(shoal_dataset *d, shoal_error *err)
{
    size_t cap = d->cap == 0 ? 64 : 2 * d->cap;
    shoal_sample *samples = shoal_realloc(d->samples, cap * sizeof *samples);
    if (samples != NULL) d->samples = samples;
    shoal_example *examples = shoal_realloc(d->examples, cap * sizeof *examples);
    if (examples != NULL) d->examples = examples;
    if (samples == NULL || examples == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for the data");
    }
    d->cap = cap;
    return SHOAL_OK;
}

static shoal_status append(shoal_dataset *d, const shoal_sample *s, const shoal_example *e,
                           shoal_error *err)
{
    if (d->n == SHOAL_DATA_MAX_LINES || s->n > SHOAL_DATA_MAX_TOKENS - d->n_tokens) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "more than %d lines or %zu tokens of data",
                          SHOAL_DATA_MAX_LINES, SHOAL_DATA_MAX_TOKENS);
    }
    if (d->n == d->cap) SHOAL_TRY(grow(d, err));
    d->samples[d->n] = *s;
    d->examples[d->n] = *e;
    d->n++;
    d->n_tokens += s->n;
    d->n_supervised += shoal_sample_targets(s);
    if (s->n > d->longest) d->longest = s->n;
    return SHOAL_OK;
}

/* Adds tokens [from, from + n) of a draft as a sample. */
static shoal_status append_part(const adding *w, const draft *d, size_t from, size_t n,
                                shoal_error *err)
{
    if (n == 0) return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: nothing to learn", w->where);
    uint8_t *mask = d->mask.data + from;
    shoal_example e = {.line = w->line};
    shoal_sample s = {NULL, mask, n};
    e.n_prompt = d->answer.p == NULL ? 0 : last_run(mask, n);
    mask[0] = 0; /* nothing comes before it */
    if (w->o->train_on_all) memset(mask + 1, 1, n - 1);
    if (shoal_sample_targets(&s) == 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: nothing to learn", w->where);
    }
    shoal_status st = copy_out(&e, d, from, n, err);
    s.ids = e.ids;
    s.mask = e.mask;
    if (st == SHOAL_OK) st = append(w->d, &s, &e, err);
    if (st != SHOAL_OK) clear_example(&e);
    return st;
}

static shoal_status append_draft(const adding *w, const draft *d, shoal_error *err)
{
    return append_part(w, d, 0, d->ids.n, err);
}

/* ---- what is too long ------------------------------------------------------------------------ */

static bool is_too_long(const adding *w, const draft *d)
{
    return w->o->max_tokens > 0 && d->ids.n > w->o->max_tokens;
}

static void leave_out(const adding *w)
{
    shoal_dataset *d = w->d;
    if (d->n_left_out < SHOAL_DATA_LINES_NAMED) d->left_out[d->n_left_out] = w->line;
    d->n_left_out++;
}

/* The end of the exchange that begins at message `at`: behind its answer. */
static size_t exchange_end(const shoal_message *msgs, size_t at, size_t n)
{
    while (at < n && !is_role(&msgs[at], "assistant")) {
        at++;
    }
    while (at < n && is_role(&msgs[at], "assistant")) {
        at++;
    }
    return at;
}

/* As many exchanges from message `at` on as fit, behind the first `n_system` messages; *end is
 * behind them, or `at` when not even one fits. */
static shoal_status longest_part(const adding *w, draft *d, const shoal_message *msgs,
                                 size_t n_system, size_t at, size_t n, size_t *end,
                                 shoal_error *err)
{
    shoal_message part[SHOAL_JSON_MAX_MESSAGES];
    draft next = draft_init();
    shoal_status st = SHOAL_OK;
    memcpy(part, msgs, n_system * sizeof *part);
    *end = at;
    for (size_t to = exchange_end(msgs, at, n); st == SHOAL_OK; to = exchange_end(msgs, to, n)) {
        memcpy(part + n_system, msgs + at, (to - at) * sizeof *part);
        st = encode_messages(w, &next, part, n_system + to - at, err);
        if (st != SHOAL_OK || is_too_long(w, &next)) break;
        draft kept = *d;
        *d = next;
        next = kept;
        *end = to;
        if (to == n) break;
    }
    draft_clear(&next);
    return st;
}

static shoal_status split_messages(const adding *w, draft *d, const shoal_message *msgs, size_t n,
                                   shoal_error *err)
{
    size_t n_system = is_role(&msgs[0], "system") ? 1 : 0;
    size_t before = w->d->n;
    while (n > 0 && !is_role(&msgs[n - 1], "assistant")) {
        n--; /* questions without an answer teach nothing */
    }
    for (size_t at = n_system; at < n;) {
        size_t end = at;
        SHOAL_TRY(longest_part(w, d, msgs, n_system, at, n, &end, err));
        if (end > at) {
            SHOAL_TRY(append_draft(w, d, err));
        } else {
            leave_out(w);
        }
        at = end > at ? end : exchange_end(msgs, at, n);
    }
    w->d->n_split += w->d->n > before + 1;
    return SHOAL_OK;
}

/* Parts overlap by a token, so that each token but the first is learnt once. */
static shoal_status split_text(const adding *w, const draft *d, shoal_error *err)
{
    for (size_t at = 0; at + 1 < d->ids.n; at += w->o->max_tokens - 1) {
        size_t left = d->ids.n - at;
        size_t n = left < w->o->max_tokens ? left : w->o->max_tokens;
        SHOAL_TRY(append_part(w, d, at, n, err));
    }
    w->d->n_split++;
    return SHOAL_OK;
}

static shoal_status add_messages(const adding *w, draft *d, const json_t *array, shoal_error *err)
{
    shoal_message msgs[SHOAL_JSON_MAX_MESSAGES];
    size_t n = 0;
    SHOAL_TRY(shoal_json_messages(array, msgs, &n, w->where, err));
    SHOAL_TRY(encode_messages(w, d, msgs, n, err));
    return is_too_long(w, d) ? split_messages(w, d, msgs, n, err) : append_draft(w, d, err);
}

static shoal_status add_line(const adding *w, draft *d, const json_t *obj, shoal_error *err)
{
    shoal_str text = {NULL, 0};
    const json_t *messages = json_object_get(obj, "messages");
    if (messages != NULL) return add_messages(w, d, messages, err);
    if (shoal_json_str(obj, "text", &text)) {
        SHOAL_TRY(encode_text(d, text, w->m, err));
        bool split = w->o->max_tokens > 1 && is_too_long(w, d);
        return split ? split_text(w, d, err) : append_draft(w, d, err);
    }
    (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: neither \"messages\" nor \"text\"", w->where);
    shoal_hint(err, "a line looks like {\"messages\":[{\"role\":\"user\",\"content\":\"...\"},"
                    "{\"role\":\"assistant\",\"content\":\"...\"}]}");
    return SHOAL_ERR_FORMAT;
}

shoal_status shoal_dataset_add(shoal_dataset *d, const char *text, size_t n, const shoal_model *m,
                               const shoal_data_options *options, const char *name, size_t line,
                               shoal_error *err)
{
    char where[128];
    draft work = draft_init();
    json_t *obj = NULL;
    /* Long paths keep their end, which tells files apart. */
    size_t n_name = strlen(name);
    (void)snprintf(where, sizeof where, "%s:%zu", name + (n_name > 100 ? n_name - 100 : 0), line);
    const adding w = {d, m, options, where, line};
    shoal_status st = shoal_json_object(&obj, text, n, where, true, err);
    if (st == SHOAL_OK) st = add_line(&w, &work, obj, err);
    json_decref(obj);
    draft_clear(&work);
    return st;
}

void shoal_dataset_warn_long(const shoal_dataset *d, size_t max_tokens)
{
    char lines[256] = "";
    if (d->n_split > 0) {
        shoal_term_warn("%zu lines are longer than %zu tokens and were split", d->n_split,
                        max_tokens);
    }
    if (d->n_left_out == 0) return;
    for (size_t i = 0, at = 0; i < d->n_left_out && i < SHOAL_DATA_LINES_NAMED; i++) {
        int n = snprintf(lines + at, sizeof lines - at, "%s%zu", i > 0 ? ", " : "", d->left_out[i]);
        at += n > 0 ? (size_t)n : 0;
    }
    shoal_term_warn("%zu exchanges are longer than %zu tokens and were left out: line %s%s",
                    d->n_left_out, max_tokens, lines,
                    d->n_left_out > SHOAL_DATA_LINES_NAMED ? ", ..." : "");
}

typedef struct loading {
    shoal_dataset *d;
    const shoal_model *m;
    const shoal_data_options *options;
    const char *name;
} loading;

static shoal_status load_line(void *ctx, const char *text, size_t n, size_t line, shoal_error *err)
{
    const loading *l = ctx;
    return shoal_dataset_add(l->d, text, n, l->m, l->options, l->name, line, err);
}

shoal_status shoal_dataset_load(shoal_dataset *out, const char *path, const shoal_model *m,
                                const shoal_data_options *options, shoal_error *err)
{
    loading l = {out, m, options, strcmp(path, "-") == 0 ? "standard input" : path};
    shoal_status st = shoal_lines_each(path, load_line, &l, err);
    if (st == SHOAL_OK && out->n == 0 && out->n_left_out > 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%.200s:%zu: nothing to learn within %zu tokens",
                        l.name, out->left_out[0], options->max_tokens);
        shoal_hint(err, "every exchange is longer than that: raise --ctx");
    } else if (st == SHOAL_OK && out->n == 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%.200s: no data", l.name);
    }
    if (st != SHOAL_OK) shoal_dataset_clear(out);
    return st;
}

void shoal_dataset_clear(shoal_dataset *d)
{
    for (size_t i = 0; i < d->n; i++) {
        clear_example(&d->examples[i]);
    }
    shoal_free(d->samples);
    shoal_free(d->examples);
    *d = (shoal_dataset){0};
}
