/* simd.h - words the x86 files share: helpers always or never inlined, fully unrolled loops.
 *
 * Arrays of vectors stay in registers only when every index is a constant, so loops over them are
 * unrolled by order, not by the optimiser's taste.
 *
 * Layer: kernels/x86, private. Threads: none.
 */
#ifndef SHOAL_KERNELS_X86_SIMD_H
#define SHOAL_KERNELS_X86_SIMD_H

#define SHOAL_NOINLINE __attribute__((noinline))
#define SHOAL_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define SHOAL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SHOAL_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
