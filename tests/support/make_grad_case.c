/* make_grad_case.c - writes what a gradient is computed from, for tests/kat/gen/grad_parity.py:
 * make_grad_case DIR FAMILY TYPE writes DIR/model.gguf, DIR/adapter.gguf and, on standard output,
 * the samples as JSON; make_grad_case --list names the families and the types that are not packed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "tests/support/grad_case.h"

static int list_cases(void)
{
    const grad_family *f = NULL;
    const shoal_type *type = NULL;
    for (size_t i = 0; (f = grad_family_at(i)) != NULL; i++) {
        for (size_t j = 0; (type = grad_type_at(j)) != NULL; j++) {
            if (shoal_type_plain(*type) != *type) continue;
            (void)printf("%s %s\n", f->name, shoal_type_get((uint32_t)*type)->name);
        }
    }
    return 0;
}

static const grad_family *find_family(const char *name)
{
    const grad_family *f = NULL;
    for (size_t i = 0; (f = grad_family_at(i)) != NULL; i++) {
        if (strcmp(f->name, name) == 0) break;
    }
    return f;
}

static void print_samples(const fixture_samples *s)
{
    (void)printf("[");
    for (size_t i = 0; i < FIXTURE_SAMPLES; i++) {
        (void)printf("%s{\"ids\": [", i > 0 ? ",\n " : "");
        for (size_t j = 0; j < s->items[i].n; j++) {
            (void)printf("%s%d", j > 0 ? ", " : "", (int)s->ids[i][j]);
        }
        (void)printf("], \"mask\": [");
        for (size_t j = 0; j < s->items[i].n; j++) {
            (void)printf("%s%d", j > 0 ? ", " : "", s->mask[i][j]);
        }
        (void)printf("]}");
    }
    (void)printf("]\n");
}

static shoal_status write_case(const char *dir, const grad_family *f, const shoal_type *type,
                               shoal_error *err)
{
    char path[256];
    fixture_samples samples;
    shoal_tiny_opts opts = grad_case_opts(f, type);
    (void)snprintf(path, sizeof path, "%s/model.gguf", dir);
    SHOAL_TRY(shoal_tiny_model_write(path, GRAD_CASE_SEED, &opts, err));
    shoal_model *m = NULL;
    SHOAL_TRY(shoal_model_open(&m, path, err));
    shoal_adapter *a = grad_case_adapter(m);
    shoal_buf file = shoal_buf_init((size_t)1 << 24);
    shoal_status st = shoal_adapter_encode(a, &file, err);
    (void)snprintf(path, sizeof path, "%s/adapter.gguf", dir);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, file.data, file.len, 0600, err);
    grad_case_samples(m, &samples);
    if (st == SHOAL_OK) print_samples(&samples);
    shoal_buf_clear(&file);
    shoal_adapter_close(a);
    shoal_model_close(m);
    return st;
}

int main(int argc, char **argv)
{
    shoal_type type = SHOAL_TYPE_F32;
    shoal_error err = {0};
    if (argc == 2 && strcmp(argv[1], "--list") == 0) return list_cases();
    const grad_family *f = argc == 4 ? find_family(argv[2]) : NULL;
    if (f == NULL || !shoal_type_parse(argv[3], &type)) {
        (void)fprintf(stderr, "usage: make_grad_case DIR FAMILY TYPE | --list\n");
        return 2;
    }
    if (write_case(argv[1], f, &type, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "error: %s\n", err.msg);
        return 1;
    }
    return 0;
}
