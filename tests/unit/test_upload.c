/* test_upload.c - chunks of masked inputs: their places, hashes and repeats, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/upload.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/support/temp_dir.h"

enum { TOTAL = 2 * SHOAL_LIMIT_CHUNK + 1000, CHUNKS = 3 };

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    shoal_uploads *u;
    uint8_t *m5;
    uint8_t ends[CHUNKS][32];
} fixture;

static void make_ends(fixture *f)
{
    uint8_t hash[32] = {0};
    for (size_t k = 0; k < CHUNKS; k++) {
        size_t at = k * SHOAL_LIMIT_CHUNK;
        assert_int_equal(
            shoal_upload_extend(hash, f->m5 + at, shoal_upload_chunk_bytes(TOTAL, at), NULL),
            SHOAL_OK);
        memcpy(f->ends[k], hash, 32);
    }
}

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    temp_dir_make(f->dir);
    f->m5 = test_malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        f->m5[i] = (uint8_t)(i * 31 + i / 4099);
    make_ends(f);
    assert_int_equal(shoal_uploads_open(&f->u, f->dir, TOTAL, NULL), SHOAL_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    shoal_uploads_close(f->u);
    temp_dir_remove(f->dir);
    test_free(f->m5);
    test_free(f);
    return 0;
}

static shoal_upload_chunk chunk(const fixture *f, size_t k)
{
    size_t at = k * SHOAL_LIMIT_CHUNK;
    return (shoal_upload_chunk){.offset = at,
                                .hash = f->ends[k],
                                .data = f->m5 + at,
                                .n = shoal_upload_chunk_bytes(TOTAL, at)};
}

static shoal_status append(fixture *f, const uint8_t *id, size_t k)
{
    shoal_upload_chunk c = chunk(f, k);
    return shoal_uploads_append(f->u, id, &c, NULL);
}

static shoal_status repeat(fixture *f, const uint8_t *id, size_t k)
{
    shoal_upload_chunk c = chunk(f, k);
    return shoal_uploads_repeat(f->u, id, &c, NULL);
}

static const uint8_t A[SHOAL_ID_BYTES] = {1}, B[SHOAL_ID_BYTES] = {2};

static size_t files_in(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void the_grid_of_chunks(void **state)
{
    (void)state;
    assert_int_equal(shoal_upload_chunks(1), 1);
    assert_int_equal(shoal_upload_chunks(SHOAL_LIMIT_CHUNK), 1);
    assert_int_equal(shoal_upload_chunks(SHOAL_LIMIT_CHUNK + 1), 2);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, 0), SHOAL_LIMIT_CHUNK);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, 2 * SHOAL_LIMIT_CHUNK), 1000);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, 1), 0);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, TOTAL), 0);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, 3 * SHOAL_LIMIT_CHUNK), 0);
    assert_int_equal(shoal_upload_chunk_bytes(TOTAL, UINT64_MAX - SHOAL_LIMIT_CHUNK + 1), 0);
}

static void a_state_is_read_exactly(void **state)
{
    (void)state;
    shoal_buf b = shoal_buf_init(64);
    shoal_upload_state s = {.have = SHOAL_LIMIT_CHUNK, .hash = {7}}, got;
    assert_true(shoal_upload_state_encode(&s, &b));
    assert_int_equal(b.len, SHOAL_UPLOAD_STATE_BYTES);
    assert_int_equal(shoal_upload_state_decode(b.data, b.len, TOTAL, &got, NULL), SHOAL_OK);
    assert_int_equal(got.have, s.have);
    assert_memory_equal(got.hash, s.hash, 32);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(shoal_upload_state_decode(b.data, n, TOTAL, &got, NULL), SHOAL_ERR_FORMAT);
    assert_true(shoal_buf_put_u8(&b, 0));
    assert_int_equal(shoal_upload_state_decode(b.data, b.len, TOTAL, &got, NULL), SHOAL_ERR_FORMAT);
    static const uint64_t nowhere[] = {1, SHOAL_LIMIT_CHUNK + 1, TOTAL + 1, UINT64_MAX, 0};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) { /* 0 with a hash, too */
        s.have = nowhere[i];
        b.len = 0;
        assert_true(shoal_upload_state_encode(&s, &b));
        assert_int_equal(shoal_upload_state_decode(b.data, b.len, TOTAL, &got, NULL),
                         SHOAL_ERR_FORMAT);
    }
    shoal_buf_clear(&b);
}

