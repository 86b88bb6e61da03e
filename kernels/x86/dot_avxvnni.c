/* dot_avxvnni.c - block formats times 8-bit activations with AVX-VNNI. See dot_vnni.h. */
#define SHOAL_VEC 8
#include "kernels/x86/init.h"
#include "kernels/x86/dot_vnni.h"

void shoal_dot_init_avxvnni(shoal_table *t)
{
    init_dots(t);
}
