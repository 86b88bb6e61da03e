/* blob.c - content-addressed files. */
#include "aggregator/blob.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/config.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"

static shoal_status blob_path(const char *dir, const uint8_t sha256[32], char path[SHOAL_DIR_PATH],
                              shoal_error *err)
{
    char hex[65];
    char name[80];
    shoal_hex_encode(sha256, 32, hex);
    (void)snprintf(name, sizeof name, "blobs/%s", hex);
    return shoal_dir_path(dir, name, path, err);
}

shoal_status shoal_blob_put(const char *dir, const void *data, size_t n, uint8_t sha256[32],
                            shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_sha256(data, n, sha256, err));
    SHOAL_TRY(blob_path(dir, sha256, path, err));
    if (access(path, R_OK) == 0) {
        return SHOAL_OK;
    }
    return shoal_file_write_atomic(path, data, n, 0644, err);
}

static shoal_status delta_path(const char *dir, const uint8_t from[32], const uint8_t to[32],
                               char path[SHOAL_DIR_PATH], shoal_error *err)
{
    char a[65], b[65], name[160];
    shoal_hex_encode(from, 32, a);
    shoal_hex_encode(to, 32, b);
    (void)snprintf(name, sizeof name, "blobs/%s.%s", b, a);
    return shoal_dir_path(dir, name, path, err);
}

shoal_status shoal_blob_put_delta(const char *dir, const uint8_t from[32], const uint8_t to[32],
                                  const shoal_buf *delta, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(delta_path(dir, from, to, path, err));
    return shoal_file_write_atomic(path, delta->data, delta->len, 0644, err);
}

shoal_status shoal_blob_get(const char *dir, const uint8_t sha256[32], shoal_buf *out,
                            shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    uint8_t hash[32];
    SHOAL_TRY(blob_path(dir, sha256, path, err));
    SHOAL_TRY(shoal_file_read(path, SHOAL_LIMIT_BLOB, out, err));
    shoal_status st = shoal_sha256(out->data, out->len, hash, err);
    if (st == SHOAL_OK && memcmp(hash, sha256, 32) != 0) {
        st = shoal_fail(err, SHOAL_ERR_TAMPERED, "%s is damaged: its hash is another", path);
        shoal_hint(err, "restore the file from a backup of the directory");
    }
    if (st != SHOAL_OK) {
        shoal_buf_clear(out);
    }
    return st;
}

shoal_status shoal_blob_get_delta(const char *dir, const uint8_t from[32], const uint8_t to[32],
                                  shoal_buf *out, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(delta_path(dir, from, to, path, err));
    return shoal_file_read(path, SHOAL_LIMIT_BLOB, out, err);
}

bool shoal_blob_has_delta(const char *dir, const uint8_t from[32], const uint8_t to[32])
{
    char path[SHOAL_DIR_PATH];
    return delta_path(dir, from, to, path, NULL) == SHOAL_OK && access(path, R_OK) == 0;
}
