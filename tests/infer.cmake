# The inference room: sessions, sampling, speculation, parity with the reference.
add_library(tiny_session STATIC support/tiny_session.c)
target_link_libraries(tiny_session PUBLIC tiny_model shoal_infer ${CMOCKA_LIBRARY})

shoal_test(test_families unit/test_families.c LIBS tiny_session ${JANSSON_LIBRARY})
shoal_test(test_kv unit/test_kv.c LIBS tiny_session)
shoal_test(test_residency unit/test_residency.c LIBS tiny_session)
shoal_test(test_session unit/test_session.c LIBS tiny_session)
shoal_test(test_prompt_cache unit/test_prompt_cache.c support/temp_dir.c LIBS tiny_session)
shoal_test(test_sampler unit/test_sampler.c LIBS shoal_infer)
shoal_test(test_speculate unit/test_speculate.c LIBS tiny_session)
add_library(forward_parity STATIC support/forward_parity.c)
target_link_libraries(forward_parity PUBLIC shoal_infer test_vectors)
shoal_test(test_forward unit/test_forward.c LIBS forward_parity LABELS model TIMEOUT 900)
shoal_test(test_gemma_forward unit/test_gemma_forward.c LIBS forward_parity LABELS model TIMEOUT 900)
shoal_test(test_real_prompt_cache unit/test_real_prompt_cache.c support/temp_dir.c
  LIBS shoal_infer test_vectors LABELS model TIMEOUT 900)
shoal_test(test_real_decode unit/test_real_decode.c LIBS shoal_infer test_vectors LABELS model TIMEOUT 900)

# A written block as the seed of the prompt cache's reader.
add_executable(make_prompt_block support/make_prompt_block.c)
target_link_libraries(make_prompt_block PRIVATE shoal_infer)
set_target_properties(make_prompt_block PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME fuzz_prompt_block_seed COMMAND make_prompt_block
  ${CMAKE_BINARY_DIR}/tests/fuzz_seed.gguf ${CMAKE_BINARY_DIR}/tests/fuzz_seed.kv)
set_tests_properties(fuzz_prompt_block_seed PROPERTIES FIXTURES_REQUIRED fuzz_gguf_seed
  FIXTURES_SETUP fuzz_prompt_block_seed LABELS fast)
shoal_fuzz(fuzz_prompt_block LIBS shoal_infer MUTATE 5000 FIXTURE fuzz_prompt_block_seed
  SEEDS ${CMAKE_BINARY_DIR}/tests/fuzz_seed.kv)
