/* chat_template.h - conversations to token ids, the way the model file says.
 *
 * The file's tokenizer.chat_template is recognised, never interpreted: a template this build does
 * not know is refused. What people wrote is tokenised without control tokens, so a message cannot
 * end its own turn or open another's.
 *
 * Kinds: ChatML ("<|im_start|>role\ncontent<|im_end|>\n"), with or without a default system
 * message for conversations that begin with another role.
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

typedef enum shoal_chat_kind { SHOAL_CHAT_CHATML = 1 } shoal_chat_kind;

typedef struct shoal_chat_template {
    shoal_chat_kind kind;
    shoal_str default_system; /* n 0: none; a view into the file */
    const shoal_tokenizer *tok;
    int32_t im_start, im_end;
} shoal_chat_template;

/* Recognises the template of a file. `g` and `tok` must outlive `ct`. UNSUPPORTED with a hint when
 * the file has none or an unknown one. */
SHOAL_MUST_USE shoal_status shoal_chat_template_init(shoal_chat_template *ct, const shoal_gguf *g,
                                                     const shoal_tokenizer *tok, shoal_error *err);

/* Appends the ids of a conversation; with add_generation_prompt also the opening of an assistant
 * turn. `mask`, when not NULL, gets one byte an id: 1 where the token is assistant content or the
 * end of that turn (what training is supervised on), else 0. */
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
