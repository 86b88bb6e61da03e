/* tokenizer.c - loads a vocabulary, finds control tokens in text, encodes and decodes. */
#include "lora/model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/bpe.h"
#include "lora/model/pretokenize.h"
#include "lora/model/spm.h"
#include "lora/model/vocabulary.h"

/* Values of tokenizer.ggml.token_type. */
enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6
};

enum { NONE = -1 };

/* Further kinds of tokenizer are further values, chosen in find_kind, loaded in load_kind and used
 * in encode_plain. */
typedef enum tokenizer_kind { KIND_BYTE_BPE = 1, KIND_SPM = 2 } tokenizer_kind;

/* SentencePiece writes a space as U+2581. */
#define SPM_SPACE "\xe2\x96\x81"

struct shoal_tokenizer {
    tokenizer_kind kind;
    shoal_pretok pretok;
    shoal_vocabulary vocab; /* bytes of each token; only those that text becomes are found */
    size_t n_vocab;
    uint8_t *types; /* [n_vocab] */
    shoal_bpe bpe;
    shoal_spm spm;
    bool
        space_prefix; /* SPM: a space goes before the text, and before text after a special token */
    int32_t
        *special; /* [n_special] ids that may stand in text as such: by first byte, longest first */
    size_t n_special;
    size_t special_begin[257]; /* range of `special` for each first byte */
    int32_t bos, eos, eot;
    bool add_bos;
};

/* ---- token lists ------------------------------------------------------------------------------
 */

shoal_status shoal_tokens_push(shoal_tokens *t, int32_t id, shoal_error *err)
{
    size_t max = t->max == 0 ? SHOAL_TOKENIZER_MAX_TEXT : t->max;
    if (t->n == max) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "more than %zu tokens", max);
    }
    if (t->n == t->cap) {
        size_t cap = t->cap == 0 ? 64 : 2 * t->cap;
        int32_t *ids = shoal_realloc(t->ids, cap * sizeof *ids);
        if (ids == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
        t->ids = ids;
        t->cap = cap;
    }
    t->ids[t->n++] = id;
    return SHOAL_OK;
}

void shoal_tokens_clear(shoal_tokens *t)
{
    shoal_free(t->ids);
    *t = (shoal_tokens){.max = t->max};
}

/* ---- the byte alphabet ------------------------------------------------------------------------
 */

/* GPT-2 vocabularies write each byte as a printable character: bytes that are printable in Latin-1
 * stand for themselves, the others become U+0100 and up in byte order. This is the way back. */
static int byte_of_code(uint32_t code)
{
    bool printable =
        (code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code != 0xad);
    if (printable) return (int)code;
    if (code < 0x100 || code >= 0x100 + 68) return NONE;
    uint32_t n = code - 0x100;
    if (n < 0x21) return (int)n;                      /* 00..20 */
    if (n < 0x21 + 34) return (int)(n - 0x21 + 0x7f); /* 7f..a0 */
    return 0xad;
}

/* The byte that the character at p [n >= 1] stands for, NONE when it is none of the alphabet, and
 * the character's length. The alphabet ends before U+0800: no character is longer than two bytes.
 */
static int next_byte(const char *p, size_t n, size_t *len)
{
    uint8_t a = (uint8_t)p[0];
    *len = 1;
    if (a < 0x80) return byte_of_code(a);
    if (a < 0xc2 || a >= 0xe0 || n < 2 || ((uint8_t)p[1] & 0xc0) != 0x80) return NONE;
    *len = 2;
    return byte_of_code((uint32_t)(a & 0x1f) << 6 | ((uint32_t)(uint8_t)p[1] & 0x3f));
}

/* Writes the bytes that `written` stands for; SIZE_MAX when a character is none of the alphabet. */
static size_t unmap_bytes(shoal_str written, char *out)
{
    size_t n = 0;
    size_t len = 0;
    for (size_t at = 0; at < written.n; at += len) {
        int byte = next_byte(written.p + at, written.n - at, &len);
        if (byte == NONE) return SIZE_MAX;
        out[n++] = (char)(unsigned char)byte;
    }
    return n;
}

