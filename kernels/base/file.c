/* file.c - whole files by POSIX calls, and Linux's files without a name. */
#define _GNU_SOURCE /* O_TMPFILE */
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

/* Writes everything; 0 or -1 with errno. */
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
    return 0;
}

shoal_status shoal_file_put_at(int fd, uint64_t at, const void *data, size_t n, shoal_error *err)
{
    const unsigned char *p = data;
    while (n > 0) {
        ssize_t got = made_to_fail() ? -1 : pwrite(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return shoal_fail_errno(err, errno, "cannot write to a file");
        }
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return SHOAL_OK;
}

shoal_status shoal_file_get_at(int fd, uint64_t at, void *data, size_t n, size_t *got,
                               shoal_error *err)
{
    unsigned char *p = data;
    *got = 0;
    while (*got < n) {
        ssize_t some = pread(fd, p + *got, n - *got, (off_t)(at + *got));
        if (some < 0 && errno == EINTR) {
            continue;
        }
        if (some < 0) {
            return shoal_fail_errno(err, errno, "cannot read from a file");
        }
        if (some == 0) {
            return SHOAL_OK;
        }
        *got += (size_t)some;
    }
    return SHOAL_OK;
}

/* Opens the directory that `path` lies in with these flags; -1 with errno. */
static int open_parent(const char *path, int flags)
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
    int fd = open(slash != NULL ? dir : ".", flags | O_CLOEXEC, 0600);
    int saved = errno;
    shoal_free(dir);
    errno = saved;
    return fd;
}

/* Makes a rename in the directory of `path` durable. Some file systems cannot sync a directory
 * (EINVAL); there the rename is as durable as it gets. */
static int sync_parent(const char *path)
{
    int fd = open_parent(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return -1;
    }
    int rc = made_to_fail() ? -1 : fsync(fd);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return rc != 0 && saved == EINVAL ? 0 : rc;
}

/* A file beside `path` that has no name; -1 where there is no such thing. Android's policy lets
 * apps open one, but not name it. */
static int open_nameless(const char *path)
{
#if defined(O_TMPFILE) && !defined(__ANDROID__)
    if (access("/proc/self/fd", X_OK) != 0) return -1; /* by which it gets a name */
    return open_parent(path, O_TMPFILE | O_WRONLY);
#else
    (void)path;
    return -1;
#endif
}

/* Calls a nameless file w->temp, of which it chooses the end: rename needs a name, and a link does
 * not replace. */
static int give_name(shoal_file_writer *w)
{
    char self[32];
    char *end = strrchr(w->temp, '.');
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", w->fd);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned mark = (unsigned)getpid() * 1000 + i;
        (void)snprintf(end, sizeof ".XXXXXX", ".%06x", mark & 0xffffff);
        if (linkat(AT_FDCWD, self, AT_FDCWD, w->temp, AT_SYMLINK_FOLLOW) == 0) {
            w->named = true;
            return 0;
        }
        if (errno != EEXIST) return -1;
    }
    return -1;
}

void shoal_file_writer_abandon(shoal_file_writer *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    if (w->named) {
        (void)unlink(w->temp);
    }
    shoal_free(w->temp);
    shoal_free(w->path);
    *w = (shoal_file_writer){.fd = -1};
}

/* Reports errno of a failed step; the temporary file goes. */
static shoal_status writing_failed(shoal_file_writer *w, shoal_error *err)
{
    shoal_status st = shoal_fail_errno(err, errno, "cannot write %s", w->path);
    if (st == SHOAL_ERR_FULL) {
        shoal_hint(err, "free some space and try again; the previous file is intact");
    }
    shoal_file_writer_abandon(w);
    return st;
}

shoal_status shoal_file_writer_open(shoal_file_writer *w, const char *path, unsigned mode,
                                    shoal_error *err)
{
    size_t len = strlen(path);
    *w = (shoal_file_writer){.fd = -1};
    w->temp = shoal_alloc(len + sizeof ".XXXXXX");
    w->path = shoal_strdup(path);
    if (w->temp == NULL || w->path == NULL) {
        shoal_file_writer_abandon(w);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory writing %s", path);
    }
    memcpy(w->temp, path, len);
    memcpy(w->temp + len, ".XXXXXX", sizeof ".XXXXXX");
    w->fd = open_nameless(path);
    if (w->fd < 0) {
        w->fd = mkstemp(w->temp);
        w->named = w->fd >= 0;
    }
    if (w->fd < 0) {
        shoal_status st = shoal_fail_errno(err, errno, "cannot create a file beside %s", path);
        shoal_file_writer_abandon(w);
        return st;
    }
    return fchmod(w->fd, (mode_t)mode) == 0 ? SHOAL_OK : writing_failed(w, err);
}

