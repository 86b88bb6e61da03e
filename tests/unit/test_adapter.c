/* Adapters: start values, manifest, file form, row order of q and k, and files that must be
 * refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/model/gguf_write.h"
#include "tests/support/train_fixture.h"

enum { FILE_MAX = 1 << 24 };

static shoal_model *model;

static int open_model(void **state)
{
    (void)state;
    model = fixture_model(6, NULL);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    shoal_model_close(model);
    return 0;
}

static shoal_buf encode(const shoal_adapter *a)
{
    shoal_error err = {0};
    shoal_buf b = shoal_buf_init(FILE_MAX);
    if (shoal_adapter_encode(a, &b, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    return b;
}

static void test_starts_as_nothing(void **state)
{
    (void)state;
    shoal_lora_spec spec = {8, 16.0f, SHOAL_TARGETS_ALL, 0, {0}};
    shoal_error err = {0};
    shoal_adapter *a = NULL;
    assert_int_equal(shoal_adapter_open(&a, model, &spec, 1, &err), SHOAL_OK);
    size_t n = 0;
    for (size_t i = 0; i < model->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        double sum2 = 0.0;
        double most = 0.0;
        shoal_config_proj_shape(&model->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        const shoal_lora_pair *pair = &a->pairs[i];
        assert_ptr_equal(pair->a, a->params + n); /* manifest order, no gaps */
        assert_ptr_equal(pair->b, pair->a + 8 * cols);
        assert_true(pair->scale == 2.0f);
        for (size_t j = 0; j < 8 * cols; j++) {
            sum2 += (double)pair->a[j] * (double)pair->a[j];
            most = fmax(most, fabs((double)pair->a[j]));
        }
        /* Uniform within 1 / sqrt(cols): a third of the bound's square, cols of them. */
        assert_true(most * sqrt((double)cols) <= 1.0 + 1e-6);
        assert_true(fabs(3.0 * sum2 / 8.0 - 1.0) < 0.3);
        for (size_t j = 0; j < 8 * rows; j++) {
            assert_true(pair->b[j] == 0.0f);
        }
        n += 8 * (rows + cols);
    }
    assert_int_equal(n, a->n_params);
    assert_true(a->base_fingerprint == shoal_model_fingerprint(model));
    shoal_adapter_close(a);
}

static void test_refuses_impossible_specs(void **state)
{
    (void)state;
    static const shoal_lora_spec BAD[] = {
        {0, 1.0f, 1, 0, {0}},    {SHOAL_LORA_MAX_RANK + 1, 1.0f, 1, 0, {0}},
        {4, 0.0f, 1, 0, {0}},    {4, NAN, 1, 0, {0}},
        {4, 1.0f, 0, 0, {0}},    {4, 1.0f, 1u << SHOAL_N_PROJ, 0, {0}},
        {4, 1.0f, 1, 9999, {0}}, {4, 1.0f, 1, 0, {SHOAL_LORA_MAX_RANK + 1}},
        {0, 1.0f, 3, 0, {4}},    {4, 1.0f, 1, 0, {4, 4}}, /* a rank for what is not adapted */
    };
    shoal_error err = {0};
    shoal_adapter *a = NULL;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(shoal_adapter_open(&a, model, &BAD[i], 1, &err), SHOAL_ERR_ARG);
        assert_null(a);
    }
}

static void assert_same(const shoal_adapter *a, const shoal_adapter *b)
{
    assert_int_equal(a->n_params, b->n_params);
    assert_memory_equal(a->params, b->params, a->n_params * sizeof *a->params);
    assert_int_equal(a->spec.rank, b->spec.rank);
    assert_int_equal(a->spec.targets, b->spec.targets);
    assert_int_equal(a->spec.first_layer, b->spec.first_layer);
    assert_true(a->spec.alpha == b->spec.alpha);
    assert_true(a->base_fingerprint == b->base_fingerprint);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t TARGETS[] = {SHOAL_TARGETS_ALL, 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_V,
                                       1u << SHOAL_PROJ_DOWN};
    for (size_t i = 0; i < 3; i++) {
        shoal_error err = {0};
        shoal_adapter *back = NULL;
        shoal_adapter *a = fixture_adapter(model, 1 + 4 * i, TARGETS[i], i % 2, 5);
        shoal_buf bytes = encode(a);
        shoal_buf again = encode(a);
        assert_int_equal(bytes.len, again.len);
        assert_memory_equal(bytes.data, again.data, bytes.len);
        if (shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err) != SHOAL_OK) {
            fail_msg("%s", err.msg);
        }
        assert_same(a, back);
        shoal_adapter_close(back);

        char path[] = "/tmp/shoal-adapter-XXXXXX";
        assert_true(mkstemp(path) >= 0);
        assert_int_equal(shoal_file_write_atomic(path, bytes.data, bytes.len, 0600, &err),
                         SHOAL_OK);
        assert_int_equal(shoal_adapter_load(&back, model, path, &err), SHOAL_OK);
        (void)remove(path);
        assert_same(a, back);
        shoal_adapter_close(back);
        shoal_buf_clear(&bytes);
        shoal_buf_clear(&again);
        shoal_adapter_close(a);
    }
}

