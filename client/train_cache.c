/* train_cache.c - see train_cache.h. */
#include "client/train_cache.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/base/term.h"

enum { DISK_SHARE = 2 /* of free space, one part in so many may be used */ };

/* Bytes that a file at `path` may take, with what it has already. */
static uint64_t room_on_disk(const char *path)
{
    char copy[SHOAL_PATH_MAX];
    struct statvfs fs;
    struct stat sb;
    (void)snprintf(copy, sizeof copy, "%s", path);
    if (statvfs(dirname(copy), &fs) != 0) return 0;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize / DISK_SHARE;
    if (lstat(path, &sb) == 0 && S_ISREG(sb.st_mode)) room += (uint64_t)sb.st_size;
    return room;
}

static bool is_worthwhile(const shoal_engine *e, const shoal_train_cache_options *o)
{
    return o->first_layer > 0 && o->passes > 1 && o->max_bytes > 0 &&
           shoal_lower_cache_pays(e->model, o->first_layer, e->exec.exact);
}

void shoal_train_cache_open(shoal_train_cache *c, const shoal_engine *e,
                            const shoal_train_cache_options *o)
{
    shoal_error why = {0};
    *c = (shoal_train_cache){.cache = NULL};
    int n = snprintf(c->path, sizeof c->path, "%s%s", o->checkpoint,
                     o->checkpoint[0] != '\0' ? ".states" : "");
    if (n < 0 || (size_t)n >= sizeof c->path) c->path[0] = '\0';
    if (!is_worthwhile(e, o)) return;
    uint64_t most = c->path[0] != '\0' ? room_on_disk(c->path) : o->max_bytes;
    const shoal_lower_options lower = {.first_layer = o->first_layer,
                                       .max_tokens = o->max_tokens,
                                       .max_bytes = most < o->max_bytes ? most : o->max_bytes,
                                       .texts = o->texts,
                                       .n_texts = o->n_texts};
    if (shoal_lower_cache_open(&c->cache, e->model, &e->exec, &lower, &why) != SHOAL_OK) {
        shoal_term_warn("lower layers are not cached: %s", why.msg);
    } else if (shoal_lower_cache_get_stats(c->cache).n_rows == 0) {
        shoal_term_warn("lower layers are not cached: no room (--cache-size, or the disk)");
        shoal_lower_cache_close(c->cache);
        c->cache = NULL;
    }
}

/* "layers 0..19": those that do not run for rows from the cache. */
static void name_layers(const shoal_lower_stats *s, char *out, size_t n)
{
    if (s->layers == 1) {
        (void)snprintf(out, n, "layer 0");
    } else {
        (void)snprintf(out, n, "layers 0..%zu", s->layers - 1);
    }
}

static void tell_start(const shoal_train_cache *c, const shoal_lower_stats *s)
{
    char layers[40];
    char bytes[24];
    char left_out[64] = "";
    name_layers(s, layers, sizeof layers);
    shoal_format_bytes(s->file_bytes, bytes, sizeof bytes);
    if (s->n_left_out > 0) {
        (void)snprintf(left_out, sizeof left_out, ", no room for %u texts",
                       (unsigned)s->n_left_out);
    }
    shoal_term_note("%s cached: %s in %s%s", layers, bytes, c->path, left_out);
    if (s->foreign) shoal_term_note("the cache that was there is of another run: begun anew");
    if (s->n_present > 0) {
        shoal_term_note("%u of %u rows are cached already", (unsigned)s->n_present,
                        (unsigned)s->n_rows);
    }
    if (s->n_damaged > 0) {
        shoal_term_warn("%u cached rows are damaged and will be computed again",
                        (unsigned)s->n_damaged);
    }
}

void shoal_train_cache_start(shoal_train_cache *c, shoal_trainer *tr)
{
    shoal_error why = {0};
    if (c->cache == NULL) return;
    if (shoal_lower_cache_attach(c->cache, c->path, &why) != SHOAL_OK) {
        shoal_term_warn("lower layers are not cached: %s", why.msg);
        shoal_lower_cache_close(c->cache);
        c->cache = NULL;
        return;
    }
    shoal_lower_stats s = shoal_lower_cache_get_stats(c->cache);
    tell_start(c, &s);
    shoal_trainer_use_cache(tr, c->cache);
}

double shoal_train_cache_share(const shoal_train_cache *c)
{
    if (c->cache == NULL) return 0.0;
    shoal_lower_stats s = shoal_lower_cache_get_stats(c->cache);
    uint64_t all = s.rows_read + s.rows_computed;
    return all > 0 ? (double)s.rows_read / (double)all : 0.0;
}

void shoal_train_cache_tell(const shoal_train_cache *c)
{
    char layers[40];
    if (c->cache == NULL) return;
    shoal_lower_stats s = shoal_lower_cache_get_stats(c->cache);
    name_layers(&s, layers, sizeof layers);
    shoal_term_note("cache         %.0f %% of the rows of %s read",
                    100.0 * shoal_train_cache_share(c), layers);
    if (s.full) shoal_term_warn("the disk was full: not all rows could be cached");
}

void shoal_train_cache_close(shoal_train_cache *c, bool keep)
{
    shoal_lower_cache_close(c->cache);
    c->cache = NULL;
    if (!keep && c->path[0] != '\0') (void)unlink(c->path);
}
