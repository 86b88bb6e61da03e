/* temp_dir.c - temporary directories of tests. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "tests/support/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void temp_dir_make(char out[TEMP_DIR_MAX])
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(out, TEMP_DIR_MAX, "%s/shoal-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_true(n > 0 && n < TEMP_DIR_MAX);
    assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *sb, int type, struct FTW *where)
{
    (void)sb;
    (void)type;
    (void)where;
    return remove(path);
}

void temp_dir_remove(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
