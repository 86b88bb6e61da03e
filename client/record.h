/* record.h - a small file of "key value" lines: the form of Shoal's own state on a device.
 *
 * Keys are [a-z0-9_], values are one line of printable UTF-8. A person can read it; a program that
 * finds a line it does not know keeps it. Files are replaced whole (write, fsync, rename), so a
 * crash leaves the old state or the new one.
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_RECORD_H
#define SHOAL_CLIENT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_RECORD_FIELDS = 24, /* lines of a file */
    SHOAL_RECORD_KEY = 32,    /* bytes of a key, the final NUL included */
    SHOAL_RECORD_VALUE = 320  /* bytes of a value, the final NUL included */
};

typedef struct shoal_record {
    size_t n;
    struct shoal_record_field {
        char key[SHOAL_RECORD_KEY];
        char value[SHOAL_RECORD_VALUE];
    } field[SHOAL_RECORD_FIELDS];
} shoal_record;

/* Reads a file; NOT_FOUND when there is none, FORMAT (with the line) when it is damaged. */
SHOAL_MUST_USE shoal_status shoal_record_load(shoal_record *r, const char *path, shoal_error *err);

/* Replaces a file durably, mode 0600. */
SHOAL_MUST_USE shoal_status shoal_record_save(const shoal_record *r, const char *path,
                                              shoal_error *err);

/* Sets a field, adding it if needed. ARG when key or value is not of the form above. */
SHOAL_MUST_USE shoal_status shoal_record_put(shoal_record *r, const char *key, const char *value,
                                             shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_record_put_u64(shoal_record *r, const char *key, uint64_t value,
                                                 shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_record_put_hex(shoal_record *r, const char *key,
                                                 const uint8_t *data, size_t n, shoal_error *err);

/* The value, or NULL. */
const char *shoal_record_get(const shoal_record *r, const char *key);

/* FORMAT, naming the key, when it is missing or of another form. */
SHOAL_MUST_USE shoal_status shoal_record_get_u64(const shoal_record *r, const char *key,
                                                 uint64_t *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_record_get_hex(const shoal_record *r, const char *key,
                                                 uint8_t *out, size_t n, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_record_get_str(const shoal_record *r, const char *key, char *out,
                                                 size_t cap, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
