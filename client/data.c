/* data.c - JSONL to tokens and masks. */
#include "client/data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "lora/model/chat_template.h"
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

/* What a sample is made from while it is being built. */
typedef struct draft {
    shoal_tokens ids;
    shoal_buf mask;
    shoal_str answer;
} draft;

static shoal_status encode_messages(draft *d, const json_t *array, const shoal_model *m,
                                    const char *where, shoal_error *err)
{
    shoal_message msgs[SHOAL_JSON_MAX_MESSAGES];
    shoal_chat_template ct;
    size_t n = 0;
    SHOAL_TRY(shoal_json_messages(array, msgs, &n, where, err));
    for (size_t i = n; i-- > 0 && d->answer.p == NULL;) {
        if (strcmp(msgs[i].role, "assistant") == 0) d->answer = msgs[i].content;
    }
    if (d->answer.p == NULL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: no assistant message to learn from", where);
    }
    SHOAL_TRY(shoal_chat_template_init(&ct, m->gguf, m->tok, err));
    return shoal_chat_encode(&ct, msgs, n, false, &d->ids, &d->mask, err);
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

static shoal_status encode_line(draft *d, const json_t *obj, const shoal_model *m,
                                const char *where, shoal_error *err)
{
    shoal_str text = {NULL, 0};
    const json_t *messages = json_object_get(obj, "messages");
    if (messages != NULL) return encode_messages(d, messages, m, where, err);
    if (shoal_json_str(obj, "text", &text)) return encode_text(d, text, m, err);
    (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: neither \"messages\" nor \"text\"", where);
    shoal_hint(err, "a line looks like {\"messages\":[{\"role\":\"user\",\"content\":\"...\"},"
                    "{\"role\":\"assistant\",\"content\":\"...\"}]}");
    return SHOAL_ERR_FORMAT;
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

static shoal_status copy_out(shoal_example *e, const draft *d, size_t n, shoal_error *err)
{
    e->ids = shoal_alloc(n * sizeof *e->ids);
    e->mask = shoal_alloc(n);
    e->answer = d->answer.p == NULL ? NULL : shoal_strndup(d->answer.p, d->answer.n);
    e->n_answer = d->answer.n;
    if (e->ids == NULL || e->mask == NULL || (d->answer.p != NULL && e->answer == NULL)) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for the data");
    }
    memcpy(e->ids, d->ids.ids, n * sizeof *e->ids);
    memcpy(e->mask, d->mask.data, n);
    return SHOAL_OK;
}

static shoal_status finish(shoal_example *e, shoal_sample *s, draft *d, const shoal_data_options *o,
                           const char *where, shoal_error *err)
{
    uint8_t *mask = d->mask.data;
    size_t n = o->max_tokens > 0 && d->ids.n > o->max_tokens ? o->max_tokens : d->ids.n;
    e->n_prompt = d->answer.p == NULL ? 0 : last_run(mask, d->ids.n);
    if (n > 0) mask[0] = 0; /* nothing comes before it */
    if (o->train_on_all && n > 1) memset(mask + 1, 1, n - 1);
    *s = (shoal_sample){NULL, mask, n};
    if (n == 0 || shoal_sample_targets(s) == 0) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: nothing to learn in its first %zu tokens",
                         where, n);
        shoal_hint(err, "this line has %zu tokens: raise --ctx, or remove the line", d->ids.n);
        return SHOAL_ERR_FORMAT;
    }
    SHOAL_TRY(copy_out(e, d, n, err));
    s->ids = e->ids;
    s->mask = e->mask;
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

shoal_status shoal_dataset_add(shoal_dataset *d, const char *text, size_t n, const shoal_model *m,
                               const shoal_data_options *options, const char *name, size_t line,
                               shoal_error *err)
{
    char where[128];
    draft work = {.mask = shoal_buf_init(SHOAL_DATA_MAX_TOKENS)};
    shoal_example e = {.line = line};
    shoal_sample s = {NULL, NULL, 0};
    json_t *obj = NULL;
    /* Long paths keep their end, which tells files apart. */
    size_t n_name = strlen(name);
    (void)snprintf(where, sizeof where, "%s:%zu", name + (n_name > 100 ? n_name - 100 : 0), line);
    shoal_status st = shoal_json_object(&obj, text, n, where, true, err);
    if (st == SHOAL_OK) st = encode_line(&work, obj, m, where, err);
    if (st == SHOAL_OK) st = finish(&e, &s, &work, options, where, err);
    if (st == SHOAL_OK) st = append(d, &s, &e, err);
    if (st == SHOAL_OK) {
        d->n_cut += s.n < work.ids.n;
    } else {
        clear_example(&e);
    }
    json_decref(obj);
    shoal_tokens_clear(&work.ids);
    shoal_buf_clear(&work.mask);
    return st;
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
    if (st == SHOAL_OK && out->n == 0) {
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
