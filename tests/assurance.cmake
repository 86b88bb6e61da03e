# What the promises of SECURITY.md rest on: primitives at their edges, constant time, whole sessions
# under a fuzzer, every allocation failing once.
if(TARGET shoal_proto)
  shoal_test(test_crypto_kat unit/test_crypto_kat.c LIBS proto_test)
  shoal_test(test_rfc8439 unit/test_rfc8439.c LIBS proto_test ${MBEDCRYPTO_LIBRARY})

  # Constant time: proto/ once more, with its borders between secret and public marked, and valgrind
  # looking on (kernels/base/secret.h). Not with sanitizers, which valgrind cannot run.
  option(SHOAL_CTGRIND "Check constant time under valgrind, where it is installed" ON)
  find_program(VALGRIND valgrind)
  find_path(VALGRIND_INCLUDE valgrind/memcheck.h)
  if(SHOAL_CTGRIND AND VALGRIND AND VALGRIND_INCLUDE AND NOT SHOAL_SANITIZE)
    get_target_property(sources shoal_proto SOURCES)
    list(FILTER sources INCLUDE REGEX "^[a-z0-9_]+\\.c$")
    list(FILTER sources EXCLUDE REGEX "^wire")
    list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/proto/)
    add_library(proto_marked STATIC ${sources} ${PROJECT_SOURCE_DIR}/kernels/base/buf.c
      support/sa_cohort.c)
    target_compile_definitions(proto_marked PRIVATE SHOAL_CTGRIND SHOAL_HAVE_LIBCRYPTO)
    target_include_directories(proto_marked PRIVATE ${VALGRIND_INCLUDE})
    target_link_libraries(proto_marked PUBLIC shoal_kernels shoal_flags ${CMOCKA_LIBRARY}
      ${MBEDX509_LIBRARY} ${MBEDCRYPTO_LIBRARY} ${CMAKE_DL_LIBS})
    add_executable(test_constant_time ct/test_constant_time.c)
    target_link_libraries(test_constant_time PRIVATE proto_marked)
    set_target_properties(test_constant_time PROPERTIES RUNTIME_OUTPUT_DIRECTORY
      ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME constant_time COMMAND ${VALGRIND} --quiet --error-limit=no
      --suppressions=${CMAKE_CURRENT_SOURCE_DIR}/ct/libraries.supp
      $<TARGET_FILE:test_constant_time>)
    set_tests_properties(constant_time PROPERTIES LABELS medium SKIP_RETURN_CODE 77 TIMEOUT 300)
  else()
    add_test(NAME constant_time COMMAND ${CMAKE_COMMAND} -E echo
      "skipped: the constant-time check needs valgrind, its headers and no sanitizer")
    set_tests_properties(constant_time PROPERTIES LABELS medium SKIP_REGULAR_EXPRESSION skipped)
  endif()

  # Whole sessions under a fuzzer, with cryptography that costs nothing (fuzz/cheap_crypto.c).
  get_target_property(sources shoal_proto SOURCES)
  list(FILTER sources INCLUDE REGEX "^(codec|mask|rotate|shamir|sa[a-z_]*)\\.c$")
  list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/proto/)
  add_library(proto_cheap STATIC ${sources} fuzz/cheap_crypto.c support/sa_cohort.c)
  target_link_libraries(proto_cheap PUBLIC shoal_kernels shoal_flags ${CMOCKA_LIBRARY})
  foreach(role client server)
    file(GLOB seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/sa_${role}_seeds/*)
    shoal_fuzz(fuzz_sa_${role} LIBS proto_cheap MUTATE 150 SEEDS ${seeds})
  endforeach()
endif()

if(TARGET shoal_net)
  file(GLOB seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/http_seeds/*)
  shoal_fuzz(fuzz_http LIBS shoal_net MUTATE 50 SEEDS ${seeds})
endif()

# Files of a device; their right forms are written by the code that writes them.
if(TARGET shoal_client_lib)
  set(SHOAL_FILE_SEEDS ${CMAKE_BINARY_DIR}/tests/file_seeds)
  file(MAKE_DIRECTORY ${SHOAL_FILE_SEEDS})
  add_executable(make_file_seeds support/make_file_seeds.c)
  target_link_libraries(make_file_seeds PRIVATE shoal_client_lib train_fixture ${CMOCKA_LIBRARY})
  set_target_properties(make_file_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY
    ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME fuzz_files_seeds COMMAND make_file_seeds ${SHOAL_FILE_SEEDS})
  set_tests_properties(fuzz_files_seeds PROPERTIES FIXTURES_SETUP fuzz_files LABELS fast)
  set(seeds "")
  foreach(i RANGE 6)
    list(APPEND seeds ${SHOAL_FILE_SEEDS}/seed_0${i})
  endforeach()
  shoal_fuzz(fuzz_files LIBS shoal_client_lib train_fixture ${CMOCKA_LIBRARY} MUTATE 300
             FIXTURE fuzz_files SEEDS ${seeds})
endif()
