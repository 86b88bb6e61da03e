/* Rows of the layers below an adapter, kept on disk: the same bits with the cache cold, warm, too
 * small, damaged, on a full disk and absent, whatever samples are packed with; and less work. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/model/residency.h"
#include "lora/train/lower_cache.h"
#include "lora/train/row_index.h"
#include "lora/train/row_store.h"
#include "tests/support/temp_dir.h"
#include "tests/support/train_fixture.h"

enum {
    N_TEXTS = 20,
    LONGEST = 40,
    TOKENS = 96,
    FIRST_LAYER = 2,
    STEPS = 4,
    BATCH = N_TEXTS / 2,
    HEADER = 64,
    FILE_MAX = 1 << 20
};
#define ROOM ((uint64_t)1 << 30)

static const shoal_tiny_opts LLAMA = {.n_layer = 4};
static const shoal_tiny_opts WINDOWS = {.arch = "gemma3", .n_layer = 4, .period = 2};

static char dir[TEMP_DIR_MAX];
static char path[TEMP_DIR_MAX + 16];

/* Texts of which most begin with one of two beginnings. */
typedef struct crowd {
    int32_t ids[N_TEXTS][LONGEST];
    uint8_t mask[N_TEXTS][LONGEST];
    shoal_sample items[N_TEXTS];
} crowd;

static void fill_crowd(crowd *c)
{
    shoal_rng rng = shoal_rng_init(11);
    for (size_t i = 0; i < N_TEXTS; i++) {
        size_t n = 18 + shoal_rng_below(&rng, LONGEST - 18 + 1);
        size_t shared = i % 5 == 0 ? 0 : i % 2 == 0 ? 9 : 14;
        for (size_t k = 0; k < n; k++) {
            c->ids[i][k] = (int32_t)(k < shared ? (i % 2 + 3) * k % 61 : shoal_rng_below(&rng, 90));
            c->mask[i][k] = k > 15 && (k % 3 != 0 || k == n - 1);
        }
        c->items[i] = (shoal_sample){c->ids[i], c->mask[i], n};
    }
}

/* A model, an adapter over its upper layers, and what trains it. */
typedef struct bench {
    shoal_model *m;
    shoal_adapter *a;
    fixture_exec f;
    shoal_trainer *tr;
    crowd texts;
} bench;

static void open_bench(bench *b, const shoal_tiny_opts *opts, unsigned threads, bool exact)
{
    fill_crowd(&b->texts);
    b->m = fixture_model(5, opts);
    b->a = fixture_adapter(b->m, 4, SHOAL_TARGETS_ALL, FIRST_LAYER, 7);
    fixture_exec_open(&b->f, threads, exact);
    b->tr = fixture_trainer(b->m, b->a, &b->f.ex, TOKENS, SHOAL_RECOMPUTE_AUTO);
}

static void close_bench(bench *b)
{
    shoal_trainer_close(b->tr);
    fixture_exec_close(&b->f);
    shoal_adapter_close(b->a);
    shoal_model_close(b->m);
}

static void ok(shoal_status st, const shoal_error *err)
{
    if (st != SHOAL_OK) fail_msg("%s", err->msg);
}

static shoal_lower_cache *open_cache(const bench *b, uint64_t max_bytes)
{
    shoal_error err = {0};
    shoal_lower_cache *c = NULL;
    const shoal_lower_texts texts[] = {{b->texts.items, BATCH},
                                       {b->texts.items + BATCH, N_TEXTS - BATCH}};
    const shoal_lower_options o = {FIRST_LAYER, TOKENS, max_bytes, texts, 2};
    ok(shoal_lower_cache_open(&c, b->m, &b->f.ex, &o, &err), &err);
    return c;
}

static shoal_lower_cache *open_attached(const bench *b)
{
    shoal_error err = {0};
    shoal_lower_cache *c = open_cache(b, ROOM);
    ok(shoal_lower_cache_attach(c, path, &err), &err);
    return c;
}