static int32_t find_piece(const shoal_tokenizer *t, shoal_str piece)
{
    return shoal_vocabulary_find(&t->vocab, piece);
}

static shoal_str piece_of(const shoal_tokenizer *t, size_t id)
{
    return shoal_vocabulary_piece(&t->vocab, id);
}

/* ---- loading ----------------------------------------------------------------------------------
 */

static shoal_status no_memory(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
}

static shoal_status find_kind(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    shoal_str model = {"", 0};
    shoal_str pre = {"", 0};
    SHOAL_TRY(shoal_gguf_get_str(g, "tokenizer.ggml.model", &model, err));
    shoal_status st = shoal_gguf_get_str(g, "tokenizer.ggml.pre", &pre, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    if (shoal_str_eq(model, "llama")) {
        t->kind = KIND_SPM;
        return SHOAL_OK;
    }
    t->kind = KIND_BYTE_BPE;
    if (shoal_str_eq(model, "gpt2") && shoal_pretok_find(pre.p, pre.n, &t->pretok)) {
        return SHOAL_OK;
    }
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: its tokenizer is of an unknown kind",
                     shoal_gguf_name(g));
    shoal_hint(err,
               "tokenizers supported: llama (SentencePiece), and gpt2 with pre-tokenizer gpt-2, "
               "smollm, qwen2 or llama-bpe");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_status load_types(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    const shoal_gguf_kv *kv = NULL;
    shoal_status st =
        shoal_gguf_get_array(g, "tokenizer.ggml.token_type", SHOAL_GGUF_I32, &kv, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    t->types = shoal_alloc(t->n_vocab);
    if (t->types == NULL) return no_memory(err);
    memset(t->types, TYPE_NORMAL, t->n_vocab);
    if (st == SHOAL_ERR_NOT_FOUND) return SHOAL_OK;
    if (kv->n != t->n_vocab) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %zu tokens but %zu token types",
                          shoal_gguf_name(g), t->n_vocab, kv->n);
    }
    for (size_t i = 0; i < kv->n; i++) {
        int32_t type = shoal_gguf_array_i32(kv, i);
        if (type < TYPE_NORMAL || type > TYPE_BYTE) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: token %zu has type %d",
                              shoal_gguf_name(g), i, (int)type);
        }
        t->types[i] = (uint8_t)type;
    }
    return SHOAL_OK;
}

static bool is_special(const shoal_tokenizer *t, size_t id)
{
    uint8_t type = t->types[id];
    return type == TYPE_CONTROL || type == TYPE_UNKNOWN || type == TYPE_USER_DEFINED;
}

/* The bytes of a SentencePiece token: spaces for U+2581. */
static size_t unmap_spaces(shoal_str written, char *out)
{
    const size_t len = strlen(SPM_SPACE);
    size_t n = 0;
    for (size_t at = 0; at < written.n;) {
        char c = written.p[at];
        if (c == SPM_SPACE[0] && written.n - at >= len &&
            memcmp(written.p + at, SPM_SPACE, len) == 0) {
            c = ' ';
            at += len - 1;
        }
        out[n++] = c;
        at++;
    }
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : NONE;
}

/* The byte of a token "<0x1F>"; NONE when it is not written like that. */
static int byte_of_token(shoal_str written)
{
    bool framed = written.n == 6 && memcmp(written.p, "<0x", 3) == 0 && written.p[5] == '>';
    int high = framed ? hex_digit(written.p[3]) : NONE;
    int low = framed ? hex_digit(written.p[4]) : NONE;
    return high == NONE || low == NONE ? NONE : high * 16 + low;
}

/* Writes the bytes that token i, `written` so in the file, stands for: never more of them. */
static size_t unmap_piece(const shoal_tokenizer *t, size_t i, shoal_str written, char *out)
{
    size_t n = SIZE_MAX;
    if (!is_special(t, i) && t->kind == KIND_BYTE_BPE) {
        n = unmap_bytes(written, out);
    } else if (!is_special(t, i)) {
        int byte = t->types[i] == TYPE_BYTE ? byte_of_token(written) : NONE;
        if (byte == NONE) return unmap_spaces(written, out);
        out[0] = (char)(unsigned char)byte;
        return 1;
    }
    if (n != SIZE_MAX) return n;
    if (written.n > 0) memcpy(out, written.p, written.n); /* it stands for its text */
    return written.n;
}

