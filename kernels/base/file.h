/* file.h - whole files: read with a stated maximum, replace atomically.
 *
 * A reader of a file written here sees either the old contents or the new, whatever happens in
 * between: the bytes go to a file in the same directory that has no name yet, are synced, and take
 * the name by rename; then the directory is synced. A process that is killed leaves nothing behind,
 * since the system takes a file without a name back. Where there is no such thing (other systems
 * than Linux, some file systems) the file is called PATH.XXXXXX meanwhile.
 *
 * Layer: kernels/base. Threads: no shared state but the test hook.
 */
#ifndef SHOAL_KERNELS_BASE_FILE_H
#define SHOAL_KERNELS_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Replaces (or creates) `path` with n bytes and permission bits `mode` (0600, 0644). On failure the
 * old file is untouched and nothing is left behind; a full disk is SHOAL_ERR_FULL. */
SHOAL_MUST_USE shoal_status shoal_file_write_atomic(const char *path, const void *data, size_t n,
                                                    unsigned mode, shoal_error *err);

/* The same piece by piece, for files too large for memory: open, any number of puts, then commit,
 * which syncs and takes the name, or abandon, which leaves nothing behind (also after a commit, or
 * an open that failed). Set up by open; one owner. */
typedef struct shoal_file_writer {
    char *path, *temp; /* owned */
    bool named;        /* there is a file called temp */
    int fd;
} shoal_file_writer;

SHOAL_MUST_USE shoal_status shoal_file_writer_open(shoal_file_writer *w, const char *path,
                                                   unsigned mode, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_file_writer_put(shoal_file_writer *w, const void *data, size_t n,
                                                  shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_file_writer_commit(shoal_file_writer *w, shoal_error *err);
/* Takes the name without waiting for the disk: readers still see nothing half-written, but after a
 * crash the file may be damaged or gone. For what can be made again and is checked when read. */
SHOAL_MUST_USE shoal_status shoal_file_writer_commit_unsynced(shoal_file_writer *w,
                                                              shoal_error *err);
void shoal_file_writer_abandon(shoal_file_writer *w);

/* n bytes at a place of an open file. Fewer are read only where the file ends (*got). */
SHOAL_MUST_USE shoal_status shoal_file_put_at(int fd, uint64_t at, const void *data, size_t n,
                                              shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_file_get_at(int fd, uint64_t at, void *data, size_t n,
                                              size_t *got, shoal_error *err);

/* Reads a whole file into *out, which is initialised here (need not be before) and is owned by the
 * caller; on failure it is empty. More than `max` bytes is SHOAL_ERR_TOO_LARGE. Pipes work. */
SHOAL_MUST_USE shoal_status shoal_file_read(const char *path, size_t max, shoal_buf *out,
                                            shoal_error *err);

/* A regular file read piece by piece, for files too large for memory. Set up by
 * open; one owner. Close is fine after an open that failed. */
typedef struct shoal_file_reader {
    char *path;    /* owned */
    uint64_t size; /* when it was opened */
    uint64_t at;   /* of the next byte; may be set */
    int fd;
} shoal_file_reader;

SHOAL_MUST_USE shoal_status shoal_file_reader_open(shoal_file_reader *r, const char *path,
                                                   shoal_error *err);
/* Exactly the next n bytes; SHOAL_ERR_FORMAT when there are fewer. */
SHOAL_MUST_USE shoal_status shoal_file_reader_get(shoal_file_reader *r, void *data, size_t n,
                                                  shoal_error *err);
void shoal_file_reader_close(shoal_file_reader *r);

/* Test hook: the n-th write, fsync or rename from now on (1 = the next) fails with errno_value; 0
 * turns it off. Not for use outside tests. */
void shoal_file_fail_at(uint64_t n, int errno_value);

/* Takes the lock file `path`, made when it is not there; AGAIN when another process holds it. The
 * lock goes when *fd is closed, or with the process. (POSIX record lock: this process must not open
 * the file again.) */
SHOAL_MUST_USE shoal_status shoal_file_lock(const char *path, int *fd, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
