/* Adapter files in memory: read once beside the loop, whoever asks meanwhile waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "aggregator/blob.h"
#include "aggregator/blob_cache.h"
#include "kernels/base/file.h"
#include "proto/crypto.h"
#include "tests/support/temp_dir.h"

enum { FILES = 10, BYTES = 100000 };

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    shoal_loop *loop;
    shoal_blob_cache *cache;
    bool running;
    uint8_t hash[FILES][32];
} fixture;

/* What one of those who asked got. */
typedef struct answer {
    fixture *f;
    size_t n;
    shoal_blob *blob;
    shoal_status st;
    bool keep;
    size_t *left; /* the loop stops with the last */
} answer;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    static uint8_t data[BYTES];
    char path[TEMP_DIR_MAX + 80];
    assert_non_null(f);
    temp_dir_make(f->dir);
    (void)snprintf(path, sizeof path, "%s/blobs", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < FILES; i++) {
        memset(data, (int)i, sizeof data);
        assert_int_equal(shoal_blob_put(f->dir, data, sizeof data, f->hash[i], NULL), SHOAL_OK);
    }
    assert_int_equal(shoal_loop_open(&f->loop, NULL), SHOAL_OK);
    assert_int_equal(shoal_blob_cache_open(&f->cache, f->loop, f->dir, NULL), SHOAL_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    shoal_loop_close(f->loop);
    shoal_blob_cache_close(f->cache);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

static void take(void *ctx, shoal_blob *blob, shoal_status st, const shoal_error *err)
{
    answer *a = ctx;
    size_t n;
    a->n++;
    a->st = st;
    a->blob = blob;
    assert_int_equal(blob != NULL, st == SHOAL_OK);
    assert_int_equal(err != NULL, st != SHOAL_OK);
    if (blob != NULL) {
        (void)shoal_blob_bytes(blob, &n);
        assert_true(n > 0);
        if (!a->keep) {
            shoal_blob_release(blob);
        }
    }
    if (a->left != NULL && --*a->left == 0 && a->f->running) {
        shoal_loop_stop(a->f->loop); /* a stop outside would end the next run */
    }
}

static void run(fixture *f)
{
    f->running = true;
    shoal_loop_run(f->loop);
    f->running = false;
}

/* Asks `many` times for a file before the loop runs; all must be answered alike. */
static shoal_status ask(fixture *f, const uint8_t hash[32], size_t many)
{
    answer a[16] = {{0}};
    size_t left = many;
    for (size_t i = 0; i < many; i++) {
        a[i] = (answer){.f = f, .left = &left};
        shoal_blob_use(f->cache, hash, NULL, take, &a[i]);
    }
    if (left > 0) {
        run(f);
    }
    for (size_t i = 0; i < many; i++) {
        assert_int_equal(a[i].n, 1);
        assert_int_equal(a[i].st, a[0].st);
        assert_ptr_equal(a[i].blob, a[0].blob);
    }
    return a[0].st;
}

static void test_one_read_for_all(void **state)
{
    fixture *f = *state;
    answer a = {.f = f};
    assert_int_equal(ask(f, f->hash[0], 16), SHOAL_OK);
    shoal_blob_use(f->cache, f->hash[0], NULL, take, &a); /* there: at once */
    assert_int_equal(a.n, 1);
    assert_int_equal(a.st, SHOAL_OK);
}

static void path_of(const fixture *f, size_t i, char *path, size_t cap)
{
    char hex[65];
    shoal_hex_encode(f->hash[i], 32, hex);
    (void)snprintf(path, cap, "%s/blobs/%s", f->dir, hex);
}

static void test_damage_is_told_and_forgotten(void **state)
{
    fixture *f = *state;
    char path[TEMP_DIR_MAX + 80];
    static uint8_t good[BYTES];
    path_of(f, 1, path, sizeof path);
    assert_int_equal(shoal_file_write_atomic(path, "other", 5, 0644, NULL), SHOAL_OK);
    assert_int_equal(ask(f, f->hash[1], 3), SHOAL_ERR_TAMPERED);
    memset(good, 1, sizeof good);
    assert_int_equal(shoal_file_write_atomic(path, good, sizeof good, 0644, NULL), SHOAL_OK);
    assert_int_equal(ask(f, f->hash[1], 3), SHOAL_OK);
}

static void test_deltas(void **state)
{
    fixture *f = *state;
    answer a = {.f = f}, b = {.f = f};
    size_t left = 1;
    shoal_buf delta = shoal_buf_init(100);
    shoal_blob_use(f->cache, f->hash[1], f->hash[0], take, &a);
    assert_int_equal(a.n, 1); /* not there: at once */
    assert_int_equal(a.st, SHOAL_ERR_NOT_FOUND);
    assert_true(shoal_buf_put(&delta, "delta", 5));
    assert_int_equal(shoal_blob_put_delta(f->dir, f->hash[0], f->hash[1], &delta, NULL), SHOAL_OK);
    b.left = &left;
    b.keep = true;
    shoal_blob_use(f->cache, f->hash[1], f->hash[0], take, &b);
    run(f);
    size_t n;
    assert_non_null(b.blob);
    assert_memory_equal(shoal_blob_bytes(b.blob, &n), "delta", 5);
    assert_int_equal(n, 5);
    shoal_blob_release(b.blob);
    shoal_buf_clear(&delta);
}

/* Slow readers keep what they read, and keep nobody else out. */
static void test_full(void **state)
{
    fixture *f = *state;
    answer a[9] = {{0}};
    size_t left = 8;
    for (size_t i = 0; i < 8; i++) {
        a[i] = (answer){.f = f, .keep = true, .left = &left};
        shoal_blob_use(f->cache, f->hash[i], NULL, take, &a[i]);
    }
    a[8] = (answer){.f = f};
    shoal_blob_use(f->cache, f->hash[8], NULL, take, &a[8]); /* eight are being read */
    assert_int_equal(a[8].st, SHOAL_ERR_AGAIN);
    run(f);
    assert_int_equal(ask(f, f->hash[8], 2), SHOAL_OK); /* the oldest in use leaves its slot */
    for (size_t i = 0; i < 8; i++) {
        size_t n;
        const uint8_t *bytes = shoal_blob_bytes(a[i].blob, &n); /* but stays for who reads it */
        assert_int_equal(n, BYTES);
        assert_int_equal(bytes[BYTES - 1], i);
        shoal_blob_release(a[i].blob);
    }
    assert_int_equal(ask(f, f->hash[0], 1), SHOAL_OK); /* read anew */
}

/* A loop that ends waits for what is being read, and tells those who asked. */
static void test_end_while_reading(void **state)
{
    fixture *f = *state;
    answer a = {.f = f};
    shoal_blob_use(f->cache, f->hash[0], NULL, take, &a);
    assert_int_equal(a.n, 0);
    shoal_loop_close(f->loop);
    f->loop = NULL;
    assert_int_equal(a.n, 1);
    assert_int_equal(a.st, SHOAL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_read_for_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_told_and_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deltas, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_while_reading, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
