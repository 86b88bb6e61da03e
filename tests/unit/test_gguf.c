/* test_gguf.c - the reader against files that lie; the writer against the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/model/gguf.h"
#include "lora/model/gguf_write.h"

enum { MAX_FILE = 1 << 22 };

/* Opens bytes as a file would be; closes again. Errors must carry a message. */
static shoal_status try_open(const shoal_buf *file, shoal_error *err)
{
    shoal_gguf *g = NULL;
    shoal_error local = {0};
    err = err == NULL ? &local : err;
    void *copy = shoal_alloc(file->len); /* exactly as long, so that a sanitizer sees any overrun */
    memcpy(copy, file->data, file->len);
    shoal_status st = shoal_gguf_open_memory(&g, copy, file->len, "test", err);
    assert_true((st == SHOAL_OK) == (g != NULL));
    if (st != SHOAL_OK) assert_memory_equal(err->msg, "test", 4);
    shoal_gguf_close(g);
    shoal_free(copy);
    return st;
}

/* A small file with every kind of value and three tensors. */
static shoal_buf small_file(void)
{
    shoal_gguf_writer w = shoal_gguf_writer_init(MAX_FILE);
    const shoal_str words[] = {{"one", 3}, {"", 0}, {"th\0ree", 6}};
    const int32_t numbers[] = {1, -2, INT32_MAX};
    float f32[64];
    uint8_t q8[2 * 34] = {0};
    for (size_t i = 0; i < 64; i++) {
        f32[i] = (float)i * 0.5f;
    }
    shoal_quantize(SHOAL_TYPE_Q8_0, f32, q8, 64);
    shoal_gguf_put_str(&w, "a.str", (shoal_str){"va\0lue", 6});
    shoal_gguf_put_u32(&w, "a.u32", 4000000000u);
    shoal_gguf_put_u64(&w, "a.u64", UINT64_MAX);
    shoal_gguf_put_f32(&w, "a.f32", 1.25f);
    shoal_gguf_put_bool(&w, "a.bool", true);
    shoal_gguf_put_strs(&w, "a.strs", words, 3);
    shoal_gguf_put_i32s(&w, "a.i32s", numbers, 3);
    shoal_gguf_put_vector(&w, "vec", f32, 8);
    shoal_gguf_put_matrix(&w, "mat.q8", SHOAL_TYPE_Q8_0, 2, 32, q8);
    shoal_gguf_put_matrix(&w, "mat.f32", SHOAL_TYPE_F32, 8, 8, f32);
    shoal_buf file = shoal_buf_init(MAX_FILE);
    assert_int_equal(shoal_gguf_writer_finish(&w, &file, NULL), SHOAL_OK);
    shoal_gguf_writer_clear(&w);
    return file;
}

