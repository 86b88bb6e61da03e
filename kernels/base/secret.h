/* secret.h - the border between secret and public, for the constant-time check.
 *
 * tests/ct runs the code with its secrets marked undefined under valgrind's memcheck, which then
 * reports every branch and every address that depends on one. Where a value made from secrets is
 * meant to be seen (a public key, a signature, the verdict of a comparison) the code says so here.
 * Without SHOAL_CTGRIND, which only the check's own copy of proto/ is built with, it says nothing.
 *
 * Source: Langley, ctgrind (2010). Layer: kernels/base. Threads: any.
 */
#ifndef SHOAL_KERNELS_BASE_SECRET_H
#define SHOAL_KERNELS_BASE_SECRET_H

#ifdef SHOAL_CTGRIND
#include <valgrind/memcheck.h>
#define SHOAL_PUBLIC(p, bytes) ((void)VALGRIND_MAKE_MEM_DEFINED(p, bytes))
#else
#define SHOAL_PUBLIC(p, bytes) ((void)0)
#endif

#endif
