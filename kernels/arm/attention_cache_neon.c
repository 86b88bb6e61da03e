/* attention_cache_neon.c - a few query rows with f16 and 8-bit caches. See
 * attention_cache_simd.inc. */
#include "kernels/arm/neon_math.h"
#include "kernels/arm/rowops_neon.h"
#include "kernels/attention_cache_simd.inc"

SHOAL_ATTENTION_CACHE_SLOTS(neon)
