# Training: adapter files, the plan, the trainer and its loop.
add_library(train_fixture STATIC support/train_fixture.c)
target_link_libraries(train_fixture PUBLIC shoal_train tiny_model)
shoal_test(test_adapter unit/test_adapter.c LIBS train_fixture)
shoal_test(test_plan unit/test_plan.c LIBS train_fixture)
shoal_test(test_train_memory unit/test_train_memory.c LIBS train_fixture)
shoal_test(test_schedule unit/test_schedule.c LIBS shoal_train)
shoal_test(test_trainer unit/test_trainer.c support/slope.c LIBS train_fixture)
shoal_test(test_regularize unit/test_regularize.c support/slope.c LIBS train_fixture)
shoal_test(test_pack unit/test_pack.c LIBS train_fixture)
shoal_test(test_lower_cache unit/test_lower_cache.c support/temp_dir.c LIBS train_fixture)
shoal_test(test_train_loop unit/test_train_loop.c support/temp_dir.c LIBS train_fixture)
find_library(JANSSON_LIBRARY jansson REQUIRED)
shoal_test(test_train_parity unit/test_train_parity.c support/safetensors_read.c support/vectors.c
  LIBS train_fixture ${JANSSON_LIBRARY} LABELS model TIMEOUT 300)

# Gradients of every family in every type against PyTorch; make_grad_case feeds the generator of the
# reference, tests/kat/gen/grad_parity.py.
add_library(grad_case STATIC support/grad_case.c)
target_link_libraries(grad_case PUBLIC train_fixture ${CMOCKA_LIBRARY})
add_executable(make_grad_case support/make_grad_case.c)
target_link_libraries(make_grad_case PRIVATE grad_case)
set_target_properties(make_grad_case PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
shoal_test(test_grad_parity unit/test_grad_parity.c support/safetensors_read.c
  LIBS grad_case ${JANSSON_LIBRARY})

# Speed and memory of a step; run by hand: build/tests/bench_train [tokens] [rank] [threads] [exact] [MB]
add_executable(bench_train bench/bench_train.c)
target_link_libraries(bench_train PRIVATE shoal_train)
set_target_properties(bench_train PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