/* The parameters after STEPS steps over the texts in changing order, with `cache` or NULL. */
static void train(bench *b, shoal_lower_cache *cache, size_t steps, float *params)
{
    shoal_error err = {0};
    shoal_adapter *fresh = fixture_adapter(b->m, 4, SHOAL_TARGETS_ALL, FIRST_LAYER, 7);
    memcpy(b->a->params, fresh->params, b->a->n_params * sizeof *params);
    shoal_adapter_close(fresh);
    shoal_trainer_reset(b->tr);
    shoal_trainer_use_cache(b->tr, cache);
    shoal_rng rng = shoal_rng_init(3);
    size_t order[N_TEXTS];
    shoal_sample batch[BATCH];
    for (size_t i = 0; i < N_TEXTS; i++) {
        order[i] = i;
    }
    uint64_t allocated = shoal_mem_count();
    for (size_t step = 0; step < steps; step++) {
        shoal_loss loss = {.nll = NULL};
        if (step % 2 == 0) shoal_rng_shuffle(&rng, order, N_TEXTS);
        for (size_t i = 0; i < BATCH; i++) {
            batch[i] = b->texts.items[order[step % 2 * BATCH + i]];
        }
        ok(shoal_trainer_accumulate(b->tr, batch, BATCH, 0.01f, &loss, &err), &err);
        ok(shoal_trainer_step(b->tr, 0.01f, NULL, &err), &err);
    }
    assert_int_equal(shoal_mem_count(), allocated);
    shoal_trainer_use_cache(b->tr, NULL);
    memcpy(params, b->a->params, b->a->n_params * sizeof *params);
}

/* Trains with the cache at `path`, whatever is there, to the same bits. */
static shoal_lower_stats check_same(bench *b, const float *want, float *got)
{
    shoal_lower_cache *c = open_attached(b);
    train(b, c, STEPS, got);
    shoal_lower_stats s = shoal_lower_cache_get_stats(c);
    shoal_lower_cache_close(c);
    assert_memory_equal(got, want, b->a->n_params * sizeof *want);
    return s;
}

static size_t read_file(uint8_t *out)
{
    shoal_buf b;
    shoal_error err = {0};
    ok(shoal_file_read(path, FILE_MAX, &b, &err), &err);
    memcpy(out, b.data, b.len);
    size_t n = b.len;
    shoal_buf_clear(&b);
    return n;
}

static void write_file(const uint8_t *data, size_t n)
{
    shoal_error err = {0};
    ok(shoal_file_write_atomic(path, data, n, 0600, &err), &err);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

static void index_of(shoal_row_index *x, const crowd *c, uint32_t most)
{
    shoal_row_text *texts = shoal_calloc(N_TEXTS, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < N_TEXTS; i++) {
        texts[i] = (shoal_row_text){.ids = c->ids[i], .n = (uint32_t)c->items[i].n};
    }
    shoal_row_index_build(x, texts, N_TEXTS, most);
}

static bool same_beginning(const crowd *c, size_t i, size_t j, size_t row)
{
    return memcmp(c->ids[i], c->ids[j], (row + 1) * sizeof **c->ids) == 0;
}

static void test_equal_beginnings_have_equal_numbers(void **state)
{
    (void)state;
    static crowd c;
    static uint32_t number[N_TEXTS][LONGEST];
    shoal_row_index x;
    fill_crowd(&c);
    index_of(&x, &c, UINT32_MAX - 1);
    size_t rows = 0;
    for (size_t i = 0; i < N_TEXTS; i++) {
        size_t head = i % 7;
        size_t n = c.items[i].n;
        shoal_row_index_find(&x, NULL, 0, c.ids[i], head, number[i]);
        shoal_row_index_find(&x, c.ids[i], head, c.ids[i] + head, n - head, number[i] + head);
        rows += n;
    }
    for (size_t i = 0; i < N_TEXTS; i++) {
        for (size_t j = 0; j < i; j++) {
            for (size_t k = 0; k < c.items[i].n && k < c.items[j].n; k++) {
                assert_true(number[i][k] < x.n_rows);
                assert_int_equal(number[i][k] == number[j][k], same_beginning(&c, i, j, k));
            }
        }
    }
    assert_true(x.n_rows < rows);
    uint32_t none[2];
    const int32_t unknown[2] = {89, 88};
    shoal_row_index_find(&x, c.ids[0], 3, unknown, 2, none);
    assert_true(none[0] == SHOAL_ROW_NONE && none[1] == SHOAL_ROW_NONE);
    shoal_row_index_clear(&x);
}

/* With less room some texts have all their numbers and the others none. */
static void test_numbers_have_a_maximum(void **state)
{
    (void)state;
    static crowd c;
    fill_crowd(&c);
    for (uint32_t most = 0; most < 700; most += 23) {
        shoal_row_index x;
        size_t n_with = 0;
        index_of(&x, &c, most);
        assert_true(x.n_rows <= most);
        for (size_t i = 0; i < N_TEXTS; i++) {
            uint32_t number[LONGEST];
            size_t n = c.items[i].n;
            shoal_row_index_find(&x, NULL, 0, c.ids[i], n, number);
            for (size_t k = 0; k < n; k++) {
                assert_true(number[k] < x.n_rows || number[0] == SHOAL_ROW_NONE);
            }
            n_with += number[0] != SHOAL_ROW_NONE;
        }
        assert_int_equal(n_with, x.n);
        assert_int_equal(n_with + x.n_left_out, N_TEXTS);
        shoal_row_index_clear(&x);
    }
}

/* ---- rounding ---------------------------------------------------------------------------------
 */

static void test_rounding_keeps_any_scale(void **state)
{
    (void)state;
    enum { D = 64 };
    shoal_rng rng = shoal_rng_init(2);
    const double scales[] = {1e-30, 1e-3, 1.0, 7e4, 1e20, 1e37};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        float x[D];
        float y[D];
        for (size_t k = 0; k < D; k++) {
            y[k] = x[k] = (float)(shoal_rng_normal(&rng) * scales[i]);
        }
        y[0] = x[0] = (float)(1000.0 * scales[i] > 3e38 ? 3e38 : 1000.0 * scales[i]);
        (void)shoal_row_round(y, D);
        for (size_t k = 0; k < D; k++) {
            assert_true(fabsf(y[k] - x[k]) <= fabsf(x[k]) * 0x1p-11f);
        }
    }
    float odd[D] = {0};
    (void)shoal_row_round(odd, D);
    assert_true(odd[0] == 0.0f && odd[D - 1] == 0.0f);
    odd[3] = INFINITY;
    odd[4] = NAN;
    (void)shoal_row_round(odd, D);
    assert_true(isinf(odd[3]) && isnan(odd[4]));
}

