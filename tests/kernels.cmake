# Kernels: every slot at every level this machine has, against references in double.
find_library(JANSSON_LIBRARY jansson REQUIRED)
shoal_test(test_quant unit/test_quant.c support/guarded.c LIBS shoal_kernels ${JANSSON_LIBRARY})

# Arithmetic on rows: attention, adapters, pointwise, loss, optimiser, mask stream.
add_library(kernel_test STATIC support/kernel_test.c support/gradcheck.c support/guarded.c)
target_link_libraries(kernel_test PUBLIC shoal_kernels ${CMOCKA_LIBRARY})
foreach(name attention attention_bwd attention_cache chacha dense exec loss lowrank matmul optimizer pointwise)
  shoal_test(test_${name} unit/test_${name}.c LIBS kernel_test)
endforeach()

# Speed of the matrix products; run by hand: build/tests/bench_kernels [threads] [cpu-mask]
add_executable(bench_kernels bench/bench_kernels.c)
target_link_libraries(bench_kernels PRIVATE shoal_kernels)
set_target_properties(bench_kernels PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
