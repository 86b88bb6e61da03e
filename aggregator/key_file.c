/* key_file.c - private keys and certificates as files. */
#include "aggregator/key_file.h"

#include <sys/stat.h>

#include "aggregator/config.h"
#include "kernels/base/file.h"

enum { MAX_KEY = 4096 };

shoal_status shoal_key_file_save(const char *dir, const char *name, const shoal_key *key,
                                 shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    shoal_buf pem = shoal_buf_init(MAX_KEY);
    shoal_status st = shoal_key_encode_pem(key, &pem, err);
    if (st == SHOAL_OK) {
        st = shoal_file_write_atomic(path, pem.data, pem.len, 0600, err);
    }
    shoal_buf_wipe(&pem);
    return st;
}

shoal_status shoal_cert_file_save(const char *dir, const char *name, const shoal_buf *der,
                                  shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    return shoal_file_write_atomic(path, der->data, der->len, 0644, err);
}

static shoal_status check_private(const char *path, shoal_error *err)
{
    struct stat s;
    if (stat(path, &s) == 0 && (s.st_mode & 077) != 0) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_DENIED, "%s can be read by others", path);
        shoal_hint(err, "chmod 600 %s; if strangers have accounts here, make new keys", path);
        return st;
    }
    return SHOAL_OK;
}

shoal_status shoal_key_file_load(const char *dir, const char *name, shoal_key **out,
                                 shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    SHOAL_TRY(check_private(path, err));
    shoal_buf pem = shoal_buf_init(0);
    shoal_status st = shoal_file_read(path, MAX_KEY, &pem, err);
    if (st == SHOAL_OK) {
        st = shoal_key_load(out, pem.data, pem.len, err);
    }
    shoal_buf_wipe(&pem);
    return st;
}

shoal_status shoal_cert_file_load(const char *dir, const char *name, shoal_buf *out,
                                  shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    return shoal_file_read(path, SHOAL_LIMIT_CERT, out, err);
}
