/* dot_avxvnni.c - block formats times 8-bit activations with AVX-VNNI. See dot_vnni.h. */
#define SHOAL_VEC 8
#include "kernels/x86/init.h"
#include "kernels/x86/dot_vnni.h"

#define SLOT(name, TYPE, ...) t->dot_q8[SHOAL_TYPE_##TYPE] = dot_##name;

void shoal_dot_init_avxvnni(shoal_table *t)
{
    VNNI_FORMATS(SLOT)
}