static void test_unaligned_bytes(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_adapter *back = NULL;
    shoal_adapter *a = fixture_adapter(model, 2, SHOAL_TARGETS_ALL, 0, 5);
    shoal_buf bytes = encode(a);
    unsigned char *moved = shoal_alloc(bytes.len + 3);
    assert_non_null(moved);
    memcpy(moved + 3, bytes.data, bytes.len);
    assert_int_equal(shoal_adapter_decode(&back, model, moved + 3, bytes.len, &err), SHOAL_OK);
    assert_same(a, back);
    shoal_free(moved);
    shoal_buf_clear(&bytes);
    shoal_adapter_close(back);
    shoal_adapter_close(a);
}

/* Each projection at a rank of its own: shapes, scales, file and manifest follow. */
static void test_ranks_by_projection(void **state)
{
    (void)state;
    const shoal_lora_spec spec = {
        .rank = 3, .alpha = 12.0f, .targets = 0x17, .ranks = {[SHOAL_PROJ_K] = 4, [4] = 1}};
    const shoal_lora_spec plain = {.rank = 4, .alpha = 12.0f, .targets = 0x17};
    shoal_error err = {0};
    shoal_adapter *a[3] = {NULL};
    shoal_buf bytes = shoal_buf_init(FILE_MAX), text[3];
    assert_int_equal(shoal_adapter_open(&a[0], model, &spec, 1, &err), SHOAL_OK);
    assert_int_equal(shoal_adapter_open(&a[1], model, &plain, 1, &err), SHOAL_OK);
    assert_int_equal(a[0]->spec.rank, 4);
    static const size_t RANKS[SHOAL_N_PROJ] = {3, 4, 3, 0, 1, 0, 0};
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        const shoal_lora_pair *pair = shoal_adapter_pair(a[0], 1, (shoal_proj)p);
        assert_int_equal(pair->rank, RANKS[p]);
        assert_true(pair->a == NULL || pair->scale == 12.0f / (float)RANKS[p]);
    }
    assert_int_equal(shoal_adapter_encode(a[0], &bytes, &err), SHOAL_OK);
    assert_int_equal(shoal_adapter_decode(&a[2], model, bytes.data, bytes.len, &err), SHOAL_OK);
    assert_same(a[0], a[2]);
    for (size_t i = 0; i < 3; i++) {
        text[i] = shoal_buf_init(4096);
        assert_int_equal(shoal_adapter_manifest(a[i], &text[i], &err), SHOAL_OK);
    }
    assert_string_equal(shoal_buf_str(&text[0]), shoal_buf_str(&text[2]));
    assert_string_not_equal(shoal_buf_str(&text[0]), shoal_buf_str(&text[1]));
    for (size_t i = 0; i < 3; i++) {
        shoal_buf_clear(&text[i]);
        shoal_adapter_close(a[i]);
    }
    shoal_buf_clear(&bytes);
}

static shoal_buf manifest(size_t rank, float alpha, uint32_t targets, size_t first_layer)
{
    shoal_lora_spec spec = {rank, alpha, targets, first_layer, {0}};
    shoal_error err = {0};
    shoal_adapter *a = NULL;
    shoal_buf b = shoal_buf_init(4096);
    assert_int_equal(shoal_adapter_open(&a, model, &spec, rank, &err), SHOAL_OK);
    assert_int_equal(shoal_adapter_manifest(a, &b, &err), SHOAL_OK);
    shoal_adapter_close(a);
    return b;
}

/* Equal for adapters whose vectors may be added, whatever their values; else different. */
static void test_manifest(void **state)
{
    (void)state;
    shoal_buf m[6] = {
        manifest(4, 8.0f, SHOAL_TARGETS_ALL, 0),
        manifest(4, 8.0f, SHOAL_TARGETS_ALL, 0),
        manifest(5, 8.0f, SHOAL_TARGETS_ALL, 0),
        manifest(4, 9.0f, SHOAL_TARGETS_ALL, 0),
        manifest(4, 8.0f, 3, 0),
        manifest(4, 8.0f, SHOAL_TARGETS_ALL, 1),
    };
    assert_string_equal(shoal_buf_str(&m[0]), shoal_buf_str(&m[1]));
    for (size_t i = 1; i < 6; i++) {
        for (size_t j = i + 1; j < 6; j++) {
            assert_string_not_equal(shoal_buf_str(&m[i]), shoal_buf_str(&m[j]));
        }
    }
    for (size_t i = 0; i < 6; i++) {
        shoal_buf_clear(&m[i]);
    }
}

