/* simd.h - words the files of x86/ and arm/ share: helpers always or never inlined, fully unrolled
 * loops.
 *
 * Arrays of vectors stay in registers only when every index is a constant, so loops over them are
 * unrolled by order, not by the optimiser's taste.
 *
 * Layer: kernels/, private. Threads: none.
 */
#ifndef SHOAL_KERNELS_SIMD_H
#define SHOAL_KERNELS_SIMD_H

#define SHOAL_INLINE static inline __attribute__((always_inline))
#define SHOAL_NOINLINE __attribute__((noinline))

#if defined(__clang__)
#define SHOAL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SHOAL_UNROLL _Pragma("GCC unroll 16")
#endif

/* v is in a vector register here, and what comes later in the text is computed later: for loops
 * that need every register, where a compiler that reorders would have to spill. */
#define SHOAL_IN_REGISTER(v) __asm__ volatile("" : "+x"(v))

/* The pointer p stays one: gcc would rather keep a distance from another pointer for every row,
 * more than there are registers. */
#define SHOAL_OWN_POINTER(p) __asm__ volatile("" : "+r"(p))

#endif