/* ---- the same bits ----------------------------------------------------------------------------
 */

static void check_bits(const shoal_tiny_opts *opts, unsigned threads, bool exact)
{
    static bench b;
    open_bench(&b, opts, threads, exact);
    float *want = shoal_alloc(b.a->n_params * sizeof *want);
    float *got = shoal_alloc(b.a->n_params * sizeof *got);
    assert_true(want != NULL && got != NULL);
    (void)unlink(path);
    train(&b, NULL, STEPS, want);
    shoal_lower_stats cold = check_same(&b, want, got);
    shoal_lower_stats warm = check_same(&b, want, got);
    assert_int_equal(cold.n_present, cold.n_rows);
    assert_int_equal(warm.n_present, cold.n_rows);
    assert_int_equal(warm.rows_computed, 0);
    assert_true(cold.rows_computed > 0 && cold.rows_read > 0);
    assert_int_equal(cold.n_damaged + warm.n_damaged, 0);
    for (uint64_t room = 0; room < cold.file_bytes; room += cold.file_bytes / 3 + 1) {
        (void)unlink(path); /* of other numbers, and the file is bound to them */
        shoal_error err = {0};
        shoal_lower_cache *c = open_cache(&b, room);
        ok(shoal_lower_cache_attach(c, path, &err), &err);
        train(&b, c, STEPS, got);
        assert_memory_equal(got, want, b.a->n_params * sizeof *want);
        assert_true(shoal_lower_cache_get_stats(c).file_bytes <= room);
        shoal_lower_cache_close(c);
    }
    (void)unlink(path);
    shoal_free(want);
    shoal_free(got);
    close_bench(&b);
}

static void test_same_bits_cold_warm_small_and_without(void **state)
{
    (void)state;
    check_bits(&LLAMA, 1, true);
    check_bits(&LLAMA, 2, false);
    check_bits(&WINDOWS, 1, false);
    check_bits(&WINDOWS, 2, true);
}

/* What is kept of a text does not depend on what it was packed with: filled in other company, the
 * file has the same bytes. */
static void fill_alone_or_together(bench *b, size_t at_once, uint8_t *file, size_t *n)
{
    shoal_error err = {0};
    (void)unlink(path);
    shoal_lower_cache *c = open_attached(b);
    shoal_trainer_use_cache(b->tr, c);
    for (size_t i = 0; i < N_TEXTS; i += at_once) {
        shoal_loss loss = {.nll = NULL};
        size_t some = N_TEXTS - i < at_once ? N_TEXTS - i : at_once;
        ok(shoal_trainer_loss(b->tr, b->texts.items + i, some, &loss, &err), &err);
    }
    shoal_trainer_use_cache(b->tr, NULL);
    shoal_lower_stats s = shoal_lower_cache_get_stats(c);
    assert_int_equal(s.n_present, s.n_rows);
    shoal_lower_cache_close(c);
    *n = read_file(file);
}

