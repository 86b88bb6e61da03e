/* vectors.c - finds inputs, or skips. */
#include "tests/support/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/mem.h"

enum { PATH_BYTES = 1024, EXIT_SKIPPED = 77 };

static const char *need(const char *path)
{
    if (access(path, R_OK) != 0) {
        (void)fprintf(stderr, "skipped: %s is missing\n", path);
        exit(EXIT_SKIPPED);
    }
    return path;
}

const char *vectors_path(const char *relative)
{
    static char path[PATH_BYTES];
    const char *shared = getenv("SHOAL_SHARED");
    (void)snprintf(path, sizeof path, "%s/vectors/%s", shared == NULL ? "../shared" : shared,
                   relative);
    return need(path);
}

json_t *vectors_load(const char *relative)
{
    json_error_t error;
    json_t *root = json_load_file(vectors_path(relative), JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        fail_msg("%s:%d: %s", relative, error.line, error.text);
    }
    return root;
}

/* The file the environment names, else models/<name> where the programs keep their state. */
static const char *model_path(const char *variable, const char *name, char path[PATH_BYTES])
{
    const char *given = getenv(variable);
    const char *home = getenv("SHOAL_HOME");
    const char *data = getenv("XDG_DATA_HOME");
    const char *user = getenv("HOME");
    if (given != NULL) {
        (void)snprintf(path, PATH_BYTES, "%s", given);
    } else if (home != NULL) {
        (void)snprintf(path, PATH_BYTES, "%s/models/%s", home, name);
    } else if (data != NULL) {
        (void)snprintf(path, PATH_BYTES, "%s/shoal/models/%s", data, name);
    } else {
        (void)snprintf(path, PATH_BYTES, "%s/.local/share/shoal/models/%s",
                       user == NULL ? "" : user, name);
    }
    return need(path);
}

const char *real_model_path(void)
{
    static char path[PATH_BYTES];
    return model_path("SHOAL_TEST_MODEL", "smollm2-135m.gguf", path);
}

const char *gemma_path(void)
{
    static char path[PATH_BYTES];
    return model_path("SHOAL_TEST_GEMMA", "gemma3-270m.gguf", path);
}

int32_t *vectors_ids(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = shoal_calloc(*n, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    }
    return ids;
}
