# The model room: GGUF, tokenizer, chat template, weights. Tests that read reference vectors need the
# shared data (SHOAL_SHARED) and, some, the real model (SHOAL_TEST_MODEL).
find_library(JANSSON_LIBRARY jansson REQUIRED)

add_library(tiny_model STATIC support/tiny_model.c)
target_link_libraries(tiny_model PUBLIC shoal_model)
add_library(test_vectors STATIC support/vectors.c)
target_link_libraries(test_vectors PUBLIC shoal_kernels ${JANSSON_LIBRARY} ${CMOCKA_LIBRARY})

shoal_test(test_tokenizer unit/test_tokenizer.c LIBS tiny_model)
shoal_test(test_vocabulary unit/test_vocabulary.c LIBS shoal_model test_vectors LABELS model)
