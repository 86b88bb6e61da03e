/* make_tiny_model.c - writes a tiny model from the command line:
 * make_tiny_model FILE [SEED [VARIANT]], or make_tiny_model --variants for their names. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "tests/support/tiny_model.h"

static int list_variants(void)
{
    const shoal_tiny_variant *v = NULL;
    for (size_t i = 0; (v = shoal_tiny_variant_at(i)) != NULL; i++) {
        (void)printf("%s\n", v->name);
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    const shoal_tiny_variant *v = NULL;
    if (argc == 2 && strcmp(argv[1], "--variants") == 0) return list_variants();
    if (argc < 2 || argc > 4 || (argc >= 3 && !shoal_parse_u64(argv[2], &seed)) ||
        (argc == 4 && (v = shoal_tiny_variant_find(argv[3])) == NULL)) {
        (void)fprintf(stderr, "usage: make_tiny_model FILE [SEED [VARIANT]] | --variants\n");
        return 2;
    }
    shoal_error err = {0};
    if (shoal_tiny_model_write(argv[1], seed, v == NULL ? NULL : &v->opts, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "error: %s\n", err.msg);
        return 1;
    }
    return 0;
}
