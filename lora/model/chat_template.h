/* chat_template.h - conversations to token ids, the way the model file says.
 *
 * The file's tokenizer.chat_template is rendered (jinja.h). The names of control tokens become
 * those tokens where the template's own text has them, never where a message has them: so a message
 * cannot end its own turn or open another's. Otherwise the ids are those of the rendered text as a
 * whole; where messages begin and end in it does not matter to the tokenizer.
 *
 * Layer: lora/model. Threads: immutable after init; read by many.
 */
#ifndef SHOAL_LORA_MODEL_CHAT_TEMPLATE_H
#define SHOAL_LORA_MODEL_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_message {
    const char *role; /* "system", "user" or "assistant" */
    shoal_str content;
} shoal_message;

/* Owns nothing: the source is a view into the file and is parsed anew for every conversation, which
 * takes microseconds. */
typedef struct shoal_chat_template {
    shoal_str source;
    const shoal_tokenizer *tok;
    bool has_time;    /* false: templates that tell the date tell the one they have for that case */
    int64_t time;     /* seconds since 1970, to be set by who has a clock */
    int32_t unk, pad; /* -1 when the file names none */
} shoal_chat_template;

/* Takes the template of a file and tries it on a small conversation. `g` and `tok` must outlive
 * `ct`. UNSUPPORTED with a hint when the file has none or one that needs what jinja.h has not. */
SHOAL_MUST_USE shoal_status shoal_chat_template_init(shoal_chat_template *ct, const shoal_gguf *g,
                                                     const shoal_tokenizer *tok, shoal_error *err);

/* Appends the ids of a conversation; with add_generation_prompt also the opening of an assistant
 * turn. `mask`, when not NULL, gets one byte an id: 1 where the token is assistant content or the
 * end of that turn (what training is supervised on), else 0. What a template puts between two parts
 * of one answer counts as answer too. FORMAT when the template refuses the conversation. */
SHOAL_MUST_USE shoal_status shoal_chat_encode(const shoal_chat_template *ct,
                                              const shoal_message *msgs, size_t n,
                                              bool add_generation_prompt, shoal_tokens *ids,
                                              shoal_buf *mask, shoal_error *err);

/* The same as text, control tokens shown. For people; encode never goes through it. */
SHOAL_MUST_USE shoal_status shoal_chat_text(const shoal_chat_template *ct,
                                            const shoal_message *msgs, size_t n,
                                            bool add_generation_prompt, shoal_buf *out,
                                            shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