static void check_company(const shoal_tiny_opts *opts, bool exact)
{
    static bench b;
    static uint8_t want[FILE_MAX];
    static uint8_t got[FILE_MAX];
    size_t n = 0;
    size_t m = 0;
    open_bench(&b, opts, 1, exact);
    fill_alone_or_together(&b, 1, want, &n);
    for (size_t at_once = 2; at_once <= N_TEXTS; at_once += 3) {
        fill_alone_or_together(&b, at_once, got, &m);
        assert_int_equal(n, m);
        assert_memory_equal(got, want, n);
    }
    (void)unlink(path);
    close_bench(&b);
}

static void test_rows_do_not_depend_on_company(void **state)
{
    (void)state;
    check_company(&LLAMA, true);
    check_company(&LLAMA, false);
    check_company(&WINDOWS, true);
}

/* ---- work -------------------------------------------------------------------------------------
 */

/* Layers that run in one pass over all texts, counted by what they ask the residency for. */
static uint64_t layers_run(bench *b, shoal_lower_cache *c)
{
    shoal_error err = {0};
    shoal_loss loss = {.nll = NULL};
    uint64_t before = shoal_residency_get_stats(b->m).needs;
    shoal_trainer_use_cache(b->tr, c);
    ok(shoal_trainer_accumulate(b->tr, b->texts.items, N_TEXTS, 0.01f, &loss, &err), &err);
    shoal_trainer_use_cache(b->tr, NULL);
    return shoal_residency_get_stats(b->m).needs - before;
}

static void test_lower_layers_run_once(void **state)
{
    (void)state;
    static bench b;
    const shoal_tiny_opts large = {.n_layer = 4, .n_embd = 256, .n_ff = 512, .plain_types = true};
    char model[128];
    shoal_error err = {0};
    fill_crowd(&b.texts);
    ok(shoal_tiny_model_temp(model, 3, &large, &err), &err);
    shoal_status st = shoal_model_open_pages(&b.m, model, SHOAL_PAGES_SMALL, &err);
    (void)remove(model);
    ok(st, &err);
    ok(shoal_residency_open_layers(b.m, shoal_residency_least_layers(b.m), &err), &err);
    b.a = fixture_adapter(b.m, 4, SHOAL_TARGETS_ALL, FIRST_LAYER, 7);
    fixture_exec_open(&b.f, 1, false);
    b.tr = fixture_trainer(b.m, b.a, &b.f.ex, TOKENS, SHOAL_RECOMPUTE_OFF);

    uint64_t without = layers_run(&b, NULL);
    shoal_lower_cache *c = open_attached(&b);
    assert_int_equal(layers_run(&b, c), without);
    shoal_lower_stats first = shoal_lower_cache_get_stats(c);
    uint64_t packs = without / 6; /* four layers forward, two backward */
    assert_int_equal(without, 6 * packs);
    uint64_t loads = shoal_residency_get_stats(b.m).loads;
    assert_int_equal(layers_run(&b, c), 4 * packs); /* two and two */
    loads = shoal_residency_get_stats(b.m).loads - loads;
    print_message("%d packs, %d loads of layers\n", (int)packs, (int)loads);
    assert_true(loads <= 5 * packs + 2); /* none of them of a lower one */
    shoal_lower_stats second = shoal_lower_cache_get_stats(c);
    assert_int_equal(second.rows_computed, first.rows_computed);
    assert_int_equal(second.rows_read - first.rows_read, first.rows_computed + first.rows_read);
    shoal_lower_cache_close(c);
    (void)unlink(path);
    close_bench(&b);
}

static void test_pays_only_with_enough_below(void **state)
{
    (void)state;
    shoal_model *m = fixture_model(5, &LLAMA);
    assert_false(shoal_lower_cache_pays(m, 0, false));
    assert_true(shoal_lower_cache_pays(m, 2, false));
    shoal_model_close(m);
}

/* ---- what may happen to the file --------------------------------------------------------------
 */