/* Whether text can become this token by merging. */
static bool is_findable(const void *ctx, size_t i)
{
    const shoal_tokenizer *t = ctx;
    return !is_special(t, i) && !(t->kind == KIND_SPM && t->types[i] == TYPE_BYTE);
}

/* All pieces together are shorter than the array that holds them in the file. */
static shoal_status load_pieces(shoal_tokenizer *t, const shoal_gguf *g, const shoal_gguf_kv *kv,
                                shoal_error *err)
{
    SHOAL_TRY(shoal_vocabulary_init(&t->vocab, kv->n, kv->bytes, err));
    shoal_gguf_strings it = shoal_gguf_strings_of(kv);
    shoal_str written;
    for (size_t i = 0; shoal_gguf_strings_next(&it, &written); i++) {
        if (written.n > SHOAL_TOKENIZER_MAX_TOKEN) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s: token %zu is %zu bytes long",
                              shoal_gguf_name(g), i, written.n);
        }
        size_t n = unmap_piece(t, i, written, shoal_vocabulary_next(&t->vocab));
        shoal_vocabulary_add(&t->vocab, n);
    }
    return shoal_vocabulary_index(&t->vocab, is_findable, t, err);
}

static shoal_status load_vocabulary(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    const shoal_gguf_kv *kv = NULL;
    SHOAL_TRY(shoal_gguf_get_array(g, "tokenizer.ggml.tokens", SHOAL_GGUF_STRING, &kv, err));
    if (kv->n == 0 || kv->n > SHOAL_TOKENIZER_MAX_VOCAB) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s: a vocabulary of %zu tokens",
                          shoal_gguf_name(g), kv->n);
    }
    t->n_vocab = kv->n;
    SHOAL_TRY(load_types(t, g, err));
    return load_pieces(t, g, kv, err);
}

/* "left right", written in the byte alphabet, as ids. */
static shoal_status add_merge(shoal_tokenizer *t, shoal_str written, size_t rank, shoal_error *err)
{
    char bytes[SHOAL_TOKENIZER_MAX_TOKEN];
    const char *space = written.n < 3 ? NULL : memchr(written.p + 1, ' ', written.n - 2);
    int32_t left = NONE;
    int32_t right = NONE;
    int32_t merged = NONE;
    if (space != NULL && written.n <= sizeof bytes) {
        size_t n_left = (size_t)(space - written.p);
        size_t l = unmap_bytes((shoal_str){written.p, n_left}, bytes);
        size_t r = l == SIZE_MAX
                       ? l
                       : unmap_bytes((shoal_str){space + 1, written.n - n_left - 1}, bytes + l);
        if (r != SIZE_MAX) {
            left = find_piece(t, (shoal_str){bytes, l});
            right = find_piece(t, (shoal_str){bytes + l, r});
            merged = find_piece(t, (shoal_str){bytes, l + r});
        }
    }
    if (left == NONE || right == NONE || merged == NONE) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "merge %zu is not of tokens of the vocabulary",
                          rank);
    }
    return shoal_bpe_add(&t->bpe, (shoal_bpe_merge){left, right, merged}, err);
}

static shoal_status load_merges(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    const shoal_gguf_kv *kv = NULL;
    SHOAL_TRY(shoal_gguf_get_array(g, "tokenizer.ggml.merges", SHOAL_GGUF_STRING, &kv, err));
    if (kv->n > SHOAL_TOKENIZER_MAX_MERGES) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s: %zu merges", shoal_gguf_name(g), kv->n);
    }
    SHOAL_TRY(shoal_bpe_init(&t->bpe, kv->n, err));
    for (int byte = 0; byte < 256; byte++) {
        char one = (char)(unsigned char)byte;
        t->bpe.byte_id[byte] = find_piece(t, (shoal_str){&one, 1});
    }
    shoal_gguf_strings it = shoal_gguf_strings_of(kv);
    shoal_str written;
    for (size_t i = 0; shoal_gguf_strings_next(&it, &written); i++) {
        SHOAL_TRY(add_merge(t, written, i, err));
    }
    return SHOAL_OK;
}