static void check_values(const shoal_gguf *g)
{
    uint64_t u = 0;
    float f = 0.0f;
    bool b = false;
    shoal_str s = {NULL, 0};
    const shoal_gguf_kv *kv = NULL;
    shoal_error err = {0};
    assert_int_equal(shoal_gguf_get_uint(g, "a.u32", UINT32_MAX, &u, &err), SHOAL_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(shoal_gguf_get_uint(g, "a.u64", UINT64_MAX, &u, &err), SHOAL_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(shoal_gguf_get_uint(g, "a.u64", UINT32_MAX, &u, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_f32(g, "a.f32", &f, &err), SHOAL_OK);
    assert_true(f == 1.25f);
    assert_int_equal(shoal_gguf_get_bool(g, "a.bool", &b, &err), SHOAL_OK);
    assert_true(b);
    assert_int_equal(shoal_gguf_get_str(g, "a.str", &s, &err), SHOAL_OK);
    assert_int_equal(s.n, 6);
    assert_memory_equal(s.p, "va\0lue", 6);
    assert_int_equal(shoal_gguf_get_array(g, "a.i32s", SHOAL_GGUF_I32, &kv, &err), SHOAL_OK);
    assert_int_equal(shoal_gguf_array_i32(kv, 1), -2);
    assert_int_equal(shoal_gguf_get_array(g, "a.strs", SHOAL_GGUF_STRING, &kv, &err), SHOAL_OK);
    shoal_gguf_strings it = shoal_gguf_strings_of(kv);
    size_t n = 0;
    while (shoal_gguf_strings_next(&it, &s)) {
        n++;
    }
    assert_int_equal(n, 3);
    assert_memory_equal(s.p, "th\0ree", 6);
}

/* A value of one type asked for as another is an error, never a cast. */
static void check_wrong_types(const shoal_gguf *g)
{
    uint64_t u = 0;
    float f = 0.0f;
    bool b = false;
    shoal_str s = {NULL, 0};
    const shoal_gguf_kv *kv = NULL;
    assert_int_equal(shoal_gguf_get_uint(g, "a.str", 9, &u, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_uint(g, "a.i32s", 9, &u, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_f32(g, "a.u32", &f, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_bool(g, "a.u32", &b, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_str(g, "a.strs", &s, NULL), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_array(g, "a.i32s", SHOAL_GGUF_F32, &kv, NULL),
                     SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_array(g, "a.str", SHOAL_GGUF_STRING, &kv, NULL),
                     SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_str(g, "none", &s, NULL), SHOAL_ERR_NOT_FOUND);
}

static void check_tensors(const shoal_gguf *g)
{
    shoal_mat m;
    shoal_error err = {0};
    assert_int_equal(shoal_gguf_tensor_count(g), 3);
    assert_int_equal(shoal_gguf_get_mat(g, "vec", 1, 8, &m, &err), SHOAL_OK);
    assert_true(((const float *)m.data)[7] == 3.5f);
    assert_int_equal(shoal_gguf_get_mat(g, "mat.q8", 2, 32, &m, &err), SHOAL_OK);
    assert_int_equal(m.row_bytes, 34);
    assert_int_equal(shoal_gguf_get_mat(g, "mat.q8", 1, 64, &m, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_mat(g, "mat.q8", 32, 2, &m, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_get_mat(g, "other", 2, 32, &m, &err), SHOAL_ERR_NOT_FOUND);
}

static void written_files_read_back(void **state)
{
    (void)state;
    shoal_buf file = small_file();
    shoal_buf again = small_file();
    assert_int_equal(file.len, again.len); /* same calls, same bytes */
    assert_memory_equal(file.data, again.data, file.len);
    shoal_gguf *g = NULL;
    assert_int_equal(shoal_gguf_open_memory(&g, file.data, file.len, "test", NULL), SHOAL_OK);
    assert_int_equal(shoal_gguf_kv_count(g), 7);
    check_values(g);
    check_wrong_types(g);
    check_tensors(g);
    shoal_gguf_close(g);
    file.data[4] = 2; /* version 2 has the same layout */
    assert_int_equal(try_open(&file, NULL), SHOAL_OK);
    shoal_buf_clear(&file);
    shoal_buf_clear(&again);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    shoal_buf file = small_file();
    size_t whole = file.len;
    for (size_t n = 0; n < whole; n++) {
        file.len = n;
        assert_int_equal(try_open(&file, NULL), SHOAL_ERR_FORMAT);
    }
    file.len = whole;
    assert_int_equal(try_open(&file, NULL), SHOAL_OK);
    shoal_buf_clear(&file);
}

/* Every byte changed in several ways: an error or a sound file, never a crash. Whatever opens is
 * read through, so that a wrong bound would be met. */
static void changed_bytes_never_crash(void **state)
{
    (void)state;
    shoal_buf file = small_file();
    const uint8_t changes[] = {0x01, 0x80, 0xff, 0x40, 0x07};
    unsigned long long sum = 0;
    for (size_t at = 0; at < file.len; at++) {
        for (size_t k = 0; k < sizeof changes; k++) {
            file.data[at] ^= changes[k];
            shoal_gguf *g = NULL;
            if (shoal_gguf_open_memory(&g, file.data, file.len, "test", NULL) == SHOAL_OK) {
                for (size_t i = 0; i < shoal_gguf_tensor_count(g); i++) {
                    const shoal_gguf_tensor *t = shoal_gguf_tensor_at(g, i);
                    sum += ((const uint8_t *)t->data)[t->bytes - 1];
                }
                for (size_t i = 0; i < shoal_gguf_kv_count(g); i++) {
                    const shoal_gguf_kv *kv = shoal_gguf_kv_at(g, i);
                    sum += kv->bytes > 0 ? kv->data[kv->bytes - 1] : 0u;
                }
                shoal_gguf_close(g);
            }
            file.data[at] ^= changes[k];
        }
    }
    assert_true(sum > 0);
    shoal_buf_clear(&file);
}

/* ---- files made by hand -----------------------------------------------------------------------
 */

static void put_string(shoal_buf *b, const char *s)
{
    shoal_buf_put_u64(b, strlen(s));
    shoal_buf_put_str(b, s);
}

static shoal_buf begin(uint64_t n_tensors, uint64_t n_kv)
{
    shoal_buf b = shoal_buf_init(MAX_FILE);
    shoal_buf_put_str(&b, "GGUF");
    shoal_buf_put_u32(&b, 3);
    shoal_buf_put_u64(&b, n_tensors);
    shoal_buf_put_u64(&b, n_kv);
    return b;
}

typedef struct fake_tensor {
    const char *name;
    uint32_t n_dims;
    uint64_t dims[5];
    uint32_t type;
    uint64_t offset;
} fake_tensor;

static void put_fake(shoal_buf *b, const fake_tensor *t)
{
    put_string(b, t->name);
    shoal_buf_put_u32(b, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims && i < 5; i++) {
        shoal_buf_put_u64(b, t->dims[i]);
    }
    shoal_buf_put_u32(b, t->type);
    shoal_buf_put_u64(b, t->offset);
}

/* A file of these tensors with `data_bytes` of data; its fate. */
static shoal_status open_fakes(const fake_tensor *t, size_t n, size_t data_bytes, shoal_error *err)
{
    shoal_buf b = begin(n, 0);
    for (size_t i = 0; i < n; i++) {
        put_fake(&b, &t[i]);
    }
    while (b.len % 32 != 0) {
        shoal_buf_put_u8(&b, 0);
    }
    for (size_t i = 0; i < data_bytes; i++) {
        shoal_buf_put_u8(&b, 0);
    }
    shoal_status st = try_open(&b, err);
    shoal_buf_clear(&b);
    return st;
}

static void tensors_that_lie_are_refused(void **state)
{
    (void)state;
    const fake_tensor good = {"t", 2, {32, 2}, 8, 0};
    assert_int_equal(open_fakes(&good, 1, 68, NULL), SHOAL_OK);
    assert_int_equal(open_fakes(&good, 1, 67, NULL), SHOAL_ERR_FORMAT);
    const fake_tensor bad[] = {
        {"t", 0, {0}, 0, 0},                                      /* no dimensions */
        {"t", 5, {1, 1, 1, 1, 1}, 0, 0},                          /* too many */
        {"t", 0xffffffffu, {1}, 0, 0},                            /* far too many */
        {"t", 1, {0}, 0, 0},                                      /* empty */
        {"t", 2, {32, 0}, 8, 0},                                  /* empty rows */
        {"t", 1, {UINT64_MAX}, 0, 0},                             /* huge */
        {"t", 2, {1u << 31, 1u << 31}, 0, 0},                     /* exabytes */
        {"t", 4, {1u << 31, 1u << 31, 1u << 31, 1u << 31}, 0, 0}, /* beyond 64 bits */
        {"t", 4, {65536, 65536, 65536, 65536}, 0, 0},             /* wraps to 0 */
        {"t", 2, {33, 2}, 8, 0},                                  /* half a block */
        {"t", 2, {32, 2}, 8, 16},                                 /* misaligned */
        {"t", 2, {32, 2}, 8, 96},                                 /* beyond the end */
        {"t", 2, {32, 2}, 8, UINT64_MAX - 31},                    /* wraps around */
        {"", 2, {32, 2}, 8, 0},                                   /* no name */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (open_fakes(&bad[i], 1, 128, NULL) != SHOAL_ERR_FORMAT) fail_msg("tensor %zu", i);
    }
    const fake_tensor twice[] = {{"t", 1, {8}, 0, 0}, {"t", 1, {8}, 0, 32}};
    assert_int_equal(open_fakes(twice, 2, 64, NULL), SHOAL_ERR_FORMAT);
    const fake_tensor overlap[] = {{"b", 1, {16}, 0, 0}, {"a", 1, {8}, 0, 32}};
    assert_int_equal(open_fakes(overlap, 2, 96, NULL), SHOAL_ERR_FORMAT);
    const fake_tensor apart[] = {{"b", 1, {8}, 0, 32}, {"a", 1, {8}, 0, 0}};
    assert_int_equal(open_fakes(apart, 2, 64, NULL), SHOAL_OK);
}

/* Known sizes, unknown arithmetic: opens, but a use is refused by name. Unknown: not even that. */
static void types_are_refused_by_name(void **state)
{
    (void)state;
    shoal_error err = {0};
    const fake_tensor unknown = {"odd", 1, {32}, 4, 0};
    assert_int_equal(open_fakes(&unknown, 1, 64, &err), SHOAL_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "odd"));
    assert_true(err.hint[0] != '\0');

    shoal_buf b = begin(1, 0);
    put_fake(&b, &(fake_tensor){"later", 1, {256}, 23, 0}); /* IQ4_XS */
    while (b.len % 32 != 0) {
        shoal_buf_put_u8(&b, 0);
    }
    for (size_t i = 0; i < 136; i++) {
        shoal_buf_put_u8(&b, 0);
    }
    shoal_gguf *g = NULL;
    shoal_mat m;
    assert_int_equal(shoal_gguf_open_memory(&g, b.data, b.len, "test", &err), SHOAL_OK);
    assert_int_equal(shoal_gguf_get_mat(g, "later", 1, 256, &m, &err), SHOAL_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "later"));
    assert_non_null(strstr(err.msg, "IQ4_XS"));
    shoal_gguf_close(g);
    shoal_buf_clear(&b);
}

static void counts_beyond_the_file_are_refused(void **state)
{
    (void)state;
    const uint64_t counts[] = {1, 65536, 65537, UINT32_MAX, (uint64_t)1 << 60, UINT64_MAX};
    uint64_t before = shoal_mem_count();
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        shoal_buf b = begin(counts[i], 0);
        assert_int_equal(try_open(&b, NULL), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&b);
        b = begin(0, counts[i]);
        assert_int_equal(try_open(&b, NULL), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&b);
    }
    assert_true(shoal_mem_count() - before < 100);
}

/* One key of type `type` followed by `tail`; its fate. */
static shoal_status open_kv(const char *key, uint32_t type, const void *tail, size_t n)
{
    shoal_buf b = begin(0, 1);
    put_string(&b, key);
    shoal_buf_put_u32(&b, type);
    shoal_buf_put(&b, tail, n);
    shoal_status st = try_open(&b, NULL);
    shoal_buf_clear(&b);
    return st;
}

static void values_that_lie_are_refused(void **state)
{
    (void)state;
    uint8_t tail[64] = {0};
    assert_int_equal(open_kv("k", SHOAL_GGUF_U32, tail, 4), SHOAL_OK);
    assert_int_equal(open_kv("k", SHOAL_GGUF_U32, tail, 3), SHOAL_ERR_FORMAT);
    assert_int_equal(open_kv("", SHOAL_GGUF_U32, tail, 4), SHOAL_ERR_FORMAT);
    assert_int_equal(open_kv("k", 13, tail, 16), SHOAL_ERR_FORMAT);
    assert_int_equal(open_kv("k", 0xffffffffu, tail, 16), SHOAL_ERR_FORMAT);
    memset(tail, 0xff, 8); /* a string of 2^64 - 1 bytes */
    assert_int_equal(open_kv("k", SHOAL_GGUF_STRING, tail, 64), SHOAL_ERR_FORMAT);
    const uint32_t elems[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    for (size_t i = 0; i < sizeof elems / sizeof elems[0]; i++) {
        memcpy(tail, &elems[i], 4); /* arrays of 2^61 elements: n * 8 wraps to 0 */
        const uint64_t n = (uint64_t)1 << 61;
        memcpy(tail + 4, &n, 8);
        assert_int_equal(open_kv("k", SHOAL_GGUF_ARRAY, tail, 64), SHOAL_ERR_FORMAT);
    }
    const uint32_t nested = SHOAL_GGUF_ARRAY;
    const uint64_t one = 1;
    memcpy(tail, &nested, 4);
    memcpy(tail + 4, &one, 8);
    assert_int_equal(open_kv("k", SHOAL_GGUF_ARRAY, tail, 64), SHOAL_ERR_FORMAT);

    shoal_buf b = begin(0, 2);
    for (int i = 0; i < 2; i++) { /* the same key twice */
        put_string(&b, "k");
        shoal_buf_put_u32(&b, SHOAL_GGUF_U8);
        shoal_buf_put_u8(&b, 1);
    }
    shoal_error err = {0};
    assert_int_equal(try_open(&b, &err), SHOAL_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "twice"));
    shoal_buf_clear(&b);
}

static void odd_alignments_are_refused(void **state)
{
    (void)state;
    const struct {
        uint32_t alignment;
        shoal_status want;
    } cases[] = {{8, SHOAL_OK},
                 {64, SHOAL_OK},
                 {1 << 20, SHOAL_OK},
                 {0, SHOAL_ERR_FORMAT},
                 {1, SHOAL_ERR_FORMAT},
                 {4, SHOAL_ERR_FORMAT},
                 {24, SHOAL_ERR_FORMAT},
                 {1 << 21, SHOAL_ERR_FORMAT},
                 {0x80000000u, SHOAL_ERR_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t tail[4];
        for (size_t k = 0; k < 4; k++) {
            tail[k] = (uint8_t)(cases[i].alignment >> (8 * k));
        }
        assert_int_equal(open_kv("general.alignment", SHOAL_GGUF_U32, tail, 4), cases[i].want);
    }
    uint8_t text[9] = {1, 0, 0, 0, 0, 0, 0, 0, '8'};
    assert_int_equal(open_kv("general.alignment", SHOAL_GGUF_STRING, text, 9), SHOAL_ERR_FORMAT);
}

static void other_files_are_told_apart(void **state)
{
    (void)state;
    shoal_buf b = shoal_buf_init(64);
    shoal_buf_put_str(&b, "PK\x03\x04 not a model at all, but long enough");
    assert_int_equal(try_open(&b, NULL), SHOAL_ERR_FORMAT);
    shoal_buf_clear(&b);
    const uint8_t versions[] = {0, 1, 4};
    for (size_t i = 0; i < sizeof versions; i++) {
        b = begin(0, 0);
        b.data[4] = versions[i];
        assert_int_equal(try_open(&b, NULL), SHOAL_ERR_UNSUPPORTED);
        shoal_buf_clear(&b);
    }
    b = begin(0, 0);
    memcpy(b.data + 4, "\0\0\0\3", 4);
    shoal_error err = {0};
    assert_int_equal(try_open(&b, &err), SHOAL_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.hint, "endian"));
    shoal_buf_clear(&b);
}

static void paths_that_are_no_files_are_refused(void **state)
{
    (void)state;
    shoal_gguf *g = NULL;
    shoal_error err = {0};
    assert_int_equal(shoal_gguf_open(&g, "/nonexistent/model.gguf", &err), SHOAL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/model.gguf"));
    assert_int_equal(shoal_gguf_open(&g, "/tmp", &err), SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_gguf_open(&g, "/dev/null", &err), SHOAL_ERR_FORMAT);
    char path[] = "/tmp/shoal-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(shoal_gguf_open(&g, path, &err), SHOAL_ERR_FORMAT); /* empty */
    (void)remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(shoal_gguf_open(&g, path, &err), SHOAL_ERR_FORMAT); /* does not block */
    (void)remove(path);
    assert_null(g);
}

/* Every allocation failed in turn: NOMEM, nothing leaks. */
static void memory_may_run_out(void **state)
{
    (void)state;
    shoal_buf file = small_file();
    shoal_gguf *g = NULL;
    shoal_status st = SHOAL_ERR_NOMEM;
    for (uint64_t n = 1; st != SHOAL_OK; n++) {
        assert_in_range(n, 1, 20);
        shoal_mem_fail_at(n, false);
        st = shoal_gguf_open_memory(&g, file.data, file.len, "test", NULL);
        shoal_mem_fail_at(0, false);
        assert_true(st == SHOAL_OK || st == SHOAL_ERR_NOMEM);
    }
    shoal_gguf_close(g);
    shoal_buf_clear(&file);
}

static void the_writer_reports_bad_calls(void **state)
{
    (void)state;
    shoal_buf out = shoal_buf_init(MAX_FILE);
    shoal_gguf_writer w = shoal_gguf_writer_init(MAX_FILE);
    shoal_gguf_put_u32(&w, "", 1);
    assert_int_equal(shoal_gguf_writer_finish(&w, &out, NULL), SHOAL_ERR_ARG);
    shoal_gguf_writer_clear(&w);
    const float x[33] = {0};
    shoal_gguf_put_matrix(&w, "t", SHOAL_TYPE_Q8_0, 1, 33, x);
    assert_int_equal(shoal_gguf_writer_finish(&w, &out, NULL), SHOAL_ERR_ARG);
    shoal_gguf_writer_clear(&w);
    w = shoal_gguf_writer_init(64);
    shoal_gguf_put_vector(&w, "t", x, 33);
    assert_int_equal(shoal_gguf_writer_finish(&w, &out, NULL), SHOAL_ERR_TOO_LARGE);
    shoal_gguf_writer_clear(&w);
    shoal_buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_read_back),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(changed_bytes_never_crash),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(types_are_refused_by_name),
        cmocka_unit_test(counts_beyond_the_file_are_refused),
        cmocka_unit_test(values_that_lie_are_refused),
        cmocka_unit_test(odd_alignments_are_refused),
        cmocka_unit_test(other_files_are_told_apart),
        cmocka_unit_test(paths_that_are_no_files_are_refused),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(the_writer_reports_bad_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
