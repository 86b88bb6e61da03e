/* cache_dir.c - blocks of read prompts as files "PARENT-OWN-FROM-N.kv", all hexadecimal. */
#include "lora/infer/cache_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { NAME_BYTES = 16 + 1 + 16 + 1 + 6 + 1 + 2 + 3, TEMP_BYTES = 7 /* ".XXXXXX" */ };

/* ---- names ------------------------------------------------------------------------------------
 */

static bool path_of(const shoal_cache_dir *d, const shoal_prompt_ref *r,
                    char out[SHOAL_CACHE_PATH_MAX])
{
    int n = snprintf(out, SHOAL_CACHE_PATH_MAX, "%s/%016" PRIx64 "-%016" PRIx64 "-%06x-%02x.kv",
                     d->path, r->parent, r->own, (unsigned)r->from, (unsigned)r->n);
    return n > 0 && n < SHOAL_CACHE_PATH_MAX;
}

/* `digits` lower-case hexadecimal digits; false on anything else. */
static bool read_hex(const char **p, size_t digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = (*p)[i];
        unsigned v = 0;
        if (c >= '0' && c <= '9') {
            v = (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            v = (unsigned)(c - 'a') + 10;
        } else {
            return false;
        }
        *out = *out << 4 | v;
    }
    *p += digits;
    return true;
}

static bool read_char(const char **p, char c)
{
    return *(*p)++ == c;
}

/* A name's beginning as a block; what follows it is left at *rest. */
static bool parse_name(const char *name, shoal_prompt_ref *r, const char **rest)
{
    uint64_t from = 0;
    uint64_t n = 0;
    const char *p = name;
    bool ok = strlen(name) >= NAME_BYTES && read_hex(&p, 16, &r->parent) && read_char(&p, '-') &&
              read_hex(&p, 16, &r->own) && read_char(&p, '-') && read_hex(&p, 6, &from) &&
              read_char(&p, '-') && read_hex(&p, 2, &n) && strncmp(p, ".kv", 3) == 0;
    *rest = p + 3;
    r->from = (uint32_t)from;
    r->n = (uint32_t)n;
    return ok && n > 0 && n <= SHOAL_PROMPT_BLOCK && from + n <= SHOAL_PROMPT_TOKENS_MAX;
}

/* ---- the directory ----------------------------------------------------------------------------
 */

shoal_status shoal_cache_dir_open(shoal_cache_dir *d, const char *path, uint64_t max_bytes,
                                  shoal_error *err)
{
    struct stat sb;
    int n = snprintf(d->path, sizeof d->path, "%s", path);
    d->max_bytes = max_bytes;
    if (n <= 0 || n >= (int)sizeof d->path - NAME_BYTES - TEMP_BYTES - 2) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the path of the prompt cache is too long or empty");
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return shoal_fail_errno(err, errno, "cannot make the directory %s", path);
    }
    if (stat(path, &sb) != 0) return shoal_fail_errno(err, errno, "cannot look at %s", path);
    if (!S_ISDIR(sb.st_mode)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "%s is not a directory", path);
    }
    if (sb.st_uid != geteuid() || (sb.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        (void)shoal_fail(err, SHOAL_ERR_DENIED, "others may write to %s", path);
        shoal_hint(err, "a prompt cache decides what the model has read: give it a directory of "
                        "your own (chmod 700)");
        return SHOAL_ERR_DENIED;
    }
    return SHOAL_OK;
}

/* Calls fn for each file whose name begins as a block's does; `rest` is what follows. */
typedef bool on_name(void *ctx, const shoal_cache_file *f, const char *path, const char *rest);

static shoal_status walk_names(const shoal_cache_dir *d, on_name *fn, void *ctx, shoal_error *err)
{
    DIR *dir = opendir(d->path);
    if (dir == NULL) return shoal_fail_errno(err, errno, "cannot read %s", d->path);
    bool go_on = true;
    const struct dirent *e = NULL;
    for (size_t i = 0; go_on && i < SHOAL_CACHE_FILES_MAX && (e = readdir(dir)) != NULL; i++) {
        shoal_cache_file f = {.bytes = 0};
        char path[2 * SHOAL_CACHE_PATH_MAX];
        const char *rest = NULL;
        struct stat sb;
        if (!parse_name(e->d_name, &f.ref, &rest)) continue;
        (void)snprintf(path, sizeof path, "%s/%s", d->path, e->d_name);
        if (lstat(path, &sb) != 0 || !S_ISREG(sb.st_mode)) continue;
        f.bytes = (uint64_t)sb.st_size;
        f.used_s = sb.st_mtim.tv_sec;
        f.used_ns = sb.st_mtim.tv_nsec;
        go_on = fn(ctx, &f, path, rest);
    }
    (void)closedir(dir);
    return SHOAL_OK;
}

typedef struct walk_files {
    shoal_on_cache_file *fn;
    void *ctx;
} walk_files;

static bool only_whole(void *ctx, const shoal_cache_file *f, const char *path, const char *rest)
{
    const walk_files *w = ctx;
    (void)path;
    return rest[0] != '\0' || w->fn(w->ctx, f);
}

shoal_status shoal_cache_dir_walk(const shoal_cache_dir *d, shoal_on_cache_file *fn, void *ctx,
                                  shoal_error *err)
{
    walk_files w = {fn, ctx};
    return walk_names(d, only_whole, &w, err);
}

/* ---- one file ---------------------------------------------------------------------------------
 */

bool shoal_cache_dir_has(const shoal_cache_dir *d, const shoal_prompt_ref *ref)
{
    char path[SHOAL_CACHE_PATH_MAX];
    return path_of(d, ref, path) && access(path, R_OK) == 0;
}

