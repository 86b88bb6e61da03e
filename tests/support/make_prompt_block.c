/* make_prompt_block.c - writes a block of the prompt cache, the seed of fuzz_prompt_block.
 *
 * usage: make_prompt_block MODEL FILE
 */
#include <stdio.h>

#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "lora/infer/prompt_block.h"

static shoal_status write_block(const shoal_model *m, const shoal_exec *ex, const char *path,
                                shoal_error *err)
{
    shoal_session *s = NULL;
    shoal_buf out = shoal_buf_init(1 << 20);
    const shoal_prompt_key key = {.model = {1}};
    const int32_t ids[] = {1, 2, 3, 4, 5};
    shoal_status st = shoal_session_open(&s, m, ex, NULL, err);
    if (st == SHOAL_OK) st = shoal_session_eval(s, ids, 5, SHOAL_LOGITS_NONE, err);
    if (st == SHOAL_OK) {
        const shoal_prompt_id id = shoal_prompt_id_of(s, &key);
        st = shoal_prompt_block_encode(s, &id, 2, 3, &out, err);
    }
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, out.data, out.len, 0600, err);
    shoal_buf_clear(&out);
    shoal_session_close(s);
    return st;
}

int main(int argc, char **argv)
{
    shoal_error err = {0};
    shoal_model *m = NULL;
    shoal_exec ex = {0};
    if (argc != 3) return 2;
    shoal_status st = shoal_model_open(&m, argv[1], &err);
    if (st == SHOAL_OK) st = shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, &err);
    if (st == SHOAL_OK) st = write_block(m, &ex, argv[2], &err);
    if (st != SHOAL_OK) (void)fprintf(stderr, "%s\n", err.msg);
    shoal_exec_close(&ex);
    shoal_model_close(m);
    return st == SHOAL_OK ? 0 : 1;
}
