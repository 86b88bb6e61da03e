/* record.c - "key value" lines. */
#include "client/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"

enum { FILE_MAX = SHOAL_RECORD_FIELDS * (SHOAL_RECORD_KEY + SHOAL_RECORD_VALUE) };

static bool key_ok(const char *key)
{
    size_t n = strlen(key);
    return n > 0 && n < SHOAL_RECORD_KEY &&
           strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static bool value_ok(const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f) return false;
    }
    return strlen(value) < SHOAL_RECORD_VALUE;
}

/* Index of a key; n when it is not there. */
static size_t find(const shoal_record *r, const char *key)
{
    size_t i = 0;
    while (i < r->n && strcmp(r->field[i].key, key) != 0)
        i++;
    return i;
}

shoal_status shoal_record_put(shoal_record *r, const char *key, const char *value, shoal_error *err)
{
    if (!key_ok(key) || !value_ok(value)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the value of '%.31s' cannot be stored", key);
    }
    size_t i = find(r, key);
    if (i == SHOAL_RECORD_FIELDS) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a record holds at most %d fields",
                          SHOAL_RECORD_FIELDS);
    }
    if (i == r->n) memcpy(r->field[r->n++].key, key, strlen(key) + 1);
    memcpy(r->field[i].value, value, strlen(value) + 1);
    return SHOAL_OK;
}

shoal_status shoal_record_put_u64(shoal_record *r, const char *key, uint64_t value,
                                  shoal_error *err)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return shoal_record_put(r, key, text, err);
}

shoal_status shoal_record_put_hex(shoal_record *r, const char *key, const uint8_t *data, size_t n,
                                  shoal_error *err)
{
    char text[SHOAL_RECORD_VALUE];
    if (n >= SHOAL_RECORD_VALUE / 2) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the value of '%.31s' is too long", key);
    }
    shoal_hex_encode(data, n, text);
    return shoal_record_put(r, key, text, err);
}

const char *shoal_record_get(const shoal_record *r, const char *key)
{
    size_t i = find(r, key);
    return i == r->n ? NULL : r->field[i].value;
}

static shoal_status missing(const char *key, shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "the field '%.31s' is missing or damaged", key);
}

shoal_status shoal_record_get_u64(const shoal_record *r, const char *key, uint64_t *out,
                                  shoal_error *err)
{
    const char *v = shoal_record_get(r, key);
    return v != NULL && shoal_parse_u64(v, out) ? SHOAL_OK : missing(key, err);
}

shoal_status shoal_record_get_hex(const shoal_record *r, const char *key, uint8_t *out, size_t n,
                                  shoal_error *err)
{
    const char *v = shoal_record_get(r, key);
    return v != NULL && shoal_hex_decode(v, out, n) ? SHOAL_OK : missing(key, err);
}

shoal_status shoal_record_get_str(const shoal_record *r, const char *key, char *out, size_t cap,
                                  shoal_error *err)
{
    const char *v = shoal_record_get(r, key);
    if (v == NULL || strlen(v) >= cap) return missing(key, err);
    memcpy(out, v, strlen(v) + 1);
    return SHOAL_OK;
}

/* One line without its newline; cuts it in place. */
static shoal_status parse_line(shoal_record *r, char *line, shoal_error *err)
{
    char *space = strchr(line, ' ');
    if (space == NULL) return shoal_fail(err, SHOAL_ERR_FORMAT, "a line without a value");
    *space = '\0';
    return shoal_record_put(r, line, space + 1, err);
}

shoal_status shoal_record_load(shoal_record *r, const char *path, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(FILE_MAX);
    memset(r, 0, sizeof *r);
    SHOAL_TRY(shoal_file_read(path, FILE_MAX, &text, err));
    shoal_status st = SHOAL_OK;
    size_t line_no = 0;
    for (char *p = (char *)text.data; p != NULL && *p != '\0' && st == SHOAL_OK;) {
        char *end = strchr(p, '\n');
        line_no++;
        if (end != NULL) *end = '\0';
        /* A last line without its newline was cut off: files are written whole. */
        st = end == NULL ? SHOAL_ERR_FORMAT : parse_line(r, p, err);
        p = end == NULL ? NULL : end + 1;
    }
    shoal_buf_wipe(&text);
    if (st == SHOAL_OK) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_FORMAT, "%s is damaged (line %zu)", path, line_no);
}

shoal_status shoal_record_save(const shoal_record *r, const char *path, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(FILE_MAX);
    for (size_t i = 0; i < r->n; i++) {
        (void)shoal_buf_putf(&text, "%s %s\n", r->field[i].key, r->field[i].value);
    }
    shoal_status st = shoal_buf_status(&text, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, text.data, text.len, 0600, err);
    shoal_buf_wipe(&text);
    return st;
}
