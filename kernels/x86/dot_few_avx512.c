/* dot_few_avx512.c - block formats times few rows of 8-bit activations, with the instructions of
 * AVX-512 on 8 lanes. See dot_vnni.h, and dot_avx512.c, which calls this.
 */
#define SHOAL_VEC 8
#include "kernels/x86/init.h"
#include "kernels/x86/dot_vnni.h"

#define SLOT(name, TYPE, ...) [SHOAL_TYPE_##TYPE] = dot_##name,

shoal_dot_q8_fn *const shoal_dot_few_avx512[SHOAL_TYPE_SLOTS] = {VNNI_FORMATS(SLOT)};
