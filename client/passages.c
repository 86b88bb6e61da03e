/* passages.c - see passages.h. */
#include "client/passages.h"

#include <string.h>

#include "client/interrupt.h"
#include "client/memory_cap.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/infer/session.h"

/* Written for this purpose; the figures of two runs compare only while it stays as it is. */
static const char general_text[] =
    "The harbour lay quiet when Marta came down to the boats. Fog had settled over the water in "
    "the night, and the lamps along the quay looked smaller than they were. She counted the nets, "
    "as her father had taught her, and found one missing. \"Somebody needed it more than we do,\" "
    "he used to say, but he had never said it before breakfast.\n\n"
    "Photosynthesis is the process by which plants, algae and some bacteria turn light into "
    "chemical energy. Carbon dioxide and water become sugar and oxygen. In plants it takes place "
    "in the chloroplasts, whose green pigment, chlorophyll, absorbs mostly red and blue light. "
    "Nearly all life on Earth depends on it, directly or indirectly.\n\n"
    "To make a simple soup, chop two onions, three carrots and a potato. Warm a spoonful of oil in "
    "a large pot and cook the onions until they are soft. Add the other vegetables, cover them "
    "with water and let everything simmer for twenty minutes. Season with salt and pepper before "
    "you serve it.\n\n"
    "In 1969 the first people walked on the Moon. The mission took eight days; about 600 million "
    "people watched the landing. The Moon is roughly 384,000 kilometres away, so a radio signal "
    "needs 1.3 seconds to reach it.\n\n"
    "def average(values):\n"
    "    if not values:\n"
    "        return 0\n"
    "    total = 0\n"
    "    for value in values:\n"
    "        total += value\n"
    "    return total / len(values)\n\n"
    "Q: What is the capital of France?\nA: The capital of France is Paris.\n"
    "Q: If a train leaves at nine and travels for three hours, when does it arrive?\n"
    "A: It arrives at twelve o'clock.\n\n"
    "Dear neighbours, the lift will be repaired on Thursday morning, so please use the stairs "
    "between eight and eleven. If you need help with heavy bags, ring the bell on the ground "
    "floor. Thank you for your patience, and sorry for the trouble.\n";

const char *shoal_passages_name(const char *path)
{
    return path != NULL ? path : "the built-in text";
}

static bool is_jsonl(const char *path)
{
    size_t n = strlen(path);
    return n >= 6 && strcmp(path + n - 6, ".jsonl") == 0;
}

static shoal_status tokenize_text(shoal_passages *p, const char *path, const shoal_model *m,
                                  shoal_error *err)
{
    if (path == NULL) {
        return shoal_tokenize(m->tok, general_text, sizeof general_text - 1, false, &p->ids, err);
    }
    shoal_buf text = shoal_buf_init(0);
    SHOAL_TRY(shoal_file_read(path, SHOAL_PASSAGES_MAX_TEXT, &text, err));
    shoal_status st = shoal_tokenize(m->tok, shoal_buf_str(&text), text.len, false, &p->ids, err);
    shoal_buf_clear(&text);
    return st;
}

/* With a model that wants BOS it takes the place of a passage's first token, as in `perplexity`. A
 * last passage of one token has nothing to predict and is left out. */
static shoal_status cut_passages(shoal_passages *p, const shoal_model *m, size_t most,
                                 shoal_error *err)
{
    p->cut = shoal_calloc(p->ids.n / most + 1, sizeof *p->cut);
    p->mask = shoal_alloc(most);
    if (p->cut == NULL || p->mask == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for the text");
    }
    memset(p->mask, 1, most); /* one for all: every token counts */
    for (size_t at = 0; at + 1 < p->ids.n; at += most) {
        size_t n = p->ids.n - at < most ? p->ids.n - at : most;
        if (shoal_tokenizer_adds_bos(m->tok)) p->ids.ids[at] = shoal_tokenizer_bos(m->tok);
        p->cut[p->n++] = (shoal_sample){p->ids.ids + at, p->mask, n};
    }
    p->samples = p->cut;
    return SHOAL_OK;
}

shoal_status shoal_passages_load(shoal_passages *out, const char *path, const shoal_model *m,
                                 size_t max_tokens, shoal_error *err)
{
    shoal_status st = SHOAL_OK;
    if (path != NULL && is_jsonl(path)) {
        const shoal_data_options o = {.max_tokens = max_tokens};
        st = shoal_dataset_load(&out->data, path, m, &o, err);
        out->samples = out->data.samples;
        out->n = out->data.n;
    } else {
        st = tokenize_text(out, path, m, err);
        if (st == SHOAL_OK) st = cut_passages(out, m, max_tokens, err);
    }
    if (st == SHOAL_OK && out->n == 0) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%.200s holds too little text to measure a loss on",
                        shoal_passages_name(path));
    }
    if (st != SHOAL_OK) shoal_passages_clear(out);
    return st;
}

void shoal_passages_clear(shoal_passages *p)
{
    shoal_dataset_clear(&p->data);
    shoal_tokens_clear(&p->ids);
    shoal_free(p->cut);
    shoal_free(p->mask);
    *p = (shoal_passages){0};
}

static size_t longest(const shoal_passages *p)
{
    size_t most = 2;
    for (size_t i = 0; i < p->n; i++) {
        if (p->samples[i].n > most) most = p->samples[i].n;
    }
    return most;
}

static shoal_status add_sample(shoal_session *s, const shoal_sample *x, double *nll, double *sum,
                               size_t *tokens, shoal_error *err)
{
    if (shoal_interrupted()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped while measuring");
    SHOAL_TRY(shoal_session_score(s, x->ids, x->n, nll, NULL, err));
    for (size_t i = 1; i < x->n; i++) { /* nll[i - 1] is the cost of token i */
        if (x->mask[i] == 0) continue;
        *sum += nll[i - 1];
        (*tokens)++;
    }
    return SHOAL_OK;
}

shoal_status shoal_passages_nll(const shoal_passages *p, const shoal_engine *e,
                                const shoal_adapter *a, shoal_mean_nll *out, shoal_error *err)
{
    double sum = 0.0;
    shoal_session *s = NULL;
    const shoal_session_opts so = {.n_ctx = longest(p), .adapter = a, .kv = e->kv};
    *out = (shoal_mean_nll){0};
    double *nll = shoal_calloc(longest(p), sizeof *nll);
    if (nll == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = shoal_engine_open_session(e, &so, &s, err);
    for (size_t i = 0; st == SHOAL_OK && i < p->n; i++) {
        st = add_sample(s, &p->samples[i], nll, &sum, &out->tokens, err);
    }
    if (out->tokens > 0) out->mean = sum / (double)out->tokens;
    shoal_session_close(s);
    shoal_free(nll);
    return st;
}
