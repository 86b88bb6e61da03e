/* test_audit.c - the hash-chained log: what cannot be changed unnoticed, and what a crash leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "aggregator/audit.h"
#include "kernels/base/file.h"
#include "proto/crypto.h"
#include "tests/support/temp_dir.h"

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    char path[TEMP_DIR_MAX + 16];
} fixture;

static void set_up(fixture *f)
{
    temp_dir_make(f->dir);
    (void)snprintf(f->path, sizeof f->path, "%s/audit.log", f->dir);
}

static void add(const fixture *f, uint64_t i)
{
    const uint8_t id[3] = {0xab, 0xcd, (uint8_t)i};
    const shoal_audit_field fields[] = {{.name = "text", .text = "say \"no\"\n"},
                                        {.name = "id", .hex = id, .hex_n = sizeof id},
                                        {.name = "i", .number = i},
                                        {0}};
    assert_int_equal(
        shoal_audit_append(f->path, 1790000000 + (int64_t)i, "test.event", fields, NULL), SHOAL_OK);
}

static shoal_status verify(const fixture *f, shoal_audit_summary *s)
{
    return shoal_audit_verify(f->path, NULL, s, NULL);
}

static shoal_buf contents(const fixture *f)
{
    shoal_buf b;
    assert_int_equal(shoal_file_read(f->path, 1 << 20, &b, NULL), SHOAL_OK);
    return b;
}

static void replace(const fixture *f, const void *data, size_t n)
{
    FILE *out = fopen(f->path, "wb"); /* without waiting for the disk, thousands of times */
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* The form is fixed: a line computed by hand from the header's words. */
static void test_form(void **state)
{
    (void)state;
    fixture f;
    shoal_audit_summary s;
    struct stat sb;
    uint8_t hash[32];
    char hex[65];
    char want[512];
    set_up(&f);
    assert_int_equal(verify(&f, &s), SHOAL_OK); /* no file: no entries */
    assert_int_equal(s.entries, 0);
    add(&f, 1);
    static const char body[] =
        "{\"n\":1,\"t\":1790000001,\"event\":\"test.event\",\"text\":\"say "
        "?no??\",\"id\":\"abcd01\","
        "\"i\":1,\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\"";
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, "shoal/audit", sizeof "shoal/audit");
    shoal_sha256_update(&h, body, sizeof body - 1);
    assert_int_equal(shoal_sha256_final(&h, hash, NULL), SHOAL_OK);
    shoal_hex_encode(hash, 32, hex);
    (void)snprintf(want, sizeof want, "%s,\"hash\":\"%s\"}\n", body, hex);
    shoal_buf b = contents(&f);
    assert_string_equal(shoal_buf_str(&b), want);
    assert_int_equal(stat(f.path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(verify(&f, &s), SHOAL_OK);
    assert_int_equal(s.entries, 1);
    assert_memory_equal(s.head, hash, 32);
    shoal_buf_clear(&b);
    temp_dir_remove(f.dir);
}

/* Any changed byte, any line left out, doubled or swapped. */
static void test_changes_are_noticed(void **state)
{
    (void)state;
    fixture f;
    shoal_audit_summary s;
    set_up(&f);
    for (uint64_t i = 1; i <= 5; i++)
        add(&f, i);
    shoal_buf b = contents(&f);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 1;
        replace(&f, b.data, b.len);
        shoal_status st = verify(&f, &s);
        /* the last newline gone: a line that was never finished */
        if (i + 1 == b.len)
            assert_true(st == SHOAL_OK && s.entries == 4 && s.torn > 0);
        else
            assert_int_equal(st, SHOAL_ERR_TAMPERED);
        b.data[i] ^= 1;
    }
    char *second = strchr((char *)b.data, '\n') + 1;
    size_t first_n = (size_t)(second - (char *)b.data);
    replace(&f, second, b.len - first_n);
    assert_int_equal(verify(&f, &s), SHOAL_ERR_TAMPERED);
    shoal_buf twice = shoal_buf_init(1 << 20);
    assert_true(shoal_buf_put(&twice, b.data, first_n) && shoal_buf_put(&twice, b.data, b.len));
    replace(&f, twice.data, twice.len);
    assert_int_equal(verify(&f, &s), SHOAL_ERR_TAMPERED);
    assert_int_equal(s.entries, 1);
    shoal_buf_clear(&twice);
    shoal_buf_clear(&b);
    temp_dir_remove(f.dir);
}

