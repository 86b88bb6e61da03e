/* make_delta_seeds.c - writes seeds of fuzz_delta: deltas of both forms from 4096 zero bytes.
 *
 * usage: make_delta_seeds DIRECTORY
 */
#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "proto/delta.h"

static shoal_status write_seed(const char *dir, const char *name, double step, shoal_error *err)
{
    static uint8_t from[4096], to[4096];
    char path[512];
    shoal_buf out = shoal_buf_init(sizeof to);
    for (size_t i = 0; i < 1000; i++) {
        float f = (float)((double)(i % 37) * 0.25);
        if (i % 100 == 0) f = 1e30F; /* an exception */
        memcpy(to + 4 * i, &f, 4);
    }
    shoal_status st = shoal_delta_encode(from, to, sizeof to, step, &out, err);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, out.data, out.len, 0644, err);
    shoal_buf_clear(&out);
    return st;
}

int main(int argc, char **argv)
{
    shoal_error err = {0};
    if (argc != 2) return 2;
    shoal_status st = write_seed(argv[1], "delta_steps", 0.25, &err);
    if (st == SHOAL_OK) st = write_seed(argv[1], "delta_xor", 0, &err);
    if (st == SHOAL_OK) return 0;
    (void)fprintf(stderr, "%s\n", err.msg);
    return 1;
}
