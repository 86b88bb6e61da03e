/* Packing on chat data and the real tokenizer: how many rows of tokens an epoch takes. Counts, not
 * times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/data.h"
#include "lora/train/pack.h"
#include "tests/support/vectors.h"

enum { ROWS = 512 };

static shoal_model *model;
static shoal_dataset data;

/* Rows and micro-batches of one pass over the data, `batch` samples a step. */
typedef struct counts {
    size_t packs, rows, tokens;
} counts;

static counts count_epoch(size_t batch)
{
    static shoal_packing packing;
    static int32_t ids[ROWS], sup_target[ROWS];
    static uint32_t pos[ROWS], first[ROWS], hole[ROWS], hole_end[ROWS], sup_row[ROWS], of[ROWS];
    shoal_pack pack = {.ids = ids, .pos = pos, .first = first, .hole = hole, .hole_end = hole_end};
    pack.sup_row = sup_row;
    pack.sup_target = sup_target;
    pack.sup_sample = of;
    counts c = {0};
    for (size_t at = 0; at < data.n;) {
        size_t end = at + batch < data.n ? at + batch : data.n;
        while (at < end) {
            at += shoal_packing_make(&packing, data.samples, at, end, ROWS);
            for (size_t i = 0; i < packing.n_packs; i++) {
                shoal_packing_fill(&packing, i, &pack);
                c.packs++;
                c.rows += pack.n_rows;
                c.tokens += pack.n_tokens;
            }
        }
    }
    print_message("batch %zu: %zu conversations, %zu tokens, %zu learnt, in %zu rows (%.0f %%), "
                  "%zu micro-batches, %.1f %% full\n",
                  batch, data.n, c.tokens, data.n_supervised, c.rows,
                  100.0 * (double)c.rows / (double)c.tokens, c.packs,
                  100.0 * (double)c.rows / (double)(c.packs * ROWS));
    return c;
}

/* The template's preamble is in every conversation; a batch computes it once. */
static void test_counts(void **state)
{
    (void)state;
    counts alone = count_epoch(1);
    counts eight = count_epoch(8);
    counts many = count_epoch(64);
    counts window = count_epoch(SHOAL_PACK_WINDOW);
    assert_int_equal(alone.packs, data.n);
    assert_int_equal(alone.rows, alone.tokens);
    assert_int_equal(eight.tokens, alone.tokens);
    assert_int_equal(many.tokens, alone.tokens);
    assert_true(eight.rows * 100 <= alone.tokens * 80);
    assert_true(eight.packs * 6 <= data.n);
    assert_true(many.rows <= eight.rows);
    assert_true(many.rows * 100 >= many.packs * ROWS * 90);
    assert_true(window.rows <= many.rows);
    assert_true(window.rows * 100 >= window.packs * ROWS * 95);
}

static int open_all(void **state)
{
    (void)state;
    shoal_error err = {0};
    const shoal_data_options o = {.max_tokens = ROWS};
    if (shoal_model_open(&model, real_model_path(), &err) != SHOAL_OK) return -1;
    const char *path = vectors_path("../data/snips/train-GetWeather.jsonl");
    return shoal_dataset_load(&data, path, model, &o, &err) == SHOAL_OK ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    shoal_dataset_clear(&data);
    shoal_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
