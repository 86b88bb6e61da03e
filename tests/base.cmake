shoal_test(test_base unit/test_base.c LIBS shoal_kernels)