/* Spec 3.6.1 */
static void chunks_come_in_order_and_as_they_say(void **state)
{
    fixture *f = *state;
    assert_int_equal(append(f, A, 1), SHOAL_ERR_AGAIN);
    assert_int_equal(append(f, A, 0), SHOAL_OK);
    assert_int_equal(append(f, A, 2), SHOAL_ERR_AGAIN);
    shoal_upload_chunk c = chunk(f, 1);
    c.hash = f->ends[2];
    assert_int_equal(shoal_uploads_append(f->u, A, &c, NULL), SHOAL_ERR_TAMPERED);
    c = chunk(f, 1);
    c.n--;
    assert_int_equal(shoal_uploads_append(f->u, A, &c, NULL), SHOAL_ERR_FORMAT);
    c = chunk(f, 1);
    c.offset++;
    assert_int_equal(shoal_uploads_append(f->u, A, &c, NULL), SHOAL_ERR_FORMAT);
    shoal_upload_state s = shoal_uploads_state(f->u, A);
    assert_int_equal(s.have, SHOAL_LIMIT_CHUNK);
    assert_memory_equal(s.hash, f->ends[0], 32);
    assert_int_equal(shoal_uploads_state(f->u, B).have, 0);
    assert_int_equal(append(f, A, 1), SHOAL_OK);
    assert_false(shoal_uploads_whole(f->u, A));
    assert_int_equal(append(f, A, 2), SHOAL_OK);
    assert_true(shoal_uploads_whole(f->u, A));
}

/* Spec 3.6.1: a repeat is known by its running hash, before and after the input was counted. */
static void repeats_are_known(void **state)
{
    fixture *f = *state;
    shoal_buf back = shoal_buf_init(TOTAL);
    assert_int_equal(repeat(f, A, 0), SHOAL_ERR_NOT_FOUND);
    for (size_t k = 0; k < CHUNKS; k++) {
        assert_int_equal(append(f, A, k), SHOAL_OK);
        assert_int_equal(repeat(f, A, k), SHOAL_OK);
    }
    shoal_upload_chunk c = chunk(f, 1);
    c.hash = f->ends[0];
    assert_int_equal(shoal_uploads_repeat(f->u, A, &c, NULL), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_uploads_read(f->u, A, &back, NULL), SHOAL_OK);
    assert_int_equal(back.len, TOTAL);
    assert_memory_equal(back.data, f->m5, TOTAL);
    shoal_uploads_keep_hashes(f->u, A);
    assert_false(shoal_uploads_whole(f->u, A));
    assert_int_equal(shoal_uploads_state(f->u, A).have, TOTAL);
    shoal_uploads_forget_unfinished(f->u);
    for (size_t k = 0; k < CHUNKS; k++)
        assert_int_equal(repeat(f, A, k), SHOAL_OK);
    assert_int_equal(shoal_uploads_repeat(f->u, A, &c, NULL), SHOAL_ERR_DENIED);
    c.offset = 1;
    assert_int_equal(shoal_uploads_repeat(f->u, A, &c, NULL), SHOAL_ERR_NOT_FOUND);
    shoal_buf_clear(&back);
}

/* Places are used again: what is on disk follows from how many are unfinished, not from how many
 * there were; and the file has no name, so that nothing stays after a kill. */
static void places_are_used_again(void **state)
{
    fixture *f = *state;
    assert_int_equal(append(f, B, 0), SHOAL_OK);
    assert_int_equal(files_in(f->dir), 0);
    for (uint8_t i = 10; i < 40; i++) {
        uint8_t id[SHOAL_ID_BYTES] = {i};
        for (size_t k = 0; k < CHUNKS; k++)
            assert_int_equal(append(f, id, k), SHOAL_OK);
        assert_int_equal(shoal_uploads_disk_bytes(f->u), 2 * TOTAL);
        shoal_uploads_keep_hashes(f->u, id);
    }
    shoal_uploads_forget_unfinished(f->u);
    assert_int_equal(shoal_uploads_disk_bytes(f->u), 0);
    assert_int_equal(shoal_uploads_state(f->u, B).have, 0);
    assert_int_equal(append(f, B, 0), SHOAL_OK); /* from the beginning */
    shoal_uploads_forget(f->u, B);
    assert_int_equal(shoal_uploads_disk_bytes(f->u), 0);
}

static void a_full_disk_changes_nothing(void **state)
{
    fixture *f = *state;
    assert_int_equal(append(f, A, 0), SHOAL_OK);
    shoal_file_fail_at(1, ENOSPC);
    assert_int_equal(append(f, A, 1), SHOAL_ERR_FULL);
    shoal_file_fail_at(0, 0);
    assert_int_equal(shoal_uploads_state(f->u, A).have, SHOAL_LIMIT_CHUNK);
    assert_int_equal(append(f, A, 1), SHOAL_OK);
    assert_int_equal(append(f, A, 2), SHOAL_OK);
    assert_true(shoal_uploads_whole(f->u, A));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grid_of_chunks),
        cmocka_unit_test(a_state_is_read_exactly),
        cmocka_unit_test_setup_teardown(chunks_come_in_order_and_as_they_say, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeats_are_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_are_used_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_changes_nothing, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
