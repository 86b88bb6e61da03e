# The real programs against each other on loopback.
if(TARGET shoal AND TARGET shoal-aggregator)
  add_test(NAME e2e_federation COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/e2e/federation.sh)
  set_tests_properties(e2e_federation PROPERTIES LABELS "e2e" TIMEOUT 300 ENVIRONMENT
    "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin;MAKE_TINY_MODEL=${CMAKE_BINARY_DIR}/tests/make_tiny_model")
endif()
