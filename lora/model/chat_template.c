/* chat_template.c - ChatML. */
#include "lora/model/chat_template.h"

#include <string.h>

enum { MAX_MESSAGES = 65536 };

/* The template in two forms: with a default system message between HEAD and TAIL, and without one.
 * Files differ in nothing else that matters here. */
static const char DEFAULT_HEAD[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n";
static const char DEFAULT_TAIL[] =
    "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
static const char PLAIN[] =
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/* Bytes of s that match `want`, where a newline of `want` may also be written as backslash-n, and
 * `want` ends; 0 when they differ. */
static size_t match_prefix(shoal_str s, const char *want)
{
    size_t at = 0;
    for (; *want != '\0'; want++) {
        if (at < s.n && s.p[at] == *want) {
            at++;
        } else if (*want == '\n' && at + 1 < s.n && s.p[at] == '\\' && s.p[at + 1] == 'n') {
            at += 2;
        } else {
            return 0;
        }
    }
    return at;
}

/* A default system message is taken as it stands, so it may hold nothing that a template or its
 * string syntax would change. */
static size_t literal_text(shoal_str s)
{
    size_t n = 0;
    while (n < s.n && strchr("'\"\\{}<\n", s.p[n]) == NULL) {
        n++;
    }
    return n;
}

static shoal_str after(shoal_str s, size_t n)
{
    return (shoal_str){s.p + n, s.n - n};
}

static bool recognise(shoal_chat_template *ct, shoal_str source)
{
    size_t n = match_prefix(source, PLAIN);
    if (n > 0 && n == source.n) {
        ct->default_system = (shoal_str){"", 0};
        return true;
    }
    n = match_prefix(source, DEFAULT_HEAD);
    if (n == 0) return false;
    shoal_str rest = after(source, n);
    ct->default_system = (shoal_str){rest.p, literal_text(rest)};
    rest = after(rest, ct->default_system.n);
    n = match_prefix(rest, DEFAULT_TAIL);
    return n > 0 && n == rest.n;
}

shoal_status shoal_chat_template_init(shoal_chat_template *ct, const shoal_gguf *g,
                                      const shoal_tokenizer *tok, shoal_error *err)
{
    shoal_str source = {"", 0};
    shoal_status st = shoal_gguf_get_str(g, "tokenizer.chat_template", &source, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    *ct = (shoal_chat_template){
        .kind = SHOAL_CHAT_CHATML,
        .tok = tok,
        .im_start = shoal_tokenizer_find(tok, "<|im_start|>"),
        .im_end = shoal_tokenizer_find(tok, "<|im_end|>"),
    };
    bool tokens = shoal_tokenizer_is_control(tok, ct->im_start) &&
                  shoal_tokenizer_is_control(tok, ct->im_end);
    if (st == SHOAL_OK && recognise(ct, source) && tokens) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: %s", shoal_gguf_name(g),
                     st == SHOAL_OK ? "its chat template is of an unknown kind"
                                    : "it has no chat template");
    shoal_hint(err, "conversations need a ChatML model; raw prompts work with any");
    return SHOAL_ERR_UNSUPPORTED;
}

/* ---- encoding ---------------------------------------------------------------------------------
 */

static const char ASSISTANT[] = "assistant";

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

static bool needs_default_system(const shoal_chat_template *ct, const shoal_message *msgs, size_t n)
{
    return ct->default_system.n > 0 && n > 0 && strcmp(msgs[0].role, "system") != 0;
}

/* Output of encode: ids and, when asked for, their mask. */
typedef struct sink {
    shoal_tokens *ids;
    shoal_buf *mask;
    shoal_buf text; /* a turn's text, reused */
} sink;

/* Marks the ids that have come since the last call. */
static shoal_status mark(sink *s, size_t from, size_t to, uint8_t value, shoal_error *err)
{
    if (s->mask == NULL) return SHOAL_OK;
    for (size_t i = from; i < to; i++) {
        shoal_buf_put_u8(s->mask, value);
    }
    return shoal_buf_status(s->mask, err);
}

/* Ids from `from` on whose text begins before byte `boundary` of what they spell together. */
static size_t ids_before(const shoal_chat_template *ct, const shoal_tokens *ids, size_t from,
                         size_t boundary)
{
    size_t at = from;
    for (size_t bytes = 0; at < ids->n && bytes < boundary; at++) {
        bytes += shoal_token_piece(ct->tok, ids->ids[at]).n;
    }
    return at;
}

/* "<|im_start|>role\n" and, in the same piece of text as the tokenizer sees it, the content. */
static shoal_status put_opening(const shoal_chat_template *ct, sink *s, const char *role,
                                shoal_str content, bool supervised, shoal_error *err)
{
    size_t begin = s->ids->n;
    SHOAL_TRY(shoal_tokens_push(s->ids, ct->im_start, err));
    s->text.len = 0;
    shoal_buf_put_str(&s->text, role);
    shoal_buf_put_str(&s->text, "\n");
    size_t header = s->text.len;
    shoal_buf_put(&s->text, content.p, content.n);
    SHOAL_TRY(shoal_buf_status(&s->text, err));
    SHOAL_TRY(shoal_tokenize(ct->tok, shoal_buf_str(&s->text), s->text.len, false, s->ids, err));
    size_t split = supervised ? ids_before(ct, s->ids, begin + 1, header) : s->ids->n;
    SHOAL_TRY(mark(s, begin, split, 0, err));
    return mark(s, split, s->ids->n, 1, err);
}

static shoal_status put_turn(const shoal_chat_template *ct, sink *s, const char *role,
                             shoal_str content, shoal_error *err)
{
    bool supervised = strcmp(role, ASSISTANT) == 0;
    SHOAL_TRY(put_opening(ct, s, role, content, supervised, err));
    SHOAL_TRY(shoal_tokens_push(s->ids, ct->im_end, err));
    SHOAL_TRY(mark(s, s->ids->n - 1, s->ids->n, supervised, err));
    size_t end = s->ids->n;
    SHOAL_TRY(shoal_tokenize(ct->tok, "\n", 1, false, s->ids, err));
    return mark(s, end, s->ids->n, 0, err);
}

static shoal_status put_all(const shoal_chat_template *ct, sink *s, const shoal_message *msgs,
                            size_t n, bool add_generation_prompt, shoal_error *err)
{
    if (needs_default_system(ct, msgs, n)) {
        SHOAL_TRY(put_turn(ct, s, "system", ct->default_system, err));
    }
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(put_turn(ct, s, msgs[i].role, msgs[i].content, err));
    }
    if (!add_generation_prompt) return SHOAL_OK;
    return put_opening(ct, s, ASSISTANT, (shoal_str){"", 0}, false, err);
}

