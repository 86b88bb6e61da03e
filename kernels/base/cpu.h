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
    SHOAL_CPU_AVXVNNI = 1u << 1, /* AVX-VNNI: vpdpbusd on 256 bits, VEX encoded */
    SHOAL_CPU_AVX512 = 1u << 2,  /* AVX-512 F, DQ, BW, VL and VNNI */
    SHOAL_CPU_NEON = 1u << 8,    /* every 64-bit ARM */
    SHOAL_CPU_DOTPROD = 1u << 9, /* sdot: Armv8.2 and later, most phones since 2018 */
    SHOAL_CPU_I8MM = 1u << 10,   /* smmla: Armv8.6 and later */
    SHOAL_CPU_ALL = 0x7fffffff
};

/* Flags of this machine. */
uint32_t shoal_cpu_flags(void);

/* What x86 says of itself: registers of CPUID leaves (1 and 7, sub-leaves 0 and 1) and XCR0, which
 * names the registers the operating system saves (0 when it saves none). */
typedef struct shoal_cpuid {
    uint32_t ecx1, ebx7, ecx7, eax7_1;
    uint64_t xcr0;
} shoal_cpuid;

/* The flags these mean: an instruction counts only where its registers are saved too. */
uint32_t shoal_cpu_flags_x86(const shoal_cpuid *id);

/* The flags that Linux's words AT_HWCAP and AT_HWCAP2 mean on 64-bit ARM. */
uint32_t shoal_cpu_flags_arm(unsigned long hwcap, unsigned long hwcap2);

/* A level's name ("c", "avx2", "avxvnni", "avx512"; "neon", "dotprod", "i8mm"), "all" or a
 * hexadecimal mask, as given to --cpu-mask; a level includes the lower ones of its architecture.
 * False when the text is none of these. */
bool shoal_cpu_mask_parse(const char *text, uint32_t *mask);

#ifdef __cplusplus
}
#endif
#endif