/* Cutting off the end is what only a noted head shows. */
static void test_noted_head(void **state)
{
    (void)state;
    fixture f;
    shoal_audit_summary s;
    shoal_audit_summary later;
    set_up(&f);
    add(&f, 1);
    add(&f, 2);
    assert_int_equal(verify(&f, &s), SHOAL_OK);
    shoal_buf b = contents(&f);
    add(&f, 3);
    assert_int_equal(shoal_audit_verify(f.path, s.head, &later, NULL), SHOAL_OK);
    assert_true(later.seen);
    assert_int_equal(later.entries, 3);
    char *second = strchr((char *)b.data, '\n') + 1;
    replace(&f, b.data, (size_t)(second - (char *)b.data));
    assert_int_equal(shoal_audit_verify(f.path, s.head, &later, NULL), SHOAL_OK);
    assert_false(later.seen);
    shoal_buf_clear(&b);
    temp_dir_remove(f.dir);
}

/* Whatever part of the last line a crash left: the next entry goes on behind the last whole one. */
static void test_torn_line(void **state)
{
    (void)state;
    fixture f;
    shoal_audit_summary s;
    set_up(&f);
    add(&f, 1);
    shoal_buf one = contents(&f);
    add(&f, 2);
    shoal_buf two = contents(&f);
    for (size_t n = one.len; n < two.len; n += 40) {
        replace(&f, two.data, n);
        assert_int_equal(verify(&f, &s), SHOAL_OK);
        assert_int_equal(s.entries, 1);
        assert_int_equal(s.torn, n - one.len);
        add(&f, 3);
        assert_int_equal(verify(&f, &s), SHOAL_OK);
        assert_int_equal(s.entries, 2);
        shoal_buf now = contents(&f);
        assert_int_equal(strstr(shoal_buf_str(&now), "removed_bytes") != NULL, n > one.len);
        shoal_buf_clear(&now);
    }
    shoal_buf_clear(&one);
    shoal_buf_clear(&two);
    temp_dir_remove(f.dir);
}

/* A write that fails is an error, and the log is as before. */
static void test_failing_writes(void **state)
{
    (void)state;
    fixture f;
    shoal_audit_summary s;
    set_up(&f);
    add(&f, 1);
    shoal_file_fail_at(1, 28 /* ENOSPC */);
    assert_int_equal(shoal_audit_append(f.path, 1, "test.event", NULL, NULL), SHOAL_ERR_FULL);
    shoal_file_fail_at(0, 0);
    assert_int_equal(verify(&f, &s), SHOAL_OK);
    assert_int_equal(s.entries, 1);
    assert_int_equal(s.torn, 0);
    temp_dir_remove(f.dir);
}

/* Four processes at once: one chain. */
static void test_many_writers(void **state)
{
    (void)state;
    enum { WRITERS = 4, EACH = 10 };
    fixture f;
    shoal_audit_summary s;
    pid_t pid[WRITERS];
    set_up(&f);
    for (int w = 0; w < WRITERS; w++) {
        pid[w] = fork();
        if (pid[w] == 0) {
            shoal_status st = SHOAL_OK;
            for (int i = 0; i < EACH && st == SHOAL_OK; i++) {
                st = shoal_audit_append(f.path, i, "test.event", NULL, NULL);
            }
            _exit(st == SHOAL_OK ? 0 : 1);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        int status = 1;
        assert_int_equal(waitpid(pid[w], &status, 0), pid[w]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(verify(&f, &s), SHOAL_OK);
    assert_int_equal(s.entries, WRITERS * EACH);
    temp_dir_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),           cmocka_unit_test(test_changes_are_noticed),
        cmocka_unit_test(test_noted_head),     cmocka_unit_test(test_torn_line),
        cmocka_unit_test(test_failing_writes), cmocka_unit_test(test_many_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
