shoal_test(test_base unit/test_base.c LIBS shoal_kernels)
shoal_test(test_file unit/test_file.c LIBS shoal_kernels)
shoal_test(test_process unit/test_process.c support/temp_dir.c LIBS shoal_kernels)
