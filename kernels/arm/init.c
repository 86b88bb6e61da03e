/* init.c - the ARM staircase: each level replaces what it does better than the one below. */
#include "kernels/arm/arm.h"
#include "kernels/base/cpu.h"

static void set_dot(shoal_table *t, const char *name, shoal_dot_q8_fn *const slots[])
{
    t->name = name;
    for (size_t i = 0; i < SHOAL_TYPE_SLOTS; i++) {
        if (slots[i] != NULL) t->dot_q8[i] = slots[i];
    }
}

void shoal_table_init_arm(shoal_table *t, uint32_t flags)
{
    if ((flags & SHOAL_CPU_NEON) == 0) return;
    set_dot(t, "neon", shoal_dot_neon);
    shoal_quant_init_neon(t);
    shoal_gemm_init_neon(t);
    t->gemm16 = NULL; /* vmlal multiplies four 16-bit values an instruction, as many as f32 */
    shoal_rowops_init_neon(t);
    if ((flags & SHOAL_CPU_DOTPROD) == 0) return;
    set_dot(t, "dotprod", shoal_dot_dotprod);
    if ((flags & SHOAL_CPU_I8MM) == 0) return;
    set_dot(t, "i8mm", shoal_dot_i8mm);
}
