/* test_model.c - binding: shapes, refusals by name, what tells models apart. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/model.h"
#include "lora/model/tokenizer.h"
#include "tests/support/tiny_model.h"

enum { MAX_FILE = 1 << 26 };

static shoal_model *open_tiny(uint64_t seed, const shoal_tiny_opts *opts)
{
    char path[128];
    shoal_model *m = NULL;
    shoal_error err = {0};
    if (shoal_tiny_model_temp(path, seed, opts, &err) != SHOAL_OK ||
        shoal_model_open(&m, path, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    (void)remove(path); /* the mapping stays */
    return m;
}

static void shapes_come_from_the_file(void **state)
{
    (void)state;
    shoal_tiny_opts opts = {.n_layer = 3, .n_head = 8, .n_head_kv = 2, .head_dim = 16, .n_ff = 96};
    shoal_model *m = open_tiny(1, &opts);
    assert_string_equal(m->cfg.arch, "llama");
    assert_string_equal(m->cfg.name, "tiny");
    assert_int_equal(m->cfg.n_layer, 3);
    assert_int_equal(m->cfg.head_dim, 16);
    assert_int_equal(m->cfg.n_vocab, shoal_tokenizer_vocab(m->tok));
    for (shoal_proj p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&m->cfg, p, &rows, &cols);
        assert_int_equal(m->layers[2].proj[p].rows, rows);
        assert_int_equal(m->layers[2].proj[p].cols, cols);
    }
    assert_int_equal(m->layers[0].proj[SHOAL_PROJ_Q].rows, 128);
    assert_int_equal(m->layers[0].proj[SHOAL_PROJ_K].rows, 32);
    assert_int_equal(m->layers[0].proj[SHOAL_PROJ_O].cols, 128);
    assert_int_equal(m->layers[0].proj[SHOAL_PROJ_DOWN].cols, 96);
    assert_int_equal(m->layers[1].proj[SHOAL_PROJ_GATE].type, SHOAL_TYPE_Q4_0);
    assert_true(m->inv_freq[0] == 1.0f);
    assert_true(fabs((double)m->inv_freq[4] - pow(10000.0, -0.5)) < 1e-9);
    assert_ptr_equal(m->head.data, m->embd.data);
    assert_string_equal(shoal_proj_gguf_name(SHOAL_PROJ_O), "attn_output");
    assert_string_equal(shoal_proj_peft_name(SHOAL_PROJ_DOWN), "down_proj");
    shoal_model_close(m);
    m = open_tiny(1, &(shoal_tiny_opts){.untied = true});
    assert_ptr_not_equal(m->head.data, m->embd.data);
    shoal_model_close(m);
}

static shoal_status open_bytes(const shoal_buf *file, shoal_error *err);

static bool near(float got, double want)
{
    return fabs((double)got - want) <= 1e-6 * want;
}

static void gemma_has_two_kinds_of_layers(void **state)
{
    (void)state;
    shoal_model *m = open_tiny(1, &(shoal_tiny_opts){.arch = "gemma3", .n_layer = 7});
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(m->layers[i].local, i != 5);
        assert_non_null(m->layers[i].q_norm);
        assert_non_null(m->layers[i].post_ffn_norm);
        assert_null(m->layers[i].bias[0]);
    }
    assert_int_equal(m->cfg.window, 8);
    assert_int_equal(m->cfg.glu, SHOAL_GLU_GELU);
    assert_int_equal(m->cfg.rope_style, SHOAL_ROPE_HALVES);
    assert_true(near(m->cfg.embd_scale, 8.0) && near(m->cfg.attn_scale, 0.25));
    assert_true(near(m->inv_freq[4], 1e-3) && near(m->inv_freq_local[4], 1e-2));
    shoal_model_close(m);
    /* the largest of the family scales its scores by another width, 32 / 4 here */
    shoal_tiny_opts large = {
        .arch = "gemma3", .n_layer = 62, .n_embd = 32, .n_ff = 32, .head_dim = 32};
    m = open_tiny(1, &large);
    assert_true(near(m->cfg.attn_scale, 1 / sqrt(8.0)));
    shoal_model_close(m);
    /* linear scaling slows the global layers only */
    m = open_tiny(1, &(shoal_tiny_opts){.arch = "gemma3", .rope_factor = 4.0f});
    assert_true(m->inv_freq[0] == 0.25f && m->inv_freq_local[0] == 1.0f);
    shoal_model_close(m);
}

static void other_families_have_their_parts(void **state)
{
    (void)state;
    shoal_model *m = open_tiny(1, &(shoal_tiny_opts){.arch = "qwen2", .window = 512});
    assert_true(m->layers[1].bias[2] != NULL && m->layers[1].q_norm == NULL);
    assert_false(m->layers[1].local); /* a window as long as the context is none */
    shoal_model_close(m);
    m = open_tiny(1, &(shoal_tiny_opts){.arch = "qwen3"});
    assert_true(m->layers[1].bias[0] == NULL && m->layers[1].k_norm != NULL);
    assert_ptr_equal(m->inv_freq_local, m->inv_freq);
    shoal_model_close(m);
    m = open_tiny(1, &(shoal_tiny_opts){.window = 9}); /* Mistral */
    assert_true(m->layers[0].local && m->layers[1].local && m->cfg.window == 9);
    assert_ptr_equal(m->inv_freq_local, m->inv_freq);
    shoal_model_close(m);
}