shoal_status shoal_chat_encode(const shoal_chat_template *ct, const shoal_message *msgs, size_t n,
                               bool add_generation_prompt, shoal_tokens *ids, shoal_buf *mask,
                               shoal_error *err)
{
    SHOAL_TRY(check_messages(msgs, n, err));
    sink s = {ids, mask, shoal_buf_init(SHOAL_TOKENIZER_MAX_TEXT)};
    shoal_status st = put_all(ct, &s, msgs, n, add_generation_prompt, err);
    shoal_buf_wipe(&s.text);
    return st;
}

/* ---- text -------------------------------------------------------------------------------------
 */

static void put_text_turn(shoal_buf *out, const char *role, shoal_str content)
{
    shoal_buf_putf(out, "<|im_start|>%s\n", role);
    shoal_buf_put(out, content.p, content.n);
    shoal_buf_put_str(out, "<|im_end|>\n");
}

shoal_status shoal_chat_text(const shoal_chat_template *ct, const shoal_message *msgs, size_t n,
                             bool add_generation_prompt, shoal_buf *out, shoal_error *err)
{
    SHOAL_TRY(check_messages(msgs, n, err));
    if (needs_default_system(ct, msgs, n)) {
        put_text_turn(out, "system", ct->default_system);
    }
    for (size_t i = 0; i < n; i++) {
        put_text_turn(out, msgs[i].role, msgs[i].content);
    }
    if (add_generation_prompt) {
        shoal_buf_putf(out, "<|im_start|>%s\n", ASSISTANT);
    }
    return shoal_buf_status(out, err);
}
