/* vec_file.h - reads tests/kat/<name>.vec: one case a line, fields between spaces, # comments. */
#ifndef SHOAL_TESTS_SUPPORT_VEC_FILE_H
#define SHOAL_TESTS_SUPPORT_VEC_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vec_file {
    char *text;
    char *line, *next_line, *next_field;
} vec_file;

/* False, with a line on stderr, when the file is missing. */
bool vec_open(vec_file *f, const char *path);
void vec_close(vec_file *f);
/* Moves to the next line that is not a comment; false at the end. */
bool vec_next_line(vec_file *f);
/* The next field of the line, as it stands; asserts. */
const char *vec_word(vec_file *f);
/* The next field of the line as a number, or as exactly n bytes of hex ("-" for none); asserts. */
uint64_t vec_number(vec_file *f);
void vec_bytes(vec_file *f, uint8_t *out, size_t n);

#endif
