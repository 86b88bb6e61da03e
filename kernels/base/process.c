/* process.c - giving up rights. System calls that C libraries do not wrap are made by number. */
#define _GNU_SOURCE /* setgroups, O_PATH, struct ucred */
#include "kernels/base/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#define HAVE_LANDLOCK 1
#endif
#endif

shoal_status shoal_process_owner(const char *path, unsigned *user, unsigned *group,
                                 shoal_error *err)
{
    struct stat s;
    if (stat(path, &s) != 0) {
        return shoal_fail_errno(err, errno, "cannot examine %s", path);
    }
    *user = s.st_uid;
    *group = s.st_gid;
    return SHOAL_OK;
}

shoal_status shoal_process_become(unsigned user, unsigned group, shoal_error *err)
{
    if (geteuid() == user && getuid() == user) {
        return SHOAL_OK;
    }
    if (setgroups(0, NULL) != 0 || setgid(group) != 0 || setuid(user) != 0 ||
        (user != 0 && setuid(0) == 0)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "cannot become user %u", user);
    }
    return SHOAL_OK;
}

void shoal_process_no_core(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
}

void shoal_process_hide(void)
{
    shoal_process_no_core();
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

bool shoal_process_peer_user(int fd, unsigned *user)
{
#ifdef SO_PEERCRED
    struct ucred who;
    socklen_t n = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && n == sizeof who) {
        *user = who.uid;
        return true;
    }
#else
    (void)fd;
    (void)user;
#endif
    return false;
}

/* ---- Landlock ---------------------------------------------------------------------------------
 *
 * Its rules only ever allow. So everything beside the path is allowed: the other entries of its
 * directory, of that directory's directory, and so on up to the root. What is withheld are reading,
 * writing and what could put something else in the path's place; making and removing files stays,
 * so that files above can still be replaced whole by descriptors that were open before.
 */
#ifdef HAVE_LANDLOCK

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

static const uint64_t FILES = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
static const uint64_t TREE =
    LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR;

static uint64_t for_version(long version)
{
    return FILES | TREE | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
}

/* What cannot be opened (it may be gone by now) cannot be used either. */
static void allow(int rules, int dir, const char *name, uint64_t rights)
{
    struct stat s;
    int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &s) == 0 && !S_ISLNK(s.st_mode)) {
        struct landlock_path_beneath_attr rule = {
            .allowed_access = S_ISDIR(s.st_mode) ? rights : rights & ~TREE, .parent_fd = fd};
        (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    (void)close(fd);
}

/* Allows everything in the directory `at` but the entry `but`. */
static bool allow_beside(int rules, const char *at, const char *but, uint64_t rights)
{
    DIR *d = opendir(at);
    if (d == NULL) return false;
    const struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        bool self = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (!self && strcmp(e->d_name, but) != 0) allow(rules, dirfd(d), e->d_name, rights);
    }
    (void)closedir(d);
    return true;
}

/* From the path up to the root; `path` is absolute without links and is cut in place. A directory
 * that may not be listed has nothing below that this process uses by other ways than the path. */
static bool allow_all_but(int rules, char *path, uint64_t rights)
{
    for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
        char name[NAME_MAX + 1];
        if (snprintf(name, sizeof name, "%s", slash + 1) >= (int)sizeof name) return false;
        *slash = '\0';
        (void)allow_beside(rules, path[0] != '\0' ? path : "/", name, rights);
    }
    return true;
}

static shoal_status restrict_self(int rules, const char *path, uint64_t rights, shoal_error *err)
{
    char real[PATH_MAX];
    if (realpath(path, real) == NULL) {
        return shoal_fail_errno(err, errno, "cannot find %s", path);
    }
    if (!allow_all_but(rules, real, rights) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) != 0) {
        return shoal_fail_errno(err, errno, "cannot give up access to %s", path);
    }
    return SHOAL_OK;
}

shoal_status shoal_process_forgo(const char *path, shoal_error *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "this kernel has no Landlock");
    }
    uint64_t rights = for_version(version);
    struct landlock_ruleset_attr attr = {.handled_access_fs = rights};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0) {
        return shoal_fail_errno(err, errno, "cannot give up access to %s", path);
    }
    shoal_status st = restrict_self(rules, path, rights, err);
    (void)close(rules);
    return st;
}

#else

shoal_status shoal_process_forgo(const char *path, shoal_error *err)
{
    (void)path;
    return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "this system has no Landlock");
}

#endif