static void test_rope_rows(void **state)
{
    (void)state;
    /* two heads of width 4, two columns: row r holds 10 r, 10 r + 1 */
    float peft[16];
    float gguf[16];
    float back[16];
    static const float WANT[8] = {0, 20, 10, 30, 40, 60, 50, 70};
    for (size_t r = 0; r < 8; r++) {
        peft[2 * r] = 10.0f * (float)r;
        peft[2 * r + 1] = peft[2 * r] + 1.0f;
    }
    shoal_rope_rows_from_peft(peft, gguf, 2, 4, 2);
    for (size_t r = 0; r < 8; r++) {
        assert_true(gguf[2 * r] == WANT[r] && gguf[2 * r + 1] == WANT[r] + 1.0f);
    }
    shoal_rope_rows_to_peft(gguf, back, 2, 4, 2);
    assert_memory_equal(back, peft, sizeof peft);
}

/* A truncated file is refused wherever it ends; a flipped byte is refused or harmless. */
static void test_damaged_files(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_adapter *back = NULL;
    shoal_adapter *a = fixture_adapter(model, 2, 1u << SHOAL_PROJ_V, 1, 5);
    shoal_buf bytes = encode(a);
    for (size_t n = 0; n < bytes.len; n += n < 1500 ? 1 : 97) {
        assert_int_not_equal(shoal_adapter_decode(&back, model, bytes.data, n, &err), SHOAL_OK);
        assert_null(back);
    }
    for (size_t i = 0; i < bytes.len && i < 1500; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (uint8_t)(1u << bit);
            if (shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err) == SHOAL_OK) {
                shoal_adapter_close(back);
            }
            bytes.data[i] ^= (uint8_t)(1u << bit);
        }
    }
    shoal_buf_clear(&bytes);
    shoal_adapter_close(a);
}

static void test_values_must_be_finite(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_adapter *back = NULL;
    shoal_adapter *a = fixture_adapter(model, 2, SHOAL_TARGETS_ALL, 0, 5);
    a->params[a->n_params - 1] = INFINITY;
    shoal_buf bytes = encode(a);
    assert_int_equal(shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err),
                     SHOAL_ERR_FORMAT);
    shoal_buf_clear(&bytes);
    shoal_adapter_close(a);
}

/* Another model's adapter: refused, saying whose it is. */
static void check_foreign(const shoal_tiny_opts *opts, uint64_t seed)
{
    shoal_error err = {0};
    shoal_adapter *back = NULL;
    shoal_model *other = fixture_model(seed, opts);
    shoal_adapter *a = fixture_adapter(other, 2, SHOAL_TARGETS_ALL, 0, 5);
    shoal_buf bytes = encode(a);
    shoal_status st = shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err);
    assert_int_equal(st, SHOAL_ERR_ARG);
    assert_non_null(strstr(err.hint, "this adapter belongs to "));
    shoal_buf_clear(&bytes);

    a->base_fingerprint = 0; /* as another program writes it: shapes must tell */
    bytes = encode(a);
    st = shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err);
    assert_int_equal(st == SHOAL_OK, opts == NULL); /* same shapes: no way to know */
    assert_true(opts == NULL || strstr(err.hint, "this adapter belongs to ") != NULL ||
                st == SHOAL_ERR_UNSUPPORTED);
    shoal_adapter_close(back);
    shoal_buf_clear(&bytes);
    shoal_adapter_close(a);
    shoal_model_close(other);
}

static void test_foreign_adapters(void **state)
{
    (void)state;
    static const shoal_tiny_opts WIDER = {.n_embd = 96, .n_head = 6};
    static const shoal_tiny_opts FATTER = {.n_ff = 160};
    static const shoal_tiny_opts DEEPER = {.n_layer = 3};
    check_foreign(&WIDER, 6);
    check_foreign(&FATTER, 6);
    check_foreign(&DEEPER, 6);
    check_foreign(NULL, 7); /* same shapes, other weights: the fingerprint tells */
}

