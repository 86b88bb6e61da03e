/* store.c - $SHOAL_HOME: directories, names to paths, adapters, the agent's lock. */
#include "client/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"

enum { NAME_MAX_BYTES = 64 };

bool shoal_store_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || name[0] == '.') return false;
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return strspn(name, ok) == n;
}

static shoal_status format_path(char out[SHOAL_PATH_MAX], shoal_error *err, const char *fmt, ...)
    SHOAL_PRINTF(3, 4);

static shoal_status format_path(char out[SHOAL_PATH_MAX], shoal_error *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, SHOAL_PATH_MAX, fmt, args);
    va_end(args);
    if (n >= 0 && n < SHOAL_PATH_MAX) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a path is longer than %d bytes", SHOAL_PATH_MAX);
}

shoal_status shoal_store_mkdir(const char *path, shoal_error *err)
{
    if (mkdir(path, 0700) == 0) return SHOAL_OK;
    struct stat sb;
    int why = errno;
    if (why == EEXIST && stat(path, &sb) == 0 && S_ISDIR(sb.st_mode)) return SHOAL_OK;
    return shoal_fail_errno(err, why, "cannot make the directory %s", path);
}

/* Makes every missing directory of a path. */
static shoal_status make_dirs(const char *path, shoal_error *err)
{
    char part[SHOAL_PATH_MAX];
    SHOAL_TRY(format_path(part, err, "%s", path));
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/') continue;
        *p = '\0';
        SHOAL_TRY(shoal_store_mkdir(part, err));
        *p = '/';
    }
    return shoal_store_mkdir(part, err);
}

/* The root from the argument or the environment. Relative paths are made absolute, because child
 * processes and links must mean the same place. */
static shoal_status find_root(char out[SHOAL_PATH_MAX], const char *root, shoal_error *err)
{
    const char *env = root != NULL ? root : getenv("SHOAL_HOME");
    if (env != NULL && env[0] == '/') return format_path(out, err, "%s", env);
    if (env != NULL && env[0] != '\0') {
        char cwd[SHOAL_PATH_MAX];
        if (getcwd(cwd, sizeof cwd) == NULL) {
            return shoal_fail_errno(err, errno, "cannot tell the working directory");
        }
        return format_path(out, err, "%s/%s", cwd, env);
    }
    const char *xdg = getenv("XDG_DATA_HOME");
    if (xdg != NULL && xdg[0] == '/') return format_path(out, err, "%s/shoal", xdg);
    const char *home = getenv("HOME");
    if (home != NULL && home[0] == '/') return format_path(out, err, "%s/.local/share/shoal", home);
    shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no home directory to keep models and keys in");
    shoal_hint(err, "set SHOAL_HOME to a directory");
    return SHOAL_ERR_NOT_FOUND;
}

shoal_status shoal_store_open(shoal_store *s, const char *root, shoal_error *err)
{
    SHOAL_TRY(find_root(s->root, root, err));
    size_t n = strlen(s->root);
    while (n > 1 && s->root[n - 1] == '/')
        s->root[--n] = '\0';
    SHOAL_TRY(make_dirs(s->root, err));
    static const char *const dirs[] = {"models", "adapters", "identity", "tasks"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        char path[SHOAL_PATH_MAX];
        SHOAL_TRY(shoal_store_path(s, path, err, "%s", dirs[i]));
        SHOAL_TRY(shoal_store_mkdir(path, err));
    }
    return SHOAL_OK;
}

