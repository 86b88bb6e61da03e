/* PEFT directories: round trip, the row order of q and k, every refusal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/json.h"
#include "client/peft.h"
#include "client/safetensors.h"
#include "kernels/base/file.h"
#include "lora/model/gguf.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

static shoal_model *model;
static char dir[TEMP_DIR_MAX];
static char peft[256], config_path[300], tensors_path[300];

static int open_model(void **state)
{
    shoal_error err = {0};
    char path[300];
    (void)state;
    temp_dir_make(dir);
    (void)snprintf(path, sizeof path, "%s/m.gguf", dir);
    (void)snprintf(peft, sizeof peft, "%s/peft", dir);
    (void)snprintf(config_path, sizeof config_path, "%s/adapter_config.json", peft);
    (void)snprintf(tensors_path, sizeof tensors_path, "%s/adapter_model.safetensors", peft);
    if (shoal_tiny_model_write(path, 1, NULL, &err) != SHOAL_OK) return -1;
    return shoal_model_open(&model, path, &err) == SHOAL_OK ? 0 : -1;
}

static int close_model(void **state)
{
    (void)state;
    shoal_model_close(model);
    temp_dir_remove(dir);
    return 0;
}

/* An adapter whose every value tells its place. */
static shoal_adapter *numbered(uint32_t targets, size_t first_layer)
{
    const shoal_lora_spec spec = {2, 6.0f, targets, first_layer, {0}};
    shoal_adapter *a = NULL;
    shoal_error err = {0};
    assert_int_equal(shoal_adapter_open(&a, model, &spec, 3, &err), SHOAL_OK);
    for (size_t i = 0; i < a->n_params; i++) {
        a->params[i] = (float)i;
    }
    return a;
}

static void save(uint32_t targets, size_t first_layer)
{
    shoal_adapter *a = numbered(targets, first_layer);
    shoal_error err = {0};
    assert_int_equal(shoal_peft_save(a, peft, &err), SHOAL_OK);
    shoal_adapter_close(a);
}

