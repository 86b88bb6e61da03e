/* dot_avx512.c - block formats times 8-bit activations with AVX-512 VNNI. See dot_vnni.h.
 *
 * Two groups of rows as one vector cost ten inserts a block, which a few rows of activations do not
 * pay back: these meet one group at a time. The bits are the same.
 */
#define SHOAL_VEC 16
#include "kernels/x86/init.h"
#include "kernels/x86/dot_vnni.h"

enum { FEW_ROWS = 6 }; /* measured on Zen 4 */

#define WIDE(name, TYPE, ...)                                                           \
    static void any_##name(const void *w, size_t row_bytes, size_t rows, size_t blocks, \
                           const void *tile, size_t n, float *y, size_t ldy)            \
    {                                                                                   \
        shoal_dot_q8_fn *dot =                                                          \
            n > FEW_ROWS ? dot_##name : shoal_dot_few_avx512[SHOAL_TYPE_##TYPE];        \
        dot(w, row_bytes, rows, blocks, tile, n, y, ldy);                               \
    }
VNNI_FORMATS(WIDE)

#define SLOT(name, TYPE, ...) t->dot_q8[SHOAL_TYPE_##TYPE] = any_##name;

void shoal_dot_init_avx512(shoal_table *t)
{
    VNNI_FORMATS(SLOT)
}
