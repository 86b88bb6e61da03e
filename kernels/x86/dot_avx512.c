/* dot_avx512.c - block formats times 8-bit activations with AVX-512 VNNI. See dot_vnni.h. */
#define SHOAL_VEC 16
#include "kernels/x86/init.h"
#include "kernels/x86/dot_vnni.h"

void shoal_dot_init_avx512(shoal_table *t)
{
    init_dots(t);
}
