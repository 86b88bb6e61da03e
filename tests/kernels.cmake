# Kernels: every slot at every level this machine has, against references in double.
find_library(JANSSON_LIBRARY jansson REQUIRED)
shoal_test(test_quant unit/test_quant.c support/guarded.c LIBS shoal_kernels ${JANSSON_LIBRARY})

# Arithmetic on rows: attention, adapters, pointwise, loss, optimiser, mask stream.
add_library(kernel_test STATIC support/kernel_test.c support/gradcheck.c support/guarded.c)
target_link_libraries(kernel_test PUBLIC shoal_kernels ${CMOCKA_LIBRARY})
foreach(name attention attention_bwd attention_cache chacha dense exec gemm16 halves loss lowrank matmul noise optimizer pointwise
        ring)
  shoal_test(test_${name} unit/test_${name}.c LIBS kernel_test)
endforeach()

# AVX-VNNI and AVX-512 on machines without them: their files and the choice of kernels, built with
# the instructions emulated (kernels/x86/vec16_emulated.h), stand in for those of the library, and the
# tests run at these levels too. x86_instructions looks for the real ones in the library.
if(SHOAL_X86_WIDE_SOURCES)
  add_library(kernels_emulated OBJECT ${SHOAL_X86_WIDE_SOURCES}
    ${PROJECT_SOURCE_DIR}/kernels/base/cpu.c ${PROJECT_SOURCE_DIR}/kernels/x86/init.c)
  target_link_libraries(kernels_emulated PRIVATE shoal_flags)
  target_compile_options(kernels_emulated PRIVATE -mavx2 -mfma -mf16c -fno-trapping-math)
  target_compile_definitions(kernels_emulated PRIVATE SHOAL_EMULATE_SIMD=1 SHOAL_X86=1
                             SHOAL_X86_AVXVNNI=1 SHOAL_X86_AVX512=1)
  foreach(name attention chacha dense exec gemm16 levels loss lowrank matmul pointwise)
    shoal_test(test_${name}_emulated unit/test_${name}.c $<TARGET_OBJECTS:kernels_emulated>
               LIBS kernel_test)
    set(levels "avx512")
    if(name MATCHES "^(exec|levels|matmul)$") # AVX-VNNI replaces the 8-bit products alone
      set(levels "avxvnni avx512")
    endif()
    set_property(TEST test_${name}_emulated APPEND PROPERTY ENVIRONMENT
                 "SHOAL_TEST_LEVELS=${levels}")
  endforeach()
  shoal_test(test_levels unit/test_levels.c LIBS kernel_test)
  shoal_test(test_vec16 unit/test_vec16.c LIBS kernel_test)
  target_compile_options(test_vec16 PRIVATE -mavx2 -mfma -mf16c)
  target_compile_definitions(test_vec16 PRIVATE SHOAL_EMULATE_SIMD=1)
  if(SHOAL_HAVE_AVX512VNNI) # the instructions themselves, where the processor has them
    shoal_test(test_vec16_native unit/test_vec16.c LIBS kernel_test)
    target_compile_options(test_vec16_native PRIVATE -mavx2 -mfma -mf16c -mavx512f -mavx512dq
                           -mavx512bw -mavx512vl -mavx512vnni)
  endif()
  add_test(NAME x86_instructions COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/lint/x86_instructions.sh
           $<TARGET_FILE:shoal_kernels>)
  set_tests_properties(x86_instructions PROPERTIES LABELS fast SKIP_RETURN_CODE 77 TIMEOUT 60)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  shoal_test(test_arm_levels unit/test_arm_levels.c LIBS kernel_test)
endif()

# Speed of the matrix products; run by hand: build/tests/bench_kernels [threads] [cpu-mask]
add_executable(bench_kernels bench/bench_kernels.c)
target_link_libraries(bench_kernels PRIVATE shoal_kernels)
set_target_properties(bench_kernels PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
# A training step's work beside them: build/tests/bench_rows [threads] [tokens] [sample-tokens] [rank]
add_executable(bench_rows bench/bench_rows.c)
target_link_libraries(bench_rows PRIVATE shoal_kernels)
set_target_properties(bench_rows PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
