/* sysfs.c - see sysfs.h. */
#include "client/sysfs.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>

#include "kernels/base/buf.h"

enum { PATH_BYTES = 512 };

static bool join(char path[PATH_BYTES], const char *dir, const char *name)
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return n > 0 && n < PATH_BYTES;
}

bool shoal_sysfs_word(const char *dir, const char *name, char word[SHOAL_SYSFS_WORD])
{
    char path[PATH_BYTES];
    FILE *f = join(path, dir, name) ? fopen(path, "r") : NULL;
    if (f == NULL) return false;
    bool ok = fscanf(f, "%31s", word) == 1;
    (void)fclose(f);
    return ok;
}

bool shoal_sysfs_number(const char *dir, const char *name, uint64_t *out)
{
    char word[SHOAL_SYSFS_WORD];
    return shoal_sysfs_word(dir, name, word) && shoal_parse_u64(word, out);
}

bool shoal_sysfs_signed(const char *dir, const char *name, int64_t *out)
{
    char word[SHOAL_SYSFS_WORD];
    uint64_t size = 0;
    if (!shoal_sysfs_word(dir, name, word)) return false;
    bool negative = word[0] == '-';
    if (!shoal_parse_u64(word + (negative ? 1 : 0), &size) || size > INT32_MAX) return false;
    *out = negative ? -(int64_t)size : (int64_t)size;
    return true;
}

void shoal_sysfs_each(const char *sys, const char *folder, void (*look)(void *ctx, const char *dir),
                      void *ctx)
{
    char dir[PATH_BYTES];
    char path[PATH_BYTES];
    const struct dirent *entry = NULL;
    DIR *d = join(dir, sys, folder) ? opendir(dir) : NULL;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.' && join(path, dir, entry->d_name)) look(ctx, path);
    }
    if (d != NULL) (void)closedir(d);
}
