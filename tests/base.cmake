shoal_test(test_base unit/test_base.c LIBS shoal_kernels)
shoal_test(test_file unit/test_file.c LIBS shoal_kernels)
