/* cpu.h - what the processor can do, and the mask that forces lower kernels.
 *
 * Layer: kernels/base. Threads: detection is pure.
 */
#ifndef SHOAL_KERNELS_BASE_CPU_H
#define SHOAL_KERNELS_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_CPU_AVX2 = 1u << 0,    /* AVX2 + FMA + F16C */
    SHOAL_CPU_AVXVNNI = 1u << 1, /* reserved for later kernels */
    SHOAL_CPU_AVX512 = 1u << 2,  /* reserved for later kernels */
    SHOAL_CPU_NEON = 1u << 8,    /* reserved for later kernels */
    SHOAL_CPU_DOTPROD = 1u << 9, /* reserved for later kernels */
    SHOAL_CPU_I8MM = 1u << 10,   /* reserved for later kernels */
    SHOAL_CPU_ALL = 0x7fffffff
};

/* Flags of this machine. */
uint32_t shoal_cpu_flags(void);

/* "c", "avx2", "all" or a hexadecimal mask, as given to --cpu-mask; a level includes the lower
 * ones. False when the text is none of these. */
bool shoal_cpu_mask_parse(const char *text, uint32_t *mask);

#ifdef __cplusplus
}
#endif
#endif
