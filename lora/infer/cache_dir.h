/* cache_dir.h - blocks of read prompts on disk: one file each, a total size, the oldest go first.
 *
 * The directory belongs to the user alone (0700, files 0600): its files hold what was said. A
 * file's name says where the block stands in the tree, so that looking needs no index and any
 * number of processes may share the directory: files appear whole by rename, equal names hold equal
 * contents, and a file that vanishes while another process wants it is only a miss. A block's time
 * of change is when it was last used.
 *
 * Layer: lora/infer. Threads: one owner; processes as said.
 */
#ifndef SHOAL_LORA_INFER_CACHE_DIR_H
#define SHOAL_LORA_INFER_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/infer/prompt_block.h"

enum {
    SHOAL_CACHE_PATH_MAX = 1024,
    SHOAL_CACHE_FILES_MAX = 1 << 16 /* files looked at in one directory */
};

typedef struct shoal_cache_dir {
    char path[SHOAL_CACHE_PATH_MAX];
    uint64_t max_bytes;
} shoal_cache_dir;

/* Makes the directory if it is missing (its parent must exist). DENIED with a hint when it belongs
 * to someone else or others may write to it. */
SHOAL_MUST_USE shoal_status shoal_cache_dir_open(shoal_cache_dir *d, const char *path,
                                                 uint64_t max_bytes, shoal_error *err);

/* A file of the cache. */
typedef struct shoal_cache_file {
    shoal_prompt_ref ref;
    uint64_t bytes;
    int64_t used_s, used_ns; /* since 1970 */
} shoal_cache_file;

/* Calls `on_file` for every block in the directory; names of another form are none. False from it
 * ends the walk. */
typedef bool shoal_on_cache_file(void *ctx, const shoal_cache_file *f);
SHOAL_MUST_USE shoal_status shoal_cache_dir_walk(const shoal_cache_dir *d, shoal_on_cache_file *fn,
                                                 void *ctx, shoal_error *err);

bool shoal_cache_dir_has(const shoal_cache_dir *d, const shoal_prompt_ref *ref);

/* The whole file, or its first `head` bytes when head > 0 (a shorter file gives what it has).
 * TOO_LARGE over `max`; NOT_FOUND. *out is initialised here and the caller's. */
SHOAL_MUST_USE shoal_status shoal_cache_dir_read(const shoal_cache_dir *d,
                                                 const shoal_prompt_ref *ref, size_t head,
                                                 size_t max, shoal_buf *out, shoal_error *err);

/* Makes room for `bytes`: the least recently used blocks go, of those used at the same moment the
 * one furthest from its beginning. TOO_LARGE when the directory could never hold as much. */
SHOAL_MUST_USE shoal_status shoal_cache_dir_make_room(const shoal_cache_dir *d, uint64_t bytes,
                                                      shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cache_dir_write(const shoal_cache_dir *d,
                                                  const shoal_prompt_ref *ref, const void *data,
                                                  size_t n, shoal_error *err);

/* Marks as used now; removes. Quiet about files that are gone. */
void shoal_cache_dir_touch(const shoal_cache_dir *d, const shoal_prompt_ref *ref);
void shoal_cache_dir_remove(const shoal_cache_dir *d, const shoal_prompt_ref *ref);

/* Removes blocks last used before `before_s` and what interrupted writers left behind; INT64_MAX
 * removes everything. Returns the number of files that went and, if not NULL, their bytes. */
size_t shoal_cache_dir_clear(const shoal_cache_dir *d, int64_t before_s, uint64_t *bytes);

#endif