static bench fb;           /* of the tests below */
static float *want_params; /* without a cache */
static float *got_params;

static int open_faults(void **state)
{
    (void)state;
    open_bench(&fb, &LLAMA, 1, false);
    want_params = shoal_alloc(fb.a->n_params * sizeof *want_params);
    got_params = shoal_alloc(fb.a->n_params * sizeof *got_params);
    train(&fb, NULL, STEPS, want_params);
    (void)unlink(path);
    return 0;
}

static int close_faults(void **state)
{
    (void)state;
    (void)unlink(path);
    shoal_free(want_params);
    shoal_free(got_params);
    close_bench(&fb);
    return 0;
}

static void test_file_is_private_and_stays(void **state)
{
    (void)state;
    struct stat sb;
    (void)check_same(&fb, want_params, got_params);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
}

/* A run that ended anywhere: what it left is used. */
static void test_goes_on_after_any_step(void **state)
{
    (void)state;
    uint32_t before = 0;
    for (size_t steps = 0; steps <= STEPS; steps++) {
        (void)unlink(path);
        shoal_lower_cache *c = open_attached(&fb);
        train(&fb, c, steps, got_params);
        uint32_t left = shoal_lower_cache_get_stats(c).n_present;
        shoal_lower_cache_close(c);
        assert_true(left >= before);
        before = left;
        shoal_lower_stats s = check_same(&fb, want_params, got_params);
        assert_false(s.foreign);
        assert_int_equal(s.n_present, s.n_rows);
    }
}

/* One changed byte, everywhere in the header and at every kind of place in rows. */
static void test_damage_costs_its_row_alone(void **state)
{
    (void)state;
    static uint8_t file[FILE_MAX];
    (void)unlink(path);
    (void)check_same(&fb, want_params, got_params);
    size_t n = read_file(file);
    size_t row = shoal_row_bytes(fb.m->cfg.n_embd, false);
    for (size_t at = 0; at < n; at = at < 40 ? at + 3 : at + row / 3 * 41 + 1) {
        if (at >= 40 && at < HEADER) at = HEADER; /* between the two nothing is kept */
        file[at] ^= 0x10;
        write_file(file, n);
        file[at] ^= 0x10;
        shoal_lower_stats s = check_same(&fb, want_params, got_params);
        assert_int_equal(s.foreign, at < HEADER);
        assert_int_equal(s.n_damaged, at < HEADER ? 0 : 1);
        assert_int_equal(s.n_present, s.n_rows);
        assert_true(at < HEADER || s.rows_computed < s.rows_read / 4);
    }
}

static void test_any_length_is_used(void **state)
{
    (void)state;
    static uint8_t file[FILE_MAX];
    size_t n = read_file(file);
    for (size_t cut = 0; cut < n; cut += n / 9 + 5) {
        write_file(file, cut);
        shoal_lower_stats s = check_same(&fb, want_params, got_params);
        assert_int_equal(s.foreign, cut < 40);
        assert_int_equal(s.n_present, s.n_rows);
    }
}

/* Damage while it is in use. */
static void test_damage_in_mid_run(void **state)
{
    (void)state;
    static uint8_t file[FILE_MAX];
    size_t n = read_file(file);
    shoal_lower_cache *c = open_attached(&fb);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    memset(file + n / 2, 0x55, n / 4);
    assert_int_equal(pwrite(fd, file + n / 2, n / 4, (off_t)(n / 2)), (ssize_t)(n / 4));
    assert_int_equal(ftruncate(fd, (off_t)(n - n / 8)), 0);
    assert_int_equal(close(fd), 0);
    train(&fb, c, STEPS, got_params);
    shoal_lower_stats s = shoal_lower_cache_get_stats(c);
    assert_true(s.n_damaged > s.n_rows / 4);
    assert_int_equal(s.n_present, s.n_rows);
    shoal_lower_cache_close(c);
    assert_memory_equal(got_params, want_params, fb.a->n_params * sizeof *want_params);
}

