# The model room: GGUF, tokenizer, chat template, weights. Tests that read reference vectors need the
# shared data (SHOAL_SHARED) and, some, the real model (SHOAL_TEST_MODEL).
find_library(JANSSON_LIBRARY jansson REQUIRED)

add_library(tiny_model STATIC support/tiny_model.c support/coded_weights.c)
target_link_libraries(tiny_model PUBLIC shoal_model)
add_library(test_vectors STATIC support/vectors.c)
target_link_libraries(test_vectors PUBLIC shoal_kernels ${JANSSON_LIBRARY} ${CMOCKA_LIBRARY})

shoal_test(test_gguf unit/test_gguf.c LIBS shoal_model)
shoal_test(test_chat_template unit/test_chat_template.c LIBS tiny_model)
shoal_test(test_jinja unit/test_jinja.c LIBS shoal_model ${JANSSON_LIBRARY})
shoal_test(test_model unit/test_model.c LIBS tiny_model)
shoal_test(test_pretokenize unit/test_pretokenize.c LIBS shoal_model ${JANSSON_LIBRARY})
shoal_test(test_spm unit/test_spm.c LIBS shoal_model)
shoal_test(test_tokenizer unit/test_tokenizer.c LIBS tiny_model)
shoal_test(test_gemma_vocabulary unit/test_gemma_vocabulary.c LIBS shoal_model test_vectors
  LABELS model)
shoal_test(test_vocabulary unit/test_vocabulary.c LIBS shoal_model test_vectors LABELS model)

# tests/make_tiny_model FILE [SEED [VARIANT]]: for tests that start programs.
add_executable(make_tiny_model support/make_tiny_model.c)
target_link_libraries(make_tiny_model PRIVATE tiny_model)
set_target_properties(make_tiny_model PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

# A generated file as the seed of the GGUF reader, composed templates as those of Jinja.
add_test(NAME fuzz_gguf_seed COMMAND make_tiny_model ${CMAKE_BINARY_DIR}/tests/fuzz_seed.gguf)
set_tests_properties(fuzz_gguf_seed PROPERTIES FIXTURES_SETUP fuzz_gguf_seed LABELS fast)
shoal_fuzz(fuzz_gguf LIBS shoal_model MUTATE 5000 FIXTURE fuzz_gguf_seed
  SEEDS ${CMAKE_BINARY_DIR}/tests/fuzz_seed.gguf)

set(jinja_seeds qwen2 qwen3 llama3 mistral3 gemma3 small)
list(TRANSFORM jinja_seeds REPLACE "(.+)" "${CMAKE_CURRENT_LIST_DIR}/fuzz/jinja_seeds/\\1.jinja")
shoal_fuzz(fuzz_jinja LIBS shoal_model MUTATE 1000 SEEDS ${jinja_seeds})
