/* cpu.c - see cpu.h. */
#include "kernels/base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Asked by hand: clang 14 does not know the name in __builtin_cpu_supports. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

uint32_t shoal_cpu_flags(void)
{
    uint32_t flags = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        flags |= SHOAL_CPU_AVX2;
    }
    return flags;
}
#else
uint32_t shoal_cpu_flags(void)
{
    return 0;
}
#endif

bool shoal_cpu_mask_parse(const char *text, uint32_t *mask)
{
    if (strcmp(text, "c") == 0) {
        *mask = 0;
        return true;
    }
    if (strcmp(text, "avx2") == 0) {
        *mask = SHOAL_CPU_AVX2;
        return true;
    }
    if (strcmp(text, "all") == 0) {
        *mask = SHOAL_CPU_ALL;
        return true;
    }
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 16);
    if (*text == '\0' || *end != '\0' || v > SHOAL_CPU_ALL) return false;
    *mask = (uint32_t)v;
    return true;
}