static void local_layers_may_be_listed(void **state)
{
    (void)state;
    static const bool PERIODIC[] = {true, true, false, true};
    static const bool IRREGULAR[] = {true, false, false, true};
    static const bool ALL[] = {true, true, true, true};
    shoal_tiny_opts opts = {.arch = "gemma3", .n_layer = 4, .local_layers = PERIODIC};
    shoal_model *m = open_tiny(1, &opts);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(m->layers[i].local, PERIODIC[i]);
    }
    shoal_model_close(m);
    opts.local_layers = ALL;
    m = open_tiny(1, &opts);
    assert_true(m->layers[3].local);
    shoal_model_close(m);
    opts.local_layers = IRREGULAR;
    shoal_buf file = shoal_buf_init(MAX_FILE);
    shoal_error err = {0};
    assert_int_equal(shoal_tiny_model_encode(&file, 1, &opts, NULL), SHOAL_OK);
    assert_int_equal(open_bytes(&file, &err), SHOAL_ERR_UNSUPPORTED);
    shoal_buf_clear(&file);
}

static void fingerprints_tell_models_apart(void **state)
{
    (void)state;
    shoal_model *a = open_tiny(1, NULL);
    shoal_model *same = open_tiny(1, NULL);
    shoal_model *seed = open_tiny(2, NULL);
    shoal_model *shape = open_tiny(1, &(shoal_tiny_opts){.n_layer = 3});
    assert_true(shoal_model_fingerprint(a) == shoal_model_fingerprint(same));
    assert_true(shoal_model_fingerprint(a) != shoal_model_fingerprint(seed));
    assert_true(shoal_model_fingerprint(a) != shoal_model_fingerprint(shape));
    assert_true(shoal_model_fingerprint(a) != 0);
    shoal_model_close(a);
    shoal_model_close(same);
    shoal_model_close(seed);
    shoal_model_close(shape);
}

/* ---- files changed in one place ---------------------------------------------------------------
 */

static uint8_t *find_text(const shoal_buf *file, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= file->len; i++) {
        if (memcmp(file->data + i, text, n) == 0) return file->data + i;
    }
    fail_msg("'%s' is not in the file", text);
    return NULL;
}

static shoal_status open_bytes(const shoal_buf *file, shoal_error *err)
{
    char path[128] = "/tmp/shoal-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(shoal_file_write_atomic(path, file->data, file->len, 0600, NULL), SHOAL_OK);
    shoal_model *m = NULL;
    shoal_status st = shoal_model_open(&m, path, err);
    assert_true((st == SHOAL_OK) == (m != NULL));
    shoal_model_close(m);
    (void)remove(path);
    return st;
}

