# proto: primitives against published vectors, codecs, whole secure-aggregation sessions.
if(TARGET shoal_proto)
  add_library(proto_test STATIC support/sa_attack.c support/sa_cohort.c support/vec_file.c
    support/wire_samples.c)
  target_link_libraries(proto_test PUBLIC shoal_proto shoal_flags ${CMOCKA_LIBRARY})
  # One session, timed; started by tests/bench/run.sh secagg: build/tests/bench_secagg [--clients N] ...
  add_executable(bench_secagg bench/bench_secagg.c)
  target_link_libraries(bench_secagg PRIVATE shoal_proto shoal_flags)
  target_link_options(bench_secagg PRIVATE
    "LINKER:--wrap=shoal_sign,--wrap=shoal_verify,--wrap=shoal_cert_check")
  set_target_properties(bench_secagg PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  foreach(name codec crypto mask rotate sa sa_client_attacks sa_dropouts sa_false_client sa_false_server
          sa_kat sa_params sa_ring sa_server_attacks shamir wire x509 x509_ca)
    shoal_test(test_${name} unit/test_${name}.c LIBS proto_test)
  endforeach()
  set_tests_properties(test_sa_dropouts PROPERTIES LABELS medium)

  # Many whole sessions, with verifications of the same bytes remembered.
  shoal_test(test_sa_random unit/test_sa_random.c support/sa_memo.c LIBS proto_test LABELS slow
    TIMEOUT 1800)
  target_link_options(test_sa_random PRIVATE -Wl,--wrap=shoal_verify,--wrap=shoal_cert_check)

  # The second implementation (reference/): its vectors made again, its own sessions and refusals.
  foreach(part vectors sessions)
    add_test(NAME reference_${part} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/reference/python.sh
      ${CMAKE_CURRENT_SOURCE_DIR}/reference/test_${part}.py)
    set_tests_properties(reference_${part} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
  endforeach()
  set_tests_properties(reference_vectors PROPERTIES LABELS fast)
  set_tests_properties(reference_sessions PROPERTIES LABELS slow)

  # Every reader of foreign bytes, without a fuzzer: over right inputs and changed copies of them.
  set(SHOAL_WIRE_SEEDS ${CMAKE_BINARY_DIR}/tests/wire_seeds)
  file(MAKE_DIRECTORY ${SHOAL_WIRE_SEEDS})
  add_executable(make_wire_seeds support/make_wire_seeds.c)
  target_link_libraries(make_wire_seeds PRIVATE proto_test)
  set_target_properties(make_wire_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY
    ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME fuzz_wire_seeds COMMAND make_wire_seeds ${SHOAL_WIRE_SEEDS})
  set(seeds "")
  foreach(i RANGE 27)
    if(i LESS 10)
      set(i 0${i})
    endif()
    list(APPEND seeds ${SHOAL_WIRE_SEEDS}/seed_${i})
  endforeach()
  set_tests_properties(fuzz_wire_seeds PROPERTIES FIXTURES_SETUP fuzz_wire LABELS fast)
  shoal_fuzz(fuzz_wire LIBS proto_test MUTATE 2000 FIXTURE fuzz_wire SEEDS ${seeds})

  # Deltas of adapters; without zstd there are none.
  shoal_test(test_delta unit/test_delta.c LIBS proto_test)
  if(ZSTD_FOUND)
    add_executable(make_delta_seeds support/make_delta_seeds.c)
    target_link_libraries(make_delta_seeds PRIVATE proto_test)
    set_target_properties(make_delta_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY
      ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME fuzz_delta_seeds COMMAND make_delta_seeds ${SHOAL_WIRE_SEEDS})
    set_tests_properties(fuzz_delta_seeds PROPERTIES FIXTURES_SETUP fuzz_delta LABELS fast)
    shoal_fuzz(fuzz_delta LIBS proto_test MUTATE 20000 FIXTURE fuzz_delta
      SEEDS ${SHOAL_WIRE_SEEDS}/delta_steps ${SHOAL_WIRE_SEEDS}/delta_xor)
  endif()
  shoal_test(test_attest unit/test_attest.c LIBS proto_test)
  shoal_fuzz(fuzz_attest LIBS shoal_proto MUTATE 2000 SEEDS
    ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/attest_seeds/description
    ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/attest_seeds/application
    ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/attest_seeds/chain)
endif()