shoal_status shoal_file_writer_put(shoal_file_writer *w, const void *data, size_t n,
                                   shoal_error *err)
{
    return write_all(w->fd, data, n) == 0 ? SHOAL_OK : writing_failed(w, err);
}

/* Closes the file and takes the name; `synced` first makes the bytes durable. */
static shoal_status take_name(shoal_file_writer *w, bool synced, shoal_error *err)
{
    int rc = !synced ? 0 : made_to_fail() ? -1 : fsync(w->fd);
    if (rc == 0 && !w->named) {
        rc = give_name(w);
    }
    int saved = errno;
    if (close(w->fd) != 0 && rc == 0) {
        rc = -1;
        saved = errno;
    }
    w->fd = -1;
    errno = saved;
    if (rc == 0) {
        rc = made_to_fail() ? -1 : rename(w->temp, w->path);
    }
    if (rc != 0) return writing_failed(w, err);
    w->named = false; /* it has its own name: abandoning removes nothing now */
    return SHOAL_OK;
}

shoal_status shoal_file_writer_commit(shoal_file_writer *w, shoal_error *err)
{
    SHOAL_TRY(take_name(w, true, err));
    shoal_status st = SHOAL_OK;
    if (sync_parent(w->path) != 0) {
        st = shoal_fail_errno(err, errno, "cannot sync the directory of %s", w->path);
    }
    shoal_file_writer_abandon(w);
    return st;
}

shoal_status shoal_file_writer_commit_unsynced(shoal_file_writer *w, shoal_error *err)
{
    SHOAL_TRY(take_name(w, false, err));
    shoal_file_writer_abandon(w);
    return SHOAL_OK;
}

shoal_status shoal_file_write_atomic(const char *path, const void *data, size_t n, unsigned mode,
                                     shoal_error *err)
{
    shoal_file_writer w;
    SHOAL_TRY(shoal_file_writer_open(&w, path, mode, err));
    SHOAL_TRY(shoal_file_writer_put(&w, data, n, err));
    return shoal_file_writer_commit(&w, err);
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

shoal_status shoal_file_reader_open(shoal_file_reader *r, const char *path, shoal_error *err)
{
    *r = (shoal_file_reader){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (r->fd < 0) return shoal_fail_errno(err, errno, "cannot open %s", path);
    struct stat sb;
    shoal_status st = SHOAL_OK;
    if (fstat(r->fd, &sb) != 0) {
        st = shoal_fail_errno(err, errno, "cannot look at %s", path);
    } else if (!S_ISREG(sb.st_mode)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%s is not a regular file", path);
    } else if ((r->path = shoal_strdup(path)) == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory reading %s", path);
    }
    if (st != SHOAL_OK) {
        shoal_file_reader_close(r);
        return st;
    }
    r->size = (uint64_t)sb.st_size;
    return SHOAL_OK;
}

shoal_status shoal_file_reader_get(shoal_file_reader *r, void *data, size_t n, shoal_error *err)
{
    size_t got = 0;
    SHOAL_TRY(shoal_file_get_at(r->fd, r->at, data, n, &got, err));
    r->at += got;
    return got == n ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_FORMAT, "%s ends too early", r->path);
}

void shoal_file_reader_close(shoal_file_reader *r)
{
    if (r->fd >= 0) (void)close(r->fd);
    shoal_free(r->path);
    *r = (shoal_file_reader){.fd = -1};
}

shoal_status shoal_file_lock(const char *path, int *fd, shoal_error *err)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        return shoal_fail_errno(err, errno, "cannot open %s", path);
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(*fd, F_SETLK, &whole) == 0) {
        return SHOAL_OK;
    }
    int why = errno;
    (void)close(*fd);
    *fd = -1;
    return why == EACCES || why == EAGAIN
               ? shoal_fail(err, SHOAL_ERR_AGAIN, "another process holds %s", path)
               : shoal_fail_errno(err, why, "cannot lock %s", path);
}