static shoal_status load_id(const shoal_tokenizer *t, const shoal_gguf *g, const char *key,
                            int32_t *out, shoal_error *err)
{
    uint64_t v = 0;
    shoal_status st = shoal_gguf_get_uint(g, key, t->n_vocab - 1, &v, err);
    *out = st == SHOAL_OK ? (int32_t)v : NONE;
    return st == SHOAL_ERR_NOT_FOUND ? SHOAL_OK : st;
}

static shoal_status load_flag(const shoal_gguf *g, const char *key, bool fallback, bool *out,
                              shoal_error *err)
{
    shoal_status st = shoal_gguf_get_bool(g, key, out, err);
    if (st != SHOAL_ERR_NOT_FOUND) return st;
    *out = fallback;
    return SHOAL_OK;
}

static int32_t spm_lookup(const void *ctx, shoal_str bytes)
{
    return find_piece(ctx, bytes);
}

static shoal_status load_scores(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    const shoal_gguf_kv *kv = NULL;
    SHOAL_TRY(shoal_gguf_get_array(g, "tokenizer.ggml.scores", SHOAL_GGUF_F32, &kv, err));
    if (kv->n != t->n_vocab) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %zu tokens but %zu scores",
                          shoal_gguf_name(g), t->n_vocab, kv->n);
    }
    SHOAL_TRY(shoal_spm_init(&t->spm, kv, err));
    t->spm.lookup = spm_lookup;
    t->spm.ctx = t;
    for (size_t i = 0; i < t->n_vocab; i++) {
        if (t->types[i] != TYPE_BYTE) continue;
        shoal_str piece = piece_of(t, i);
        if (piece.n == 1) {
            t->spm.byte_id[(uint8_t)piece.p[0]] = (int32_t)i;
        }
    }
    SHOAL_TRY(load_id(t, g, "tokenizer.ggml.unknown_token_id", &t->spm.unknown, err));
    return load_flag(g, "tokenizer.ggml.add_space_prefix", true, &t->space_prefix, err);
}

/* What text is merged with, and whether texts begin with BOS when the file does not say. */
static shoal_status load_kind(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    bool usual = t->kind == KIND_SPM || t->pretok == SHOAL_PRETOK_LLAMA3;
    SHOAL_TRY(load_flag(g, "tokenizer.ggml.add_bos_token", usual, &t->add_bos, err));
    return t->kind == KIND_SPM ? load_scores(t, g, err) : load_merges(t, g, err);
}

/* Sorts by first byte, then longest first, then id. (qsort has no context argument, so keys hold
 * all that the order needs.) */
static uint64_t special_key(shoal_str piece, size_t id)
{
    uint64_t shortness = SHOAL_TOKENIZER_MAX_TOKEN - piece.n;
    return (uint64_t)(uint8_t)piece.p[0] << 56 | shortness << 32 | id;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static shoal_status index_special(shoal_tokenizer *t, shoal_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_vocab; i++) {
        n += is_special(t, i) && piece_of(t, i).n > 0;
    }
    uint64_t *keys = shoal_calloc(n, sizeof *keys);
    t->special = shoal_calloc(n, sizeof *t->special);
    if (keys == NULL || t->special == NULL) {
        shoal_free(keys);
        return no_memory(err);
    }
    for (size_t i = 0, k = 0; i < t->n_vocab; i++) {
        if (!is_special(t, i) || piece_of(t, i).n == 0) continue;
        keys[k++] = special_key(piece_of(t, i), i);
    }
    qsort(keys, n, sizeof *keys, by_key);
    t->n_special = n;
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        for (; first <= keys[i] >> 56; first++) {
            t->special_begin[first] = i;
        }
        t->special[i] = (int32_t)(keys[i] & UINT32_MAX);
    }
    for (; first <= 256; first++) {
        t->special_begin[first] = n;
    }
    shoal_free(keys);
    return SHOAL_OK;
}

