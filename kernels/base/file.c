/* file.c - whole files by POSIX calls. */
#include "kernels/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "kernels/base/mem.h"

static _Atomic uint64_t fail_countdown;
static _Atomic int fail_errno;

void shoal_file_fail_at(uint64_t n, int errno_value)
{
    atomic_store(&fail_errno, errno_value);
    atomic_store(&fail_countdown, n);
}

/* True, with errno set, when the test hook says this call fails. */
static bool made_to_fail(void)
{
    uint64_t left = atomic_load(&fail_countdown);
    if (left == 0) {
        return false;
    }
    atomic_store(&fail_countdown, left - 1);
    if (left > 1) {
        return false;
    }
    errno = atomic_load(&fail_errno);
    return true;
}

/* Writes everything and syncs; 0 or -1 with errno. */
static int write_all(int fd, const unsigned char *data, size_t n)
{
    while (n > 0) {
        ssize_t got = made_to_fail() ? -1 : write(fd, data, n);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -1;
        }
        data += got;
        n -= (size_t)got;
    }
    return made_to_fail() ? -1 : fsync(fd);
}

/* Makes a rename in the directory of `path` durable. Some file systems cannot sync a directory
 * (EINVAL); there the rename is as durable as it gets. */
static int sync_parent(const char *path)
{
    char *dir = shoal_strdup(path);
    if (dir == NULL) {
        errno = ENOMEM;
        return -1;
    }
    char *slash = strrchr(dir, '/');
    if (slash == dir) {
        slash[1] = '\0';
    } else if (slash != NULL) {
        *slash = '\0';
    }
    int fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    shoal_free(dir);
    if (fd < 0) {
        return -1;
    }
    int rc = made_to_fail() ? -1 : fsync(fd);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return rc != 0 && saved == EINVAL ? 0 : rc;
}

/* Fills the open temporary file and gives it its permissions; closes fd. 0 or -1 with errno. */
static int fill_temp(int fd, const void *data, size_t n, unsigned mode)
{
    int rc = fchmod(fd, (mode_t)mode);
    if (rc == 0) {
        rc = write_all(fd, data, n);
    }
    int saved = errno;
    if (close(fd) != 0 && rc == 0) {
        return -1;
    }
    errno = saved;
    return rc;
}

shoal_status shoal_file_write_atomic(const char *path, const void *data, size_t n, unsigned mode,
                                     shoal_error *err)
{
    size_t len = strlen(path);
    char *temp = shoal_alloc(len + sizeof ".XXXXXX");
    if (temp == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory writing %s", path);
    }
    memcpy(temp, path, len);
    memcpy(temp + len, ".XXXXXX", sizeof ".XXXXXX");

    shoal_status st = SHOAL_OK;
    int fd = mkstemp(temp);
    if (fd < 0) {
        st = shoal_fail_errno(err, errno, "cannot create a file beside %s", path);
        goto out;
    }
    int rc = fill_temp(fd, data, n, mode);
    if (rc == 0) {
        rc = made_to_fail() ? -1 : rename(temp, path);
    }
    if (rc != 0) {
        st = shoal_fail_errno(err, errno, "cannot write %s", path);
        if (st == SHOAL_ERR_FULL) {
            shoal_hint(err, "free some space and try again; the previous file is intact");
        }
        (void)unlink(temp);
        goto out;
    }
    if (sync_parent(path) != 0) {
        st = shoal_fail_errno(err, errno, "cannot sync the directory of %s", path);
    }
out:
    shoal_free(temp);
    return st;
}

/* Appends everything fd gives, up to `max` bytes. `chunk` is the caller's, who wipes it: the file
 * may be a key. */
static shoal_status read_all(int fd, const char *path, unsigned char *chunk, size_t chunk_bytes,
                             shoal_buf *out, shoal_error *err)
{
    for (;;) {
        ssize_t got = read(fd, chunk, chunk_bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return shoal_fail_errno(err, errno, "cannot read %s", path);
        }
        if (got == 0) {
            return SHOAL_OK;
        }
        if ((size_t)got > out->max - out->len) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s is larger than %zu bytes", path,
                              out->max);
        }
        if (!shoal_buf_put(out, chunk, (size_t)got)) {
            return shoal_buf_status(out, err);
        }
    }
}

shoal_status shoal_file_read(const char *path, size_t max, shoal_buf *out, shoal_error *err)
{
    *out = shoal_buf_init(max);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return shoal_fail_errno(err, errno, "cannot open %s", path);
    }
    struct stat sb;
    if (fstat(fd, &sb) == 0 && sb.st_size > 0 && (uintmax_t)sb.st_size <= max) {
        (void)shoal_buf_reserve(out, (size_t)sb.st_size); /* one allocation for a regular file */
    }
    unsigned char chunk[8192];
    shoal_status st = read_all(fd, path, chunk, sizeof chunk, out, err);
    (void)close(fd);
    shoal_wipe(chunk, sizeof chunk);
    if (st != SHOAL_OK) {
        shoal_buf_wipe(out);
    }
    return st;
}
