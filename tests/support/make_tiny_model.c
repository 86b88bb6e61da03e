/* make_tiny_model.c - writes a tiny model from the command line: make_tiny_model FILE [SEED] */
#include <stdio.h>

#include "kernels/base/buf.h"
#include "tests/support/tiny_model.h"

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    if (argc < 2 || argc > 3 || (argc == 3 && !shoal_parse_u64(argv[2], &seed))) {
        (void)fprintf(stderr, "usage: make_tiny_model FILE [SEED]\n");
        return 2;
    }
    shoal_error err = {0};
    if (shoal_tiny_model_write(argv[1], seed, NULL, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "error: %s\n", err.msg);
        return 1;
    }
    return 0;
}
