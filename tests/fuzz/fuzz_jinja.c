/* fuzz_jinja.c - any bytes as a chat template, rendered on a small conversation.
 *
 *     clang -fsanitize=fuzzer,address,undefined ... fuzz_jinja.c
 *
 * Without a fuzzer: standalone_main.c.
 */
#include <stdint.h>

#include "lora/model/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned g_sink;

static void define(shoal_jinja_data *d)
{
    static const char *const ROLES[] = {"system", "user", "assistant"};
    shoal_jinja_value list = shoal_jinja_list(d);
    for (uint32_t i = 0; i < 3; i++) {
        shoal_jinja_value m = shoal_jinja_dict(d);
        shoal_jinja_set(d, m, "role", shoal_jinja_string(d, shoal_str_of(ROLES[i]), 0));
        shoal_str text = shoal_str_of(" <think>a</think>\n\xc3\xa9 \"b\" ");
        shoal_jinja_set(d, m, "content", shoal_jinja_string(d, text, i + 1));
        shoal_jinja_push(d, list, m);
    }
    shoal_jinja_define(d, "messages", list);
    shoal_jinja_define(d, "tools", shoal_jinja_none());
    shoal_jinja_define(d, "add_generation_prompt", shoal_jinja_bool(true));
    shoal_jinja_define(d, "bos_token", shoal_jinja_string(d, shoal_str_of("<s>"), 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    shoal_jinja *t = NULL;
    shoal_jinja_data *d = NULL;
    shoal_jinja_output out;
    shoal_str source = {(const char *)data, size};
    if (shoal_jinja_open(&t, source, "fuzz", NULL) != SHOAL_OK) return 0;
    if (shoal_jinja_data_open(&d, 1 << 22, NULL) == SHOAL_OK) {
        define(d);
        shoal_jinja_set_time(d, 0);
        if (shoal_jinja_render(t, d, &out, NULL) == SHOAL_OK) {
            size_t n = 0;
            for (size_t i = 0; i < out.n_spans; i++) {
                n += out.spans[i].n;
            }
            if (out.n_spans > 0 && n != out.text.n) __builtin_trap();
            if (out.text.n > 0) g_sink += (unsigned char)out.text.p[out.text.n - 1];
        }
        shoal_jinja_data_close(d);
    }
    shoal_jinja_close(t);
    return 0;
}