static shoal_status load(shoal_tokenizer *t, const shoal_gguf *g, shoal_error *err)
{
    SHOAL_TRY(find_kind(t, g, err));
    SHOAL_TRY(load_vocabulary(t, g, err));
    SHOAL_TRY(load_kind(t, g, err));
    SHOAL_TRY(index_special(t, err));
    SHOAL_TRY(load_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, err));
    SHOAL_TRY(load_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, err));
    return load_id(t, g, "tokenizer.ggml.eot_token_id", &t->eot, err);
}

shoal_status shoal_tokenizer_open(shoal_tokenizer **out, const shoal_gguf *g, shoal_error *err)
{
    *out = NULL;
    shoal_tokenizer *t = shoal_calloc(1, sizeof *t);
    if (t == NULL) return no_memory(err);
    shoal_status st = load(t, g, err);
    if (st != SHOAL_OK) {
        shoal_tokenizer_close(t);
        return st;
    }
    *out = t;
    return SHOAL_OK;
}

void shoal_tokenizer_close(shoal_tokenizer *t)
{
    if (t == NULL) return;
    shoal_bpe_clear(&t->bpe);
    shoal_vocabulary_clear(&t->vocab);
    shoal_free(t->types);
    shoal_free(t->special);
    shoal_free(t);
}

/* ---- queries ----------------------------------------------------------------------------------
 */

static bool in_vocab(const shoal_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_vocab;
}

size_t shoal_tokenizer_vocab(const shoal_tokenizer *t)
{
    return t->n_vocab;
}

int32_t shoal_tokenizer_bos(const shoal_tokenizer *t)
{
    return t->bos;
}

int32_t shoal_tokenizer_eos(const shoal_tokenizer *t)
{
    return t->eos;
}

bool shoal_tokenizer_adds_bos(const shoal_tokenizer *t)
{
    return t->add_bos && t->bos != NONE;
}

bool shoal_tokenizer_is_stop(const shoal_tokenizer *t, int32_t id)
{
    if (!in_vocab(t, id)) return false;
    if (id == t->eos || id == t->eot) return true;
    if (t->types[id] != TYPE_CONTROL) return false;
    /* Files name one token as eos and often mean others as well. */
    static const char *const ENDS[] = {"<|endoftext|>", "<|im_end|>", "<end_of_turn>",
                                       "<|eot_id|>",    "<|eom_id|>", "<|end_of_text|>"};
    for (size_t i = 0; i < sizeof ENDS / sizeof ENDS[0]; i++) {
        if (shoal_str_eq(piece_of(t, (size_t)id), ENDS[i])) return true;
    }
    return false;
}

bool shoal_tokenizer_is_control(const shoal_tokenizer *t, int32_t id)
{
    return in_vocab(t, id) && (t->types[id] == TYPE_CONTROL || t->types[id] == TYPE_UNKNOWN);
}

/* The longest special token at the beginning of p [n]; NONE when there is none. */
static int32_t special_at(const shoal_tokenizer *t, const char *p, size_t n, bool with_control)
{
    uint8_t first = (uint8_t)p[0];
    for (size_t i = t->special_begin[first]; i < t->special_begin[first + 1]; i++) {
        int32_t id = t->special[i];
        shoal_str s = piece_of(t, (size_t)id);
        bool wanted = with_control || t->types[id] == TYPE_USER_DEFINED;
        if (wanted && s.n <= n && memcmp(s.p, p, s.n) == 0) return id;
    }
    return NONE;
}

int32_t shoal_tokenizer_special(const shoal_tokenizer *t, const char *text, size_t n,
                                bool with_control)
{
    return n == 0 ? NONE : special_at(t, text, n, with_control);
}

int32_t shoal_tokenizer_find(const shoal_tokenizer *t, const char *text)
{
    shoal_str s = shoal_str_of(text);
    if (s.n == 0) return NONE;
    int32_t id = special_at(t, s.p, s.n, true);
    return id != NONE && piece_of(t, (size_t)id).n == s.n ? id : find_piece(t, s);
}