/* A hand-made file: q of both blocks adapted, with one thing wrong unless `flaw` is 0. */
static shoal_status decode_handmade(int flaw, shoal_type type, shoal_adapter **out)
{
    static float zeros[4096];
    static uint16_t halves[4096];
    size_t D = model->cfg.n_embd;
    shoal_error err = {0};
    shoal_buf bytes = shoal_buf_init(FILE_MAX);
    shoal_gguf_writer w = shoal_gguf_writer_init(FILE_MAX);
    const void *data = type == SHOAL_TYPE_F16 ? (const void *)halves : zeros;
    zeros[5] = 0.5f;
    halves[5] = shoal_f32_to_f16(0.5f);
    shoal_gguf_put_str(&w, "general.architecture", shoal_str_of(flaw == 1 ? "gemma3" : "llama"));
    shoal_gguf_put_str(&w, "general.type", shoal_str_of(flaw == 2 ? "model" : "adapter"));
    shoal_gguf_put_str(&w, "adapter.type", shoal_str_of(flaw == 3 ? "control" : "lora"));
    if (flaw != 4) {
        shoal_gguf_put_f32(&w, "adapter.lora.alpha", flaw == 5 ? -1.0f : 4.0f);
    }
    for (size_t layer = 0; layer < 2 && flaw != 6; layer++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%zu.attn_q.weight.lora_a", layer);
        shoal_gguf_put_matrix(&w, name, type, flaw == 7 && layer == 0 ? 3 : 2, D, data);
        (void)snprintf(name, sizeof name, "blk.%zu.attn_q.weight.lora_b", layer);
        if (flaw != 8 || layer != 1) {
            shoal_gguf_put_matrix(&w, name, type, model->cfg.n_head * model->cfg.head_dim, 2, data);
        }
    }
    if (flaw == 9) {
        shoal_gguf_put_matrix(&w, "token_embd.weight.lora_a", type, 2, D, data);
    }
    if (flaw == 10) {
        shoal_gguf_put_matrix(&w, "blk.0.attn_k.weight.lora_a", type, 2, D, data);
    }
    assert_int_equal(shoal_gguf_writer_finish(&w, &bytes, &err), SHOAL_OK);
    shoal_status st = shoal_adapter_decode(out, model, bytes.data, bytes.len, &err);
    assert_true(st == SHOAL_OK || err.msg[0] != 0);
    shoal_gguf_writer_clear(&w);
    shoal_buf_clear(&bytes);
    return st;
}

static void test_handmade_files(void **state)
{
    (void)state;
    shoal_adapter *a = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(decode_handmade(0, i == 0 ? SHOAL_TYPE_F32 : SHOAL_TYPE_F16, &a),
                         SHOAL_OK);
        assert_int_equal(a->spec.rank, 2);
        assert_int_equal(a->spec.targets, 1u << SHOAL_PROJ_Q);
        assert_true(a->base_fingerprint == 0);
        assert_true(a->params[5] == 0.5f && a->params[6] == 0.0f);
        assert_null(shoal_adapter_pair(a, 0, SHOAL_PROJ_K)->a);
        shoal_adapter_close(a);
    }
    for (int flaw = 1; flaw <= 10; flaw++) {
        if (decode_handmade(flaw, SHOAL_TYPE_F32, &a) == SHOAL_OK) {
            fail_msg("flaw %d went unnoticed", flaw);
        }
        assert_null(a);
    }
}

/* Encode and decode once with the n-th allocation failing; true when nothing failed. */
static bool survives(const shoal_adapter *a, uint64_t n)
{
    shoal_error err = {0};
    shoal_adapter *back = NULL;
    shoal_buf bytes = shoal_buf_init(FILE_MAX);
    shoal_mem_fail_at(n, false);
    shoal_status st = shoal_adapter_encode(a, &bytes, &err);
    if (st == SHOAL_OK) {
        st = shoal_adapter_decode(&back, model, bytes.data, bytes.len, &err);
    }
    shoal_mem_fail_at(0, false);
    assert_true(st == SHOAL_OK || st == SHOAL_ERR_NOMEM);
    assert_int_equal(st == SHOAL_OK, back != NULL);
    shoal_adapter_close(back);
    shoal_buf_clear(&bytes);
    return st == SHOAL_OK;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    shoal_adapter *a = fixture_adapter(model, 2, SHOAL_TARGETS_ALL, 0, 5);
    uint64_t n = 1;
    while (!survives(a, n)) {
        n++;
        assert_true(n < 1000);
    }
    assert_true(n > 6); /* it really met failures on the way */
    shoal_adapter_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_as_nothing),
        cmocka_unit_test(test_refuses_impossible_specs),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_unaligned_bytes),
        cmocka_unit_test(test_ranks_by_projection),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_rope_rows),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_values_must_be_finite),
        cmocka_unit_test(test_foreign_adapters),
        cmocka_unit_test(test_handmade_files),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