shoal_status shoal_store_path(const shoal_store *s, char out[SHOAL_PATH_MAX], shoal_error *err,
                              const char *fmt, ...)
{
    int n = snprintf(out, SHOAL_PATH_MAX, "%s/", s->root);
    if (n > 0 && n < SHOAL_PATH_MAX) {
        va_list args;
        va_start(args, fmt);
        int m = vsnprintf(out + n, (size_t)(SHOAL_PATH_MAX - n), fmt, args);
        va_end(args);
        if (m >= 0 && m < SHOAL_PATH_MAX - n) return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a path under %.200s is too long", s->root);
}

static bool is_file(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISREG(sb.st_mode);
}

shoal_status shoal_store_model_path(const char *name_or_path, char out[SHOAL_PATH_MAX],
                                    shoal_error *err)
{
    if (is_file(name_or_path)) return format_path(out, err, "%s", name_or_path);
    if (shoal_store_name_ok(name_or_path)) {
        char root[SHOAL_PATH_MAX];
        SHOAL_TRY(find_root(root, NULL, err));
        static const char *const ends[] = {".gguf", ""};
        for (size_t i = 0; i < 2; i++) {
            SHOAL_TRY(format_path(out, err, "%s/models/%s%s", root, name_or_path, ends[i]));
            if (is_file(out)) return SHOAL_OK;
        }
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no model '%s'", name_or_path);
        shoal_hint(err, "`shoal model list` shows what is here and what can be fetched by name");
        return SHOAL_ERR_NOT_FOUND;
    }
    return shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no model file %s", name_or_path);
}

/* adapters/TASK/latest.gguf or adapters/TASK/vN.gguf of a name TASK or TASK/vN. */
static shoal_status adapter_of_name(const char *name, char out[SHOAL_PATH_MAX], shoal_error *err)
{
    char task[SHOAL_PATH_MAX];
    SHOAL_TRY(format_path(task, err, "%s", name));
    char *slash = strchr(task, '/');
    const char *version = "latest";
    if (slash != NULL) {
        *slash = '\0';
        version = slash + 1;
    }
    if (!shoal_store_name_ok(task) || !shoal_store_name_ok(version)) return SHOAL_ERR_NOT_FOUND;
    char root[SHOAL_PATH_MAX];
    SHOAL_TRY(find_root(root, NULL, err));
    SHOAL_TRY(format_path(out, err, "%s/adapters/%s/%s.gguf", root, task, version));
    return is_file(out) ? SHOAL_OK : SHOAL_ERR_NOT_FOUND;
}

shoal_status shoal_store_adapter_path(const char *name_or_path, char out[SHOAL_PATH_MAX],
                                      shoal_error *err)
{
    struct stat sb;
    if (stat(name_or_path, &sb) == 0) return format_path(out, err, "%s", name_or_path);
    shoal_status st = adapter_of_name(name_or_path, out, err);
    if (st != SHOAL_ERR_NOT_FOUND) return st;
    shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no adapter %s", name_or_path);
    shoal_hint(err, "give a file, or the name of a task this device has taken part in");
    return SHOAL_ERR_NOT_FOUND;
}

/* Points adapters/TASK/latest.gguf at vN.gguf: a new link takes the name by rename. */
static shoal_status link_latest(const shoal_store *s, const char *task, uint64_t version,
                                shoal_error *err)
{
    char target[64];
    char fresh[SHOAL_PATH_MAX];
    char latest[SHOAL_PATH_MAX];
    (void)snprintf(target, sizeof target, "v%" PRIu64 ".gguf", version);
    SHOAL_TRY(shoal_store_path(s, fresh, err, "adapters/%s/latest.new", task));
    SHOAL_TRY(shoal_store_path(s, latest, err, "adapters/%s/latest.gguf", task));
    if (unlink(fresh) != 0 && errno != ENOENT) {
        return shoal_fail_errno(err, errno, "cannot remove %s", fresh);
    }
    if (symlink(target, fresh) != 0 || rename(fresh, latest) != 0) {
        return shoal_fail_errno(err, errno, "cannot point %s at %s", latest, target);
    }
    return SHOAL_OK;
}

shoal_status shoal_store_put_adapter(const shoal_store *s, const char *task, uint64_t version,
                                     const void *data, size_t n, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    if (!shoal_store_name_ok(task)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "'%.64s' cannot name a task on disk", task);
    }
    SHOAL_TRY(shoal_store_path(s, path, err, "adapters/%s", task));
    SHOAL_TRY(shoal_store_mkdir(path, err));
    SHOAL_TRY(shoal_store_path(s, path, err, "adapters/%s/v%" PRIu64 ".gguf", task, version));
    SHOAL_TRY(shoal_file_write_atomic(path, data, n, 0644, err));
    return link_latest(s, task, version, err);
}

shoal_status shoal_store_lock_take(const shoal_store *s, shoal_store_lock *lock, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    lock->fd = -1;
    SHOAL_TRY(shoal_store_path(s, path, err, "lock"));
    shoal_status st = shoal_file_lock(path, &lock->fd, err);
    if (st != SHOAL_ERR_AGAIN) return st;
    shoal_fail(err, SHOAL_ERR_AGAIN, "another agent is already at work in %.200s", s->root);
    shoal_hint(err, "stop it first, or give this one its own SHOAL_HOME");
    return SHOAL_ERR_AGAIN;
}

void shoal_store_lock_release(shoal_store_lock *lock)
{
    if (lock->fd >= 0) (void)close(lock->fd);
    lock->fd = -1;
}
