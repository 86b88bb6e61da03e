# Kernels: every slot at every level this machine has, against references in double.
find_library(JANSSON_LIBRARY jansson REQUIRED)
shoal_test(test_quant unit/test_quant.c support/guarded.c LIBS shoal_kernels ${JANSSON_LIBRARY})
