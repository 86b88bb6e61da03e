/* sysfs.h - small files of Linux' sysfs: a word or a number each.
 *
 * Layer: client. Threads: pure functions over the file system.
 */
#ifndef SHOAL_CLIENT_SYSFS_H
#define SHOAL_CLIENT_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_SYSFS_WORD = 32 };

/* First word of dir/name, or the number it is; false when there is no such file. */
bool shoal_sysfs_word(const char *dir, const char *name, char word[SHOAL_SYSFS_WORD]);
bool shoal_sysfs_number(const char *dir, const char *name, uint64_t *out);
bool shoal_sysfs_signed(const char *dir, const char *name, int64_t *out);

/* Calls `look` for each entry of sys/folder with its path. */
void shoal_sysfs_each(const char *sys, const char *folder, void (*look)(void *ctx, const char *dir),
                      void *ctx);

#ifdef __cplusplus
}
#endif
#endif