/* ---- encoding ---------------------------------------------------------------------------------
 */

typedef struct encoder {
    const shoal_tokenizer *t;
    shoal_tokens *out;
    shoal_merge_work work;
    char *spaced; /* SPM: the text with its spaces as the vocabulary has them */
} encoder;

static shoal_status emit(void *ctx, int32_t id, shoal_error *err)
{
    encoder *e = ctx;
    return shoal_tokens_push(e->out, id, err);
}

static shoal_status encode_bpe(encoder *e, const char *p, size_t n, shoal_error *err)
{
    while (n > 0) {
        size_t piece = shoal_pretok_next(e->t->pretok, p, n);
        /* Llama 3's merges do not reach all of its own words; these are taken whole. */
        int32_t whole =
            e->t->pretok == SHOAL_PRETOK_LLAMA3 ? find_piece(e->t, (shoal_str){p, piece}) : NONE;
        if (whole != NONE) {
            SHOAL_TRY(emit(e, whole, err));
        } else {
            SHOAL_TRY(shoal_bpe_encode(&e->t->bpe, &e->work, p, piece, emit, e, err));
        }
        p += piece;
        n -= piece;
    }
    return SHOAL_OK;
}

/* In SentencePiece's eyes U+2581 and a space are the same. */
static shoal_status encode_spm(encoder *e, const char *p, size_t n, shoal_error *err)
{
    char *text = shoal_realloc(e->spaced, n + 1);
    if (text == NULL) return no_memory(err);
    e->spaced = text;
    text[0] = ' ';
    size_t used =
        e->t->space_prefix ? 1 : 0; /* every text here begins or follows a special token */
    used += unmap_spaces((shoal_str){p, n}, text + used);
    return shoal_spm_encode(&e->t->spm, &e->work, text, used, emit, e, err);
}

/* Text without special tokens. */
static shoal_status encode_plain(encoder *e, const char *p, size_t n, shoal_error *err)
{
    if (n == 0) return SHOAL_OK;
    return e->t->kind == KIND_SPM ? encode_spm(e, p, n, err) : encode_bpe(e, p, n, err);
}

static shoal_status encode(encoder *e, const char *p, size_t n, bool with_control, shoal_error *err)
{
    size_t plain = 0; /* where the text since the last special token begins */
    for (size_t at = 0; at < n;) {
        int32_t id = special_at(e->t, p + at, n - at, with_control);
        if (id == NONE) {
            at++;
            continue;
        }
        SHOAL_TRY(encode_plain(e, p + plain, at - plain, err));
        SHOAL_TRY(shoal_tokens_push(e->out, id, err));
        at += piece_of(e->t, (size_t)id).n;
        plain = at;
    }
    return encode_plain(e, p + plain, n - plain, err);
}

shoal_status shoal_tokenize(const shoal_tokenizer *t, const char *text, size_t n,
                            bool parse_special, shoal_tokens *out, shoal_error *err)
{
    if (n > SHOAL_TOKENIZER_MAX_TEXT) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a text of %zu bytes; at most %d are read", n,
                          (int)SHOAL_TOKENIZER_MAX_TEXT);
    }
    if (n == 0) return SHOAL_OK;
    encoder e = {.t = t, .out = out};
    shoal_status st = encode(&e, text, n, parse_special, err);
    shoal_merge_clear(&e.work);
    shoal_free(e.spaced);
    return st;
}

/* ---- decoding ---------------------------------------------------------------------------------
 */

shoal_str shoal_token_piece(const shoal_tokenizer *t, int32_t id)
{
    return in_vocab(t, id) ? piece_of(t, (size_t)id) : (shoal_str){"", 0};
}

shoal_status shoal_detokenize(const shoal_tokenizer *t, const int32_t *ids, size_t n,
                              bool show_control, shoal_buf *out, shoal_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!show_control && shoal_tokenizer_is_control(t, ids[i])) continue;
        shoal_str piece = shoal_token_piece(t, ids[i]);
        shoal_buf_put(out, piece.p, piece.n);
    }
    return shoal_buf_status(out, err);
}