/* Reads up to n bytes; fewer at the end of the file. */
static shoal_status read_up_to(int fd, size_t n, shoal_buf *out, shoal_error *err)
{
    while (n > 0) {
        uint8_t *dst = shoal_buf_reserve(out, n);
        if (dst == NULL) return shoal_buf_status(out, err);
        ssize_t got = read(fd, dst, n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return shoal_fail_errno(err, errno, "cannot read from the prompt cache");
        if (got == 0) break;
        out->len += (size_t)got;
        n -= (size_t)got;
    }
    return SHOAL_OK;
}

shoal_status shoal_cache_dir_read(const shoal_cache_dir *d, const shoal_prompt_ref *ref,
                                  size_t head, size_t max, shoal_buf *out, shoal_error *err)
{
    char path[SHOAL_CACHE_PATH_MAX];
    struct stat sb;
    *out = shoal_buf_init(max);
    if (!path_of(d, ref, path)) return shoal_fail(err, SHOAL_ERR_ARG, "a path is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return shoal_fail_errno(err, errno, "cannot open %s", path);
    shoal_status st = SHOAL_OK;
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%s is not a file", path);
    } else if (head == 0 && (uint64_t)sb.st_size > max) {
        st = shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s is larger than %zu bytes", path, max);
    } else {
        st = read_up_to(fd, head > 0 ? head : (size_t)sb.st_size, out, err);
    }
    (void)close(fd);
    if (st != SHOAL_OK) shoal_buf_clear(out);
    return st;
}

shoal_status shoal_cache_dir_write(const shoal_cache_dir *d, const shoal_prompt_ref *ref,
                                   const void *data, size_t n, shoal_error *err)
{
    char path[SHOAL_CACHE_PATH_MAX];
    shoal_file_writer w;
    if (!path_of(d, ref, path)) return shoal_fail(err, SHOAL_ERR_ARG, "a path is too long");
    SHOAL_TRY(shoal_file_writer_open(&w, path, 0600, err));
    SHOAL_TRY(shoal_file_writer_put(&w, data, n, err));
    return shoal_file_writer_commit_unsynced(&w, err);
}

void shoal_cache_dir_touch(const shoal_cache_dir *d, const shoal_prompt_ref *ref)
{
    char path[SHOAL_CACHE_PATH_MAX];
    if (path_of(d, ref, path)) (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

void shoal_cache_dir_remove(const shoal_cache_dir *d, const shoal_prompt_ref *ref)
{
    char path[SHOAL_CACHE_PATH_MAX];
    if (path_of(d, ref, path)) (void)unlink(path);
}

/* ---- room -------------------------------------------------------------------------------------
 */

typedef struct file_list {
    shoal_cache_file *items;
    size_t n, cap;
    uint64_t bytes;
    bool no_memory;
} file_list;

static bool add_file(void *ctx, const shoal_cache_file *f)
{
    file_list *l = ctx;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 256 : 2 * l->cap;
        shoal_cache_file *bigger = shoal_realloc(l->items, cap * sizeof *bigger);
        l->no_memory = bigger == NULL;
        if (bigger == NULL) return false;
        l->items = bigger;
        l->cap = cap;
    }
    l->items[l->n++] = *f;
    l->bytes += f->bytes;
    return true;
}

/* Who goes first: the one used longest ago; at the same moment, the one furthest from the root. */
static int goes_first(const void *pa, const void *pb)
{
    const shoal_cache_file *a = pa;
    const shoal_cache_file *b = pb;
    if (a->used_s != b->used_s) return a->used_s < b->used_s ? -1 : 1;
    if (a->used_ns != b->used_ns) return a->used_ns < b->used_ns ? -1 : 1;
    if (a->ref.from != b->ref.from) return a->ref.from > b->ref.from ? -1 : 1;
    return a->ref.own < b->ref.own ? -1 : a->ref.own > b->ref.own;
}

shoal_status shoal_cache_dir_make_room(const shoal_cache_dir *d, uint64_t bytes, shoal_error *err)
{
    file_list l = {NULL};
    if (bytes > d->max_bytes) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the prompt cache holds %" PRIu64 " bytes only",
                          d->max_bytes);
    }
    shoal_status st = shoal_cache_dir_walk(d, add_file, &l, err);
    if (st == SHOAL_OK && l.no_memory) st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    if (st == SHOAL_OK && l.bytes > d->max_bytes - bytes) {
        qsort(l.items, l.n, sizeof *l.items, goes_first);
        for (size_t i = 0; i < l.n && l.bytes > d->max_bytes - bytes; i++) {
            shoal_cache_dir_remove(d, &l.items[i].ref);
            l.bytes -= l.items[i].bytes;
        }
    }
    shoal_free(l.items);
    return st;
}

typedef struct clearing {
    int64_t before_s;
    size_t n;
    uint64_t bytes;
} clearing;

/* Temporary files of other writers in progress are young, so they are spared like young blocks. */
static bool clear_old(void *ctx, const shoal_cache_file *f, const char *path, const char *rest)
{
    clearing *c = ctx;
    bool ours = rest[0] == '\0' || (rest[0] == '.' && strlen(rest) == TEMP_BYTES);
    if (ours && f->used_s < c->before_s && unlink(path) == 0) {
        c->n++;
        c->bytes += f->bytes;
    }
    return true;
}

size_t shoal_cache_dir_clear(const shoal_cache_dir *d, int64_t before_s, uint64_t *bytes)
{
    clearing c = {.before_s = before_s};
    (void)walk_names(d, clear_old, &c, NULL);
    if (bytes != NULL) *bytes = c.bytes;
    return c.n;
}
