/* cpu.c - see cpu.h. */
#include "kernels/base/cpu.h"

#include <stdlib.h>
#include <string.h>

/* Bits of CPUID and XCR0. Source: Intel SDM volume 1, 13.1 and 14.3 to 15.4; volume 2, CPUID. */
enum {
    ECX1_FMA = 12,
    ECX1_OSXSAVE = 27,
    ECX1_F16C = 29,
    EBX7_AVX2 = 5,
    EBX7_AVX512F = 16,
    EBX7_AVX512DQ = 17,
    EBX7_AVX512BW = 30,
    EBX7_AVX512VL = 31,
    ECX7_AVX512VNNI = 11,
    EAX7_1_AVXVNNI = 4,
    XCR0_YMM = 0x06, /* xmm and the upper halves of ymm */
    XCR0_ZMM = 0xe0  /* opmasks, upper halves of zmm 0 to 15, zmm 16 to 31 */
};

/* Bits of AT_HWCAP and AT_HWCAP2. Source: Linux, arch/arm64/include/uapi/asm/hwcap.h. */
enum { HWCAP_DOTPROD = 20, HWCAP2_MATMUL8 = 13 };

static bool bit(uint32_t word, int n)
{
    return (word >> n & 1u) != 0;
}

static bool has_avx512(const shoal_cpuid *id)
{
    return (id->xcr0 & XCR0_ZMM) == XCR0_ZMM && bit(id->ebx7, EBX7_AVX512F) &&
           bit(id->ebx7, EBX7_AVX512DQ) && bit(id->ebx7, EBX7_AVX512BW) &&
           bit(id->ebx7, EBX7_AVX512VL) && bit(id->ecx7, ECX7_AVX512VNNI);
}

uint32_t shoal_cpu_flags_x86(const shoal_cpuid *id)
{
    bool ymm = bit(id->ecx1, ECX1_OSXSAVE) && (id->xcr0 & XCR0_YMM) == XCR0_YMM;
    bool avx2 =
        ymm && bit(id->ebx7, EBX7_AVX2) && bit(id->ecx1, ECX1_FMA) && bit(id->ecx1, ECX1_F16C);
    if (!avx2) return 0;
    uint32_t flags = SHOAL_CPU_AVX2;
    if (bit(id->eax7_1, EAX7_1_AVXVNNI)) flags |= SHOAL_CPU_AVXVNNI;
    if (has_avx512(id)) flags |= SHOAL_CPU_AVX512;
    return flags;
}

uint32_t shoal_cpu_flags_arm(unsigned long hwcap, unsigned long hwcap2)
{
    uint32_t flags = SHOAL_CPU_NEON;
    if ((hwcap >> HWCAP_DOTPROD & 1) == 0) return flags;
    flags |= SHOAL_CPU_DOTPROD;
    if ((hwcap2 >> HWCAP2_MATMUL8 & 1) != 0) flags |= SHOAL_CPU_I8MM;
    return flags;
}

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t shoal_cpu_flags(void)
{
    shoal_cpuid id = {0};
    uint32_t a, b, c, d;
    if (__get_cpuid(1, &a, &b, &id.ecx1, &d) == 0 || !bit(id.ecx1, ECX1_OSXSAVE)) return 0;
    id.xcr0 = read_xcr0();
    if (__get_cpuid_count(7, 0, &a, &id.ebx7, &id.ecx7, &d) == 0) return 0;
    if (a >= 1) __get_cpuid_count(7, 1, &id.eax7_1, &b, &c, &d);
    uint32_t flags = shoal_cpu_flags_x86(&id);
#ifdef SHOAL_EMULATE_SIMD /* a test build: what AVX2 lacks is emulated with it */
    if ((flags & SHOAL_CPU_AVX2) != 0) flags |= SHOAL_CPU_AVXVNNI | SHOAL_CPU_AVX512;
#endif
    return flags;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

uint32_t shoal_cpu_flags(void)
{
    return shoal_cpu_flags_arm(getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
}
#elif defined(__aarch64__)
uint32_t shoal_cpu_flags(void)
{
    return SHOAL_CPU_NEON;
}
#else
uint32_t shoal_cpu_flags(void)
{
    return 0;
}
#endif

bool shoal_cpu_mask_parse(const char *text, uint32_t *mask)
{
    static const struct {
        const char *name;
        uint32_t mask;
    } levels[] = {
        {"c", 0},
        {"avx2", SHOAL_CPU_AVX2},
        {"avxvnni", SHOAL_CPU_AVX2 | SHOAL_CPU_AVXVNNI},
        {"avx512", SHOAL_CPU_AVX2 | SHOAL_CPU_AVXVNNI | SHOAL_CPU_AVX512},
        {"neon", SHOAL_CPU_NEON},
        {"dotprod", SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD},
        {"i8mm", SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD | SHOAL_CPU_I8MM},
        {"all", SHOAL_CPU_ALL},
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *mask = levels[i].mask;
            return true;
        }
    }
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 16);
    if (*text == '\0' || *end != '\0' || v > SHOAL_CPU_ALL) return false;
    *mask = (uint32_t)v;
    return true;
}
