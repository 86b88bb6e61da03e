# The real programs against each other on loopback.
if(TARGET shoal AND TARGET shoal-aggregator)
  add_test(NAME e2e_federation COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/federation.sh)
  set_tests_properties(e2e_federation PROPERTIES LABELS "e2e" TIMEOUT 300 ENVIRONMENT
    "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model")

  set(enrol_env "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model")
  if(NOT SHOAL_SANITIZE) # whose library wants to be the first one loaded
    add_library(shift_clock MODULE support/shift_clock.c)
    set_target_properties(shift_clock PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    list(APPEND enrol_env "SHIFT_CLOCK=$<TARGET_FILE:shift_clock>")
  endif()
  add_test(NAME e2e_enrol COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/enrol.sh)
  set_tests_properties(e2e_enrol PROPERTIES LABELS "e2e" TIMEOUT 300 ENVIRONMENT "${enrol_env}")

  add_test(NAME e2e_demo COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/demo.sh)
  set_tests_properties(e2e_demo PROPERTIES LABELS "e2e" TIMEOUT 300 ENVIRONMENT
    "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model")

  add_test(NAME e2e_server_load COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/server_load.sh)
  set_tests_properties(e2e_server_load PROPERTIES LABELS "e2e" TIMEOUT 300 ENVIRONMENT
    "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model;BENCH_SERVER=${CMAKE_BINARY_DIR}/tests/bench_server")

  # The second implementation (tests/reference): a device among real ones, an aggregator of real ones,
  # an aggregator that lies to real ones.
  foreach(name interop interop_aggregator attacks)
    add_test(NAME e2e_${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/reference/python.sh
      ${CMAKE_CURRENT_SOURCE_DIR}/reference/${name}.py)
    set_tests_properties(e2e_${name} PROPERTIES LABELS "e2e" TIMEOUT 900 SKIP_RETURN_CODE 77 ENVIRONMENT
      "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model")
  endforeach()

  # The real model: one to two minutes on two processors.
  add_test(NAME e2e_demo_real COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/demo.sh)
  set_tests_properties(e2e_demo_real PROPERTIES LABELS "e2e;model;slow" TIMEOUT 1500 RUN_SERIAL ON
    SKIP_RETURN_CODE 77 ENVIRONMENT "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;SHOAL_DEMO_REAL=1")
endif()