/* A tiny model whose u32 value of `key` is `value`. */
static shoal_status open_with(const char *key, uint32_t value)
{
    shoal_buf file = shoal_buf_init(MAX_FILE);
    assert_int_equal(shoal_tiny_model_encode(&file, 1, NULL, NULL), SHOAL_OK);
    uint8_t *at = find_text(&file, key) + strlen(key) + 4;
    for (size_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
    shoal_error err = {0};
    shoal_status st = open_bytes(&file, &err);
    assert_true(st == SHOAL_OK || err.msg[0] != '\0');
    shoal_buf_clear(&file);
    return st;
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_int_equal(open_with("llama.block_count", 2), SHOAL_OK);
    assert_int_equal(open_with("llama.block_count", 0), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.block_count", 3), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.block_count", 0xffffffffu), SHOAL_ERR_FORMAT);
    /* fewer layers than the file has: its other tensors would be ignored silently */
    assert_int_equal(open_with("llama.block_count", 1), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(open_with("llama.embedding_length", 96), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.embedding_length", 65), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(open_with("llama.feed_forward_length", 160), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.attention.head_count", 0), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.attention.head_count_kv", 3), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(open_with("llama.attention.head_count_kv", 8), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.rope.dimension_count", 8), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(open_with("llama.attention.key_length", 32), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(open_with("llama.rope.freq_base", 0), SHOAL_ERR_FORMAT);
    assert_int_equal(open_with("llama.rope.freq_base", 0x7fc00000u), SHOAL_ERR_FORMAT); /* NaN */
    assert_int_equal(open_with("llama.attention.layer_norm_rms_epsilon", 0xbf800000u),
                     SHOAL_ERR_FORMAT);
}

/* A consistent file whose heads are wider than the attention kernels' tiles. */
static void wide_heads_are_refused(void **state)
{
    (void)state;
    for (size_t width = 256; width <= 288; width += 32) {
        shoal_buf file = shoal_buf_init(MAX_FILE);
        shoal_tiny_opts opts = {.head_dim = width};
        assert_int_equal(shoal_tiny_model_encode(&file, 1, &opts, NULL), SHOAL_OK);
        shoal_error err = {0};
        shoal_status want = width <= SHOAL_ATTN_MAX_E ? SHOAL_OK : SHOAL_ERR_UNSUPPORTED;
        assert_int_equal(open_bytes(&file, &err), want);
        shoal_buf_clear(&file);
    }
}

/* Renaming one thing makes it missing. */
static void missing_parts_are_named(void **state)
{
    (void)state;
    const struct {
        const char *text, *named;
        shoal_status want;
    } cases[] = {
        {"blk.1.ffn_down.weight", "blk.1.ffn_down.weight", SHOAL_ERR_FORMAT},
        {"token_embd.weight", "token_embd.weight", SHOAL_ERR_FORMAT},
        {"llama.context_length", "llama.context_length", SHOAL_ERR_FORMAT},
        {"tokenizer.ggml.tokens", "tokenizer.ggml.tokens", SHOAL_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shoal_buf file = shoal_buf_init(MAX_FILE);
        assert_int_equal(shoal_tiny_model_encode(&file, 1, NULL, NULL), SHOAL_OK);
        find_text(&file, cases[i].text)[1] = '#';
        shoal_error err = {0};
        assert_int_equal(open_bytes(&file, &err), cases[i].want);
        assert_non_null(strstr(err.msg, cases[i].named));
        shoal_buf_clear(&file);
    }
}

/* Variants whose plain computation would be silently wrong. */
static void unknown_variants_are_refused(void **state)
{
    (void)state;
    const struct {
        shoal_tiny_opts opts;
        const char *from, *to; /* text changed in the file */
        shoal_status want;
    } cases[] = {
        {{.arch = "qwen2", .window = 100}, NULL, NULL, SHOAL_ERR_UNSUPPORTED},
        {{.rope_factor = 2.0f}, "linear", "cubics", SHOAL_ERR_UNSUPPORTED},
        {{.rope_factor = 2.0f}, "rope.scaling.factor", "rope.scaling.fact0r", SHOAL_ERR_FORMAT},
        {{.arch = "qwen2"}, "blk.0.attn_q.bias", "blk.0.attn_x.bias", SHOAL_ERR_FORMAT},
        {{.arch = "qwen3"}, "blk.1.attn_k_norm", "blk.1.attn_x_norm", SHOAL_ERR_FORMAT},
        {{.arch = "gemma3"}, "blk.1.post_ffw_norm", "blk.1.post_ffx_norm", SHOAL_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shoal_buf file = shoal_buf_init(MAX_FILE);
        assert_int_equal(shoal_tiny_model_encode(&file, 1, &cases[i].opts, NULL), SHOAL_OK);
        if (cases[i].from != NULL) {
            memcpy(find_text(&file, cases[i].from), cases[i].to, strlen(cases[i].to));
        }
        shoal_error err = {0};
        assert_int_equal(open_bytes(&file, &err), cases[i].want);
        assert_true(err.msg[0] != '\0');
        shoal_buf_clear(&file);
    }
}

static void other_kinds_of_file_are_told_apart(void **state)
{
    (void)state;
    shoal_buf file = shoal_buf_init(MAX_FILE);
    shoal_error err = {0};
    assert_int_equal(shoal_tiny_model_encode(&file, 1, NULL, NULL), SHOAL_OK);
    uint8_t *arch = find_text(&file, "general.architecture") + strlen("general.architecture") + 12;
    assert_memory_equal(arch, "llama", 5);
    memcpy(arch, "mamba", 5);
    assert_int_equal(open_bytes(&file, &err), SHOAL_ERR_UNSUPPORTED);
    assert_true(err.hint[0] != '\0');
    shoal_buf_clear(&file);
    shoal_model *m = NULL;
    assert_int_equal(shoal_model_open(&m, "/nonexistent", &err), SHOAL_ERR_NOT_FOUND);
    assert_null(m);
}

/* Every allocation of an open failed in turn: NOMEM, nothing leaks. */
static void memory_may_run_out(void **state)
{
    (void)state;
    char path[128];
    const shoal_tiny_opts opts = {.arch = "gemma3"}; /* has two tables of rotations */
    assert_int_equal(shoal_tiny_model_temp(path, 1, &opts, NULL), SHOAL_OK);
    shoal_model *m = NULL;
    shoal_status st = SHOAL_ERR_NOMEM;
    for (uint64_t n = 1; st != SHOAL_OK; n++) {
        assert_in_range(n, 1, 100);
        shoal_mem_fail_at(n, false);
        st = shoal_model_open(&m, path, NULL);
        shoal_mem_fail_at(0, false);
        assert_true(st == SHOAL_OK || st == SHOAL_ERR_NOMEM);
    }
    shoal_model_close(m);
    (void)remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_come_from_the_file),
        cmocka_unit_test(gemma_has_two_kinds_of_layers),
        cmocka_unit_test(other_families_have_their_parts),
        cmocka_unit_test(local_layers_may_be_listed),
        cmocka_unit_test(unknown_variants_are_refused),
        cmocka_unit_test(fingerprints_tell_models_apart),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(wide_heads_are_refused),
        cmocka_unit_test(missing_parts_are_named),
        cmocka_unit_test(other_kinds_of_file_are_told_apart),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
