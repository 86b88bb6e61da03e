/* fuzz_gguf.c - any bytes as a GGUF file: reader, vocabulary, template, and text through both. */
#include <stdint.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/chat_template.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned g_sink; /* keeps the reads below */

static void read_everything(const shoal_gguf *g)
{
    for (size_t i = 0; i < shoal_gguf_tensor_count(g); i++) {
        const shoal_gguf_tensor *t = shoal_gguf_tensor_at(g, i);
        const uint8_t *bytes = t->data;
        g_sink += (unsigned)bytes[0] + bytes[t->bytes - 1];
    }
    for (size_t i = 0; i < shoal_gguf_kv_count(g); i++) {
        const shoal_gguf_kv *kv = shoal_gguf_kv_at(g, i);
        if (kv->bytes > 0) g_sink += kv->data[kv->bytes - 1];
    }
}

/* Whatever vocabulary the file brings, the file's own bytes as text survive it. */
static void use_vocabulary(const shoal_gguf *g, const char *text, size_t n)
{
    shoal_tokenizer *tok = NULL;
    if (shoal_tokenizer_open(&tok, g, NULL) != SHOAL_OK) return;
    shoal_tokens ids = {0};
    shoal_buf back = shoal_buf_init(1 << 22);
    if (shoal_tokenize(tok, text, n, true, &ids, NULL) == SHOAL_OK) {
        g_sink += (unsigned)shoal_detokenize(tok, ids.ids, ids.n, true, &back, NULL);
    }
    shoal_chat_template chat;
    if (shoal_chat_template_init(&chat, g, tok, NULL) == SHOAL_OK) {
        const shoal_message msg = {"assistant", {text, n}};
        shoal_buf mask = shoal_buf_init(1 << 22);
        g_sink += (unsigned)shoal_chat_encode(&chat, &msg, 1, true, &ids, &mask, NULL);
        shoal_buf_clear(&mask);
    }
    shoal_buf_clear(&back);
    shoal_tokens_clear(&ids);
    shoal_tokenizer_close(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = shoal_alloc(size); /* aligned, and exactly as long as the input */
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    shoal_gguf *g = NULL;
    if (shoal_gguf_open_memory(&g, copy, size, "fuzz", NULL) == SHOAL_OK) {
        read_everything(g);
        use_vocabulary(g, (const char *)copy, size < 2048 ? size : 2048);
        shoal_gguf_close(g);
    }
    shoal_free(copy);
    return 0;
}
