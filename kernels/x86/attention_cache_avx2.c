/* attention_cache_avx2.c - a few query rows with f16 and 8-bit caches. See
 * attention_cache_simd.inc. */
#include "kernels/x86/f8_avx2.h"
#include "kernels/x86/rowops_avx2.h"
#include "kernels/attention_cache_simd.inc"

SHOAL_ATTENTION_CACHE_SLOTS(avx2)
