/* tokenizer.h - text to token ids and back, from a GGUF file's own vocabulary.
 *
 * Kinds: byte-level BPE (tokenizer.ggml.model "gpt2") with the pre-tokenizers of pretokenize.h, and
 * SentencePiece with scores and byte fallback (model "llama"). Texts are bytes with a length and
 * may hold NUL; bytes that are not UTF-8 are tokenised as bytes.
 *
 * Source: Sennrich et al. 2016 (BPE); Radford et al. 2019 (byte level, the split pattern); Kudo and
 * Richardson 2018 (SentencePiece).
 * Layer: lora/model. Threads: immutable after open; read by many.
 */
#ifndef SHOAL_LORA_MODEL_TOKENIZER_H
#define SHOAL_LORA_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/gguf.h"
#include "lora/model/utf8_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_TOKENIZER_MAX_VOCAB = 1 << 20,
    SHOAL_TOKENIZER_MAX_MERGES = 1 << 20,
    SHOAL_TOKENIZER_MAX_TOKEN = 4096,  /* bytes of one token */
    SHOAL_TOKENIZER_MAX_TEXT = 1 << 26 /* bytes of one text */
};

typedef struct shoal_tokenizer shoal_tokenizer;

/* A growable list of ids with a maximum. Zero-initialise for the default maximum. */
typedef struct shoal_tokens {
    int32_t *ids; /* [n], owned */
    size_t n;
    size_t cap;
    size_t max; /* 0 means SHOAL_TOKENIZER_MAX_TEXT */
} shoal_tokens;

SHOAL_MUST_USE shoal_status shoal_tokens_push(shoal_tokens *t, int32_t id, shoal_error *err);
void shoal_tokens_clear(shoal_tokens *t);

/* The file is borrowed and must outlive the tokenizer. */
SHOAL_MUST_USE shoal_status shoal_tokenizer_open(shoal_tokenizer **out, const shoal_gguf *g,
                                                 shoal_error *err);
void shoal_tokenizer_close(shoal_tokenizer *t);

size_t shoal_tokenizer_vocab(const shoal_tokenizer *t);
int32_t shoal_tokenizer_bos(const shoal_tokenizer *t); /* -1 when the file names none */
int32_t shoal_tokenizer_eos(const shoal_tokenizer *t); /* -1 when the file names none */
bool shoal_tokenizer_adds_bos(const shoal_tokenizer *t);

/* Ends a generation: end of text or end of turn. */
bool shoal_tokenizer_is_stop(const shoal_tokenizer *t, int32_t id);
/* A control token: never shown to a person, never produced from plain text. */
bool shoal_tokenizer_is_control(const shoal_tokenizer *t, int32_t id);

/* Id of the token with exactly this text, a control token included; -1 when there is none. */
int32_t shoal_tokenizer_find(const shoal_tokenizer *t, const char *text);

/* The longest special token that text [n] begins with: user-defined ones, and control tokens when
 * with_control. -1 when there is none. n may be 0. */
int32_t shoal_tokenizer_special(const shoal_tokenizer *t, const char *text, size_t n,
                                bool with_control);

/* Appends the ids of text [n]. With parse_special the strings of control tokens become those
 * tokens; without, they are ordinary characters (use that for anything a user wrote). No BOS is
 * added. On failure `out` holds what was appended so far. */
SHOAL_MUST_USE shoal_status shoal_tokenize(const shoal_tokenizer *t, const char *text, size_t n,
                                           bool parse_special, shoal_tokens *out, shoal_error *err);

/* The bytes of one token, a view; empty for ids outside the vocabulary. A piece may end in the
 * middle of a UTF-8 character. */
shoal_str shoal_token_piece(const shoal_tokenizer *t, int32_t id);

/* Appends the bytes of n tokens; control tokens only when show_control. */
SHOAL_MUST_USE shoal_status shoal_detokenize(const shoal_tokenizer *t, const int32_t *ids, size_t n,
                                             bool show_control, shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
