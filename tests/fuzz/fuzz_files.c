/* fuzz_files.c - what a device reads from files that others may have written: adapters (GGUF LoRA
 * and safetensors), lines of training data, checkpoints. The first byte chooses the reader. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/data.h"
#include "client/safetensors.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "lora/train/checkpoint.h"
#include "tests/fuzz/script.h"
#include "tests/support/train_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    shoal_model *m;
    shoal_adapter *a;
    fixture_exec ex;
    shoal_trainer *tr;
    char path[64];
} g;

static volatile double g_sink; /* keeps the reads below */

static void remove_file(void)
{
    (void)unlink(g.path);
}

static void open_fixture(void)
{
    g.m = fixture_model(1, NULL);
    g.a = fixture_adapter(g.m, 4, SHOAL_TARGETS_ALL, 0, 2);
    fixture_exec_open(&g.ex, 1, false);
    g.tr = fixture_trainer(g.m, g.a, &g.ex.ex, 64, SHOAL_RECOMPUTE_OFF);
    (void)snprintf(g.path, sizeof g.path, "/tmp/fuzz_files.%ld", (long)getpid());
    (void)atexit(remove_file);
}

static void read_safetensors(const uint8_t *data, size_t n)
{
    shoal_safetensors s;
    if (shoal_safetensors_decode(&s, data, n, "fuzz", NULL) != SHOAL_OK) return;
    for (size_t i = 0; i < s.n; i++) {
        const shoal_st_tensor *t = &s.tensors[i];
        float *values = shoal_calloc(t->n + 1, sizeof *values);
        must(shoal_safetensors_find(&s, t->name) != NULL && t->end <= s.file.len);
        if (values != NULL) {
            shoal_st_to_f32(t, values);
            g_sink = g_sink + (double)values[t->n / 2];
        }
        shoal_free(values);
    }
    shoal_safetensors_clear(&s);
}

static void read_adapter(const uint8_t *data, size_t n)
{
    shoal_adapter *a = NULL;
    shoal_buf text = shoal_buf_init(1 << 20);
    if (shoal_adapter_decode(&a, g.m, data, n, NULL) != SHOAL_OK) {
        must(a == NULL);
        return;
    }
    must(shoal_adapter_manifest(a, &text, NULL) == SHOAL_OK);
    for (size_t i = 0; i < a->n_params; i++) {
        g_sink = g_sink + (double)a->params[i];
    }
    shoal_buf_clear(&text);
    shoal_adapter_close(a);
}

static void read_lines(const uint8_t *data, size_t n)
{
    static const shoal_data_options options[2] = {{.max_tokens = 48},
                                                  {.max_tokens = 7, .train_on_all = true}};
    for (size_t k = 0; k < 2; k++) {
        shoal_dataset d = {0};
        (void)(shoal_dataset_add(&d, (const char *)data, n, g.m, &options[k], "fuzz", 1, NULL) ==
               SHOAL_OK);
        for (size_t i = 0; i < d.n; i++) {
            must(d.samples[i].n <= options[k].max_tokens && d.samples[i].n >= 2);
            must(d.examples[i].n_prompt <= d.samples[i].n);
        }
        shoal_dataset_clear(&d);
    }
}

/* Its sum stands in the way of chance, so once more with a right one. A refused file leaves the
 * trainer as it was. */
static void read_checkpoint(const uint8_t *data, size_t n, bool mend)
{
    uint8_t *copy = shoal_alloc(n + 1);
    shoal_train_cursor cursor;
    shoal_buf notes = shoal_buf_init(SHOAL_CHECKPOINT_NOTES_MAX);
    if (copy == NULL || n < 8) {
        shoal_free(copy);
        return;
    }
    memcpy(copy, data, n);
    if (mend) {
        uint64_t sum = shoal_fnv64(SHOAL_FNV64_INIT, data, n - 8);
        memcpy(copy + n - 8, &sum, 8);
    }
    uint64_t before = shoal_fnv64(0, g.a->params, g.a->n_params * sizeof(float));
    FILE *f = fopen(g.path, "wb");
    must(f != NULL && fwrite(copy, 1, n, f) == n && fclose(f) == 0);
    if (shoal_checkpoint_load(g.tr, 77, g.path, &cursor, &notes, NULL) != SHOAL_OK) {
        must(shoal_fnv64(0, g.a->params, g.a->n_params * sizeof(float)) == before);
    }
    shoal_buf_clear(&notes);
    shoal_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (g.m == NULL) open_fixture();
    if (size == 0) return 0;
    switch (data[0] % 5) {
    case 0: read_safetensors(data + 1, size - 1); break;
    case 1: read_adapter(data + 1, size - 1); break;
    case 2: read_lines(data + 1, size - 1); break;
    case 3: read_checkpoint(data + 1, size - 1, false); break;
    default: read_checkpoint(data + 1, size - 1, true); break;
    }
    return 0;
}
