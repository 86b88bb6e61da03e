/* make_files_seeds.c - writes right inputs for each reader of fuzz_files: seed_00 .. in a
 * directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/safetensors.h"
#include "kernels/base/file.h"
#include "lora/train/checkpoint.h"
#include "tests/support/train_fixture.h"

static unsigned g_next;
static const char *g_dir;

static void write_seed(uint8_t reader, const void *data, size_t n)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/seed_%02u", g_dir, g_next++);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&reader, 1, 1, f) + fwrite(data, 1, n, f), n + 1);
    assert_int_equal(fclose(f), 0);
}

static void write_lines(void)
{
    static const char *const lines[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
        "{\"role\":\"assistant\",\"content\":\"ho \\u00e9\\n\"}]}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"a\"},"
        "{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},"
        "{\"role\":\"assistant\",\"content\":\"d\"}]}",
        "{\"text\":\"one two three \\ud83d\\ude00 four\"}", "{\"text\":\"\"}"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        write_seed(2, lines[i], strlen(lines[i]));
    }
}

static void write_checkpoint(shoal_trainer *tr)
{
    char path[512];
    shoal_buf notes = shoal_buf_init(64), file;
    shoal_train_cursor cursor;
    memset(&cursor, 0, sizeof cursor);
    assert_true(shoal_buf_put_str(&notes, "notes"));
    (void)snprintf(path, sizeof path, "%s/checkpoint", g_dir);
    assert_int_equal(shoal_checkpoint_save(tr, 77, &cursor, &notes, path, 0600, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_read(path, 1 << 24, &file, NULL), SHOAL_OK);
    write_seed(3, file.data, file.len);
    write_seed(4, file.data, file.len);
    shoal_buf_clear(&file);
    shoal_buf_clear(&notes);
}

static void write_seeds(void **state)
{
    (void)state;
    fixture_exec ex;
    shoal_model *m = fixture_model(1, NULL);
    shoal_adapter *a = fixture_adapter(m, 4, SHOAL_TARGETS_ALL, 0, 2);
    shoal_adapter *small = fixture_adapter(m, 1, 1u << SHOAL_PROJ_Q, 1, 3);
    shoal_buf b = shoal_buf_init(1 << 24);
    const shoal_st_entry entries[2] = {{"a", 1, 8, a->params}, {"b.weight", 3, 2, a->params}};
    assert_int_equal(shoal_safetensors_encode(entries, 2, &b, NULL), SHOAL_OK);
    write_seed(0, b.data, b.len);
    shoal_buf_clear(&b);
    assert_int_equal(shoal_adapter_encode(small, &b, NULL), SHOAL_OK);
    write_seed(1, b.data, b.len);
    shoal_buf_clear(&b);
    write_lines();
    fixture_exec_open(&ex, 1, false);
    shoal_trainer *tr = fixture_trainer(m, a, &ex.ex, 64, SHOAL_RECOMPUTE_OFF);
    write_checkpoint(tr);
    shoal_trainer_close(tr);
    fixture_exec_close(&ex);
    shoal_adapter_close(small);
    shoal_adapter_close(a);
    shoal_model_close(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(write_seeds)};
    if (argc != 2) return 2;
    g_dir = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
