/* vec_file.c - see vec_file.h. */
#include "tests/support/vec_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

enum { VEC_MAX = 1 << 20 };

bool vec_open(vec_file *f, const char *path)
{
    memset(f, 0, sizeof *f);
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        fprintf(stderr, "missing: %s\n", path);
        return false;
    }
    f->text = shoal_calloc(VEC_MAX, 1);
    assert_non_null(f->text);
    size_t n = fread(f->text, 1, VEC_MAX - 1, in);
    (void)fclose(in);
    assert_true(n > 0);
    f->next_line = f->text;
    return true;
}

void vec_close(vec_file *f)
{
    shoal_free(f->text);
}

bool vec_next_line(vec_file *f)
{
    do {
        f->line = f->next_line;
        char *end = strchr(f->line, '\n');
        if (end == NULL) return false;
        *end = '\0';
        f->next_line = end + 1;
    } while (f->line[0] == '#' || f->line[0] == '\0');
    f->next_field = f->line;
    return true;
}

static char *next_field(vec_file *f)
{
    char *field = f->next_field;
    assert_non_null(field);
    char *space = strchr(field, ' ');
    f->next_field = space == NULL ? NULL : space + 1;
    if (space != NULL) {
        *space = '\0';
    }
    return field;
}

const char *vec_word(vec_file *f)
{
    return next_field(f);
}

uint64_t vec_number(vec_file *f)
{
    uint64_t v = 0;
    assert_true(shoal_parse_u64(next_field(f), &v));
    return v;
}

void vec_bytes(vec_file *f, uint8_t *out, size_t n)
{
    const char *field = next_field(f);
    if (n == 0) {
        assert_string_equal(field, "-");
        return;
    }
    assert_true(shoal_hex_decode(field, out, n));
}