static void check_round_trip(uint32_t targets, size_t first_layer)
{
    shoal_adapter *a = numbered(targets, first_layer);
    shoal_adapter *back = NULL;
    shoal_error err = {0};
    assert_int_equal(shoal_peft_save(a, peft, &err), SHOAL_OK);
    if (shoal_peft_load(&back, model, peft, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    assert_int_equal(back->spec.rank, 2);
    assert_true(back->spec.alpha > 5.99f && back->spec.alpha < 6.01f);
    assert_int_equal(back->spec.targets, targets);
    assert_int_equal(back->spec.first_layer, first_layer);
    assert_int_equal(back->n_params, a->n_params);
    assert_memory_equal(back->params, a->params, a->n_params * sizeof *a->params);
    shoal_adapter_close(back);
    shoal_adapter_close(a);
}

/* Ranks of their own, and rsLoRA's scale, which a reader need not know of: alpha carries it. */
static void test_ranks(void **state)
{
    (void)state;
    const shoal_lora_spec spec = {
        .alpha = 6.0f * sqrtf(2.0f),
        .targets = 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_V | 1u << SHOAL_PROJ_DOWN,
        .ranks = {[SHOAL_PROJ_Q] = 5, [SHOAL_PROJ_V] = 2, [SHOAL_PROJ_DOWN] = 1}};
    shoal_adapter *a = NULL;
    shoal_adapter *back = NULL;
    shoal_error err = {0};
    assert_int_equal(shoal_adapter_open(&a, model, &spec, 3, &err), SHOAL_OK);
    assert_int_equal(a->spec.rank, 5);
    assert_int_equal(shoal_peft_save(a, peft, &err), SHOAL_OK);
    if (shoal_peft_load(&back, model, peft, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    assert_int_equal(back->n_params, a->n_params);
    assert_memory_equal(back->params, a->params, a->n_params * sizeof *a->params);
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        assert_int_equal(back->pairs[i].rank, a->pairs[i].rank);
        assert_true(fabsf(back->pairs[i].scale - a->pairs[i].scale) <= 1e-6f * a->pairs[i].scale);
    }
    shoal_adapter_close(back);
    shoal_adapter_close(a);
}

static void test_round_trips(void **state)
{
    (void)state;
    check_round_trip(SHOAL_TARGETS_ALL, 0);
    check_round_trip(1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_DOWN, 0);
    check_round_trip(1u << SHOAL_PROJ_K, 1);
}

/* Row 2j of a head in the GGUF is row j in PEFT's file, row 2j+1 is row E/2 + j; v is as it was. */
static void test_row_order(void **state)
{
    shoal_adapter *a = numbered(SHOAL_TARGETS_ALL, 0);
    shoal_buf file = shoal_buf_init(1u << 24);
    shoal_safetensors s;
    shoal_error err = {0};
    size_t half = model->cfg.head_dim / 2;
    (void)state;
    assert_int_equal(shoal_peft_encode(a, a->params, &file, &err), SHOAL_OK);
    assert_int_equal(shoal_safetensors_decode(&s, file.data, file.len, "t", &err), SHOAL_OK);
    const shoal_st_tensor *q = shoal_safetensors_find(
        &s, "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight");
    const shoal_st_tensor *v = shoal_safetensors_find(
        &s, "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
    assert_non_null(q);
    assert_non_null(v);
    float *rows = calloc(q->n, sizeof *rows);
    assert_non_null(rows);
    const float *gguf = shoal_adapter_pair(a, 1, SHOAL_PROJ_Q)->b;
    shoal_st_to_f32(q, rows);
    for (size_t h = 0; h < model->cfg.n_head; h++) {
        size_t base = h * model->cfg.head_dim;
        for (size_t j = 0; j < half; j++) {
            assert_memory_equal(rows + (base + j) * 2, gguf + (base + 2 * j) * 2, 8);
            assert_memory_equal(rows + (base + half + j) * 2, gguf + (base + 2 * j + 1) * 2, 8);
        }
    }
    shoal_st_to_f32(v, rows);
    assert_memory_equal(rows, shoal_adapter_pair(a, 1, SHOAL_PROJ_V)->b, v->n * sizeof *rows);
    free(rows);
    shoal_safetensors_clear(&s);
    shoal_buf_clear(&file);
    shoal_adapter_close(a);
}

/* Writes the directory's configuration with one member changed (NULL value: removed). */
static void change_config(const char *key, json_t *value)
{
    json_error_t why;
    save(SHOAL_TARGETS_ALL, 0);
    json_t *config = json_load_file(config_path, 0, &why);
    assert_non_null(config);
    if (value == NULL) {
        (void)json_object_del(config, key);
    } else {
        assert_int_equal(json_object_set_new(config, key, value), 0);
    }
    assert_int_equal(json_dump_file(config, config_path, 0), 0);
    json_decref(config);
}

static void test_refuses_other_kinds(void **state)
{
    static const struct {
        const char *key, *value;
    } wrong[] = {
        {"peft_type", "\"IA3\""},
        {"bias", "\"all\""},
        {"use_dora", "true"},
        {"fan_in_fan_out", "true"},
        {"modules_to_save", "[\"lm_head\"]"},
        {"rank_pattern", "{\"q_proj\":4}"},
        {"alpha_pattern", "{\"q_proj\":1}"},
        {"r", "0"},
        {"r", "100000"},
        {"lora_alpha", "-1"},
        {"r", "3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        shoal_adapter *a = NULL;
        shoal_error err = {0};
        change_config(wrong[i].key, json_loads(wrong[i].value, JSON_DECODE_ANY, NULL));
        if (shoal_peft_load(&a, model, peft, &err) == SHOAL_OK) fail_msg("%s", wrong[i].key);
        assert_null(a);
        assert_true(err.msg[0] != '\0' && err.hint[0] != '\0');
    }
}

static void test_accepts_uniform_patterns_and_rslora(void **state)
{
    shoal_adapter *a = NULL;
    shoal_error err = {0};
    (void)state;
    change_config("rank_pattern", json_loads("{\"q_proj\":2}", 0, NULL));
    assert_int_equal(shoal_peft_load(&a, model, peft, &err), SHOAL_OK);
    shoal_adapter_close(a);
    change_config("use_rslora", json_true());
    assert_int_equal(shoal_peft_load(&a, model, peft, &err), SHOAL_OK);
    /* scale = alpha / sqrt(r) */
    float scale = shoal_adapter_pair(a, 0, SHOAL_PROJ_Q)->scale;
    assert_true(scale > 6.0f / 1.4143f && scale < 6.0f / 1.4142f);
    shoal_adapter_close(a);
}

static void test_refuses_damaged_directories(void **state)
{
    shoal_adapter *a = NULL;
    shoal_error err = {0};
    shoal_buf file;
    (void)state;
    save(SHOAL_TARGETS_ALL, 0);
    assert_int_equal(shoal_file_read(tensors_path, 1u << 24, &file, &err), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(tensors_path, file.data, file.len - 4, 0644, &err),
                     SHOAL_OK);
    assert_int_equal(shoal_peft_load(&a, model, peft, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(remove(tensors_path), 0);
    assert_int_equal(shoal_peft_load(&a, model, peft, &err), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_file_write_atomic(config_path, "{", 1, 0644, &err), SHOAL_OK);
    assert_int_equal(shoal_peft_load(&a, model, peft, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_peft_load(&a, model, "/nonexistent", &err), SHOAL_ERR_NOT_FOUND);
    shoal_buf_clear(&file);
}

/* Not a number anywhere in the weights would poison every answer. */
static void test_refuses_values_that_are_not_numbers(void **state)
{
    shoal_adapter *a = numbered(SHOAL_TARGETS_ALL, 0);
    shoal_adapter *back = NULL;
    shoal_error err = {0};
    (void)state;
    a->params[5] = strtof("inf", NULL);
    assert_int_equal(shoal_peft_save(a, peft, &err), SHOAL_OK);
    assert_int_equal(shoal_peft_load(&back, model, peft, &err), SHOAL_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "not finite"));
    shoal_adapter_close(a);
}

int main(void)
{
    shoal_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_row_order),
        cmocka_unit_test(test_refuses_other_kinds),
        cmocka_unit_test(test_accepts_uniform_patterns_and_rslora),
        cmocka_unit_test(test_refuses_damaged_directories),
        cmocka_unit_test(test_refuses_values_that_are_not_numbers),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
