/* safetensors: round trip, types, every lie a header can tell, every prefix of a good file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/json.h"
#include "client/safetensors.h"

static const float a_values[] = {1.0f, -2.5f, 3.25f, 0.0f, 1e-20f, -7.0f};
static const float b_values[] = {0.5f};

static void encode(shoal_buf *out)
{
    const shoal_st_entry entries[] = {{"a.weight", 2, 3, a_values}, {"b", 1, 1, b_values}};
    shoal_error err = {0};
    *out = shoal_buf_init(1u << 16);
    assert_int_equal(shoal_safetensors_encode(entries, 2, out, &err), SHOAL_OK);
}

static void test_round_trip(void **state)
{
    shoal_buf file;
    shoal_safetensors s;
    shoal_error err = {0};
    float back[6];
    (void)state;
    encode(&file);
    assert_int_equal(shoal_safetensors_decode(&s, file.data, file.len, "t", &err), SHOAL_OK);
    assert_int_equal(s.n, 2);
    const shoal_st_tensor *t = shoal_safetensors_find(&s, "a.weight");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 2);
    assert_int_equal(t->dims[1], 3);
    shoal_st_to_f32(t, back);
    assert_memory_equal(back, a_values, sizeof back);
    assert_null(shoal_safetensors_find(&s, "c"));
    shoal_safetensors_clear(&s);
    shoal_buf_clear(&file);
}

/* A file with this header and n zero bytes of data (unless given). */
static shoal_status decode(const char *header, const void *data, size_t n, shoal_safetensors *s,
                           shoal_error *err)
{
    static const uint8_t zeros[64];
    shoal_buf b = shoal_buf_init(1u << 16);
    shoal_buf_put_u64(&b, strlen(header));
    shoal_buf_put_str(&b, header);
    shoal_buf_put(&b, data == NULL ? zeros : data, n);
    shoal_status st = shoal_safetensors_decode(s, b.data, b.len, "t", err);
    shoal_buf_clear(&b);
    return st;
}

static void test_half_types(void **state)
{
    static const uint8_t data[] = {0x00, 0x3c, 0x00, 0xc0, 0x80, 0x3f, 0x20, 0xc0};
    shoal_safetensors s;
    shoal_error err = {0};
    float v[2];
    (void)state;
    assert_int_equal(decode("{\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                            "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[4,8]}}",
                            data, 8, &s, &err),
                     SHOAL_OK);
    shoal_st_to_f32(shoal_safetensors_find(&s, "h"), v);
    assert_true(v[0] > 0.99f && v[0] < 1.01f && v[1] > -2.01f && v[1] < -1.99f);
    shoal_st_to_f32(shoal_safetensors_find(&s, "b"), v);
    assert_true(v[0] > 0.99f && v[0] < 1.01f && v[1] > -2.51f && v[1] < -2.49f);
    shoal_safetensors_clear(&s);
}

#define T(shape, from, to) \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}}"

static void test_refuses_lies(void **state)
{
    static const char *const lies[] = {
        T("[3]", "0", "8"),                     /* bytes do not fit the shape */
        T("[4]", "0", "16"),                    /* past the end */
        T("[2]", "4", "12"),                    /* past the end, hole */
        T("[1]", "4", "8"),                     /* hole in front */
        T("[1]", "0", "4"),                     /* bytes left over */
        T("[2]", "8", "0"),                     /* backwards */
        T("[-2]", "0", "8"),                    /* negative */
        T("[2.0]", "0", "8"),                   /* not whole */
        T("[4611686018427387904,4]", "0", "8"), /* product overflows */
        T("[4294967296,4294967296,4294967296]", "0", "0"),
        T("[1,1,1,1,2]", "0", "8"), /* too many dimensions */
        T("{}", "0", "8"),
        "{\"x\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
        "{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}",
        "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}",
        "{\"x\":7}",
        "[]",
        "{",
        "",
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", /* overlap */
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", /* twice */
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        shoal_safetensors s;
        shoal_error err = {0};
        if (decode(lies[i], NULL, 8, &s, &err) == SHOAL_OK) fail_msg("accepted: %s", lies[i]);
        assert_true(err.msg[0] != '\0');
        assert_null(s.tensors);
    }
}

static void test_every_prefix_fails(void **state)
{
    shoal_buf file;
    shoal_safetensors s;
    (void)state;
    encode(&file);
    for (size_t n = 0; n < file.len; n++) {
        assert_int_not_equal(shoal_safetensors_decode(&s, file.data, n, "t", NULL), SHOAL_OK);
    }
    shoal_buf_clear(&file);
}

/* Any single changed byte: accepted or refused, never a crash or a read outside (asan). */
static void test_every_changed_byte(void **state)
{
    shoal_buf file;
    float back[6];
    (void)state;
    encode(&file);
    for (size_t i = 0; i < file.len; i++) {
        uint8_t old = file.data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            shoal_safetensors s;
            file.data[i] = (uint8_t)(old ^ 1u << bit);
            if (shoal_safetensors_decode(&s, file.data, file.len, "t", NULL) == SHOAL_OK) {
                for (size_t t = 0; t < s.n; t++) {
                    if (s.tensors[t].n <= 6) shoal_st_to_f32(&s.tensors[t], back);
                }
                shoal_safetensors_clear(&s);
            }
        }
        file.data[i] = old;
    }
    shoal_buf_clear(&file);
}

int main(void)
{
    shoal_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),         cmocka_unit_test(test_half_types),
        cmocka_unit_test(test_refuses_lies),       cmocka_unit_test(test_every_prefix_fails),
        cmocka_unit_test(test_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