static void test_strange_files_are_replaced(void **state)
{
    (void)state;
    char target[TEMP_DIR_MAX + 16];
    (void)snprintf(target, sizeof target, "%s/target", dir);
    (void)unlink(path);
    assert_int_equal(symlink(target, path), 0);
    assert_true(check_same(&fb, want_params, got_params).foreign);
    assert_int_not_equal(access(target, F_OK), 0);
    assert_int_equal(chmod(path, 0660), 0); /* others may have written to it */
    assert_true(check_same(&fb, want_params, got_params).foreign);
    (void)unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    shoal_error err = {0};
    shoal_lower_cache *c = open_cache(&fb, ROOM);
    assert_int_not_equal(shoal_lower_cache_attach(c, path, &err), SHOAL_OK);
    train(&fb, c, STEPS, got_params); /* without a file: as without a cache */
    shoal_lower_cache_close(c);
    assert_memory_equal(got_params, want_params, fb.a->n_params * sizeof *want_params);
    assert_int_equal(rmdir(path), 0);
}

/* A file of other texts, of another layer or of the other mode. */
static void test_other_bindings_are_foreign(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)check_same(&fb, want_params, got_params);
    fb.texts.ids[2][4]++;
    shoal_lower_cache *c = open_attached(&fb);
    fb.texts.ids[2][4]--;
    assert_true(shoal_lower_cache_get_stats(c).foreign);
    shoal_lower_cache_close(c);
    assert_true(check_same(&fb, want_params, got_params).foreign);
    fb.f.ex.exact = true;
    c = open_attached(&fb);
    fb.f.ex.exact = false;
    assert_true(shoal_lower_cache_get_stats(c).foreign);
    shoal_lower_cache_close(c);
}

static void test_full_disk_goes_on_without(void **state)
{
    (void)state;
    shoal_error err = {0};
    for (uint64_t nth = 1; nth < 20; nth += nth < 4 ? 1 : 5) {
        (void)unlink(path);
        shoal_lower_cache *c = open_cache(&fb, ROOM);
        shoal_file_fail_at(nth, ENOSPC);
        shoal_status st = shoal_lower_cache_attach(c, path, &err);
        assert_int_equal(st, nth == 1 ? SHOAL_ERR_FULL : SHOAL_OK);
        train(&fb, c, STEPS, got_params);
        shoal_file_fail_at(0, 0);
        shoal_lower_stats s = shoal_lower_cache_get_stats(c);
        shoal_lower_cache_close(c);
        assert_int_equal(s.full, nth > 1);
        assert_true(s.n_present < s.n_rows);
        assert_memory_equal(got_params, want_params, fb.a->n_params * sizeof *want_params);
    }
    (void)check_same(&fb, want_params, got_params); /* and what it left is whole */
}

static void test_open_out_of_memory(void **state)
{
    (void)state;
    const shoal_lower_texts texts = {fb.texts.items, N_TEXTS};
    const shoal_lower_options o = {FIRST_LAYER, TOKENS, ROOM, &texts, 1};
    shoal_error err = {0};
    for (uint64_t nth = 1;; nth++) {
        shoal_lower_cache *c = NULL;
        shoal_mem_fail_at(nth, false);
        shoal_status st = shoal_lower_cache_open(&c, fb.m, &fb.f.ex, &o, &err);
        shoal_mem_fail_at(0, false);
        if (st == SHOAL_OK) {
            assert_true(nth > 4);
            shoal_lower_cache_close(c);
            return;
        }
        assert_int_equal(st, SHOAL_ERR_NOMEM);
        assert_null(c);
    }
}

static int make_dir(void **state)
{
    (void)state;
    temp_dir_make(dir);
    (void)snprintf(path, sizeof path, "%s/states", dir);
    return open_faults(state);
}

static int remove_dir(void **state)
{
    int rc = close_faults(state);
    temp_dir_remove(dir);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_beginnings_have_equal_numbers),
        cmocka_unit_test(test_numbers_have_a_maximum),
        cmocka_unit_test(test_rounding_keeps_any_scale),
        cmocka_unit_test(test_same_bits_cold_warm_small_and_without),
        cmocka_unit_test(test_rows_do_not_depend_on_company),
        cmocka_unit_test(test_lower_layers_run_once),
        cmocka_unit_test(test_pays_only_with_enough_below),
        cmocka_unit_test(test_file_is_private_and_stays),
        cmocka_unit_test(test_goes_on_after_any_step),
        cmocka_unit_test(test_damage_costs_its_row_alone),
        cmocka_unit_test(test_any_length_is_used),
        cmocka_unit_test(test_damage_in_mid_run),
        cmocka_unit_test(test_strange_files_are_replaced),
        cmocka_unit_test(test_other_bindings_are_foreign),
        cmocka_unit_test(test_full_disk_goes_on_without),
        cmocka_unit_test(test_open_out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
