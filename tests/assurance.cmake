# What the promises of SECURITY.md rest on: primitives at their edges, constant time, whole sessions
# under a fuzzer, every allocation failing once.
if(TARGET shoal_proto)
  shoal_test(test_crypto_kat unit/test_crypto_kat.c LIBS proto_test)
  shoal_test(test_x25519_million unit/test_x25519_million.c LIBS proto_test LABELS slow TIMEOUT 1800)
  shoal_test(test_rfc8439 unit/test_rfc8439.c LIBS proto_test ${MBEDCRYPTO_LIBRARY})

  # Constant time: proto/ once more, with its borders between secret and public marked, and valgrind
  # looking on (kernels/base/secret.h). Not with sanitizers, which valgrind cannot run, nor with a static
  # mbedTLS, whose insides could not be told from ours.
  option(SHOAL_CTGRIND "Check constant time under valgrind, where it is installed" ON)
  find_program(VALGRIND valgrind)
  find_path(VALGRIND_INCLUDE valgrind/memcheck.h)
  if(SHOAL_CTGRIND AND VALGRIND AND VALGRIND_INCLUDE AND NOT SHOAL_SANITIZE
     AND NOT MBEDCRYPTO_LIBRARY MATCHES "[.]a$")
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
      "skipped: the constant-time check needs valgrind, its headers, a shared mbedTLS, no sanitizer")
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
    shoal_fuzz(fuzz_sa_${role} LIBS proto_cheap MUTATE 60 SEEDS ${seeds})
  endforeach()
endif()

if(TARGET shoal_proto)
  shoal_test(test_sa_faults_cheap unit/test_sa_faults.c LIBS proto_cheap)
  shoal_test(test_sa_faults unit/test_sa_faults.c LIBS proto_test LABELS medium)
  shoal_test(test_crypto_faults unit/test_crypto_faults.c LIBS proto_test)
endif()

# shoal_made_seeds(NAME n LIBS target...) builds support/make_NAME_seeds.c, which writes right inputs
# seed_00 .. seed_{n-1} with the code that writes them, and replays them and changed copies in fuzz_NAME.
function(shoal_made_seeds name n)
  cmake_parse_arguments(F "" "MUTATE" "LIBS" ${ARGN})
  set(dir ${CMAKE_BINARY_DIR}/tests/${name}_seeds)
  file(MAKE_DIRECTORY ${dir})
  add_executable(make_${name}_seeds support/make_${name}_seeds.c)
  target_link_libraries(make_${name}_seeds PRIVATE ${F_LIBS} ${CMOCKA_LIBRARY})
  set_target_properties(make_${name}_seeds PROPERTIES RUNTIME_OUTPUT_DIRECTORY
    ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME fuzz_${name}_seeds COMMAND make_${name}_seeds ${dir})
  set_tests_properties(fuzz_${name}_seeds PROPERTIES FIXTURES_SETUP fuzz_${name} LABELS fast)
  set(seeds "")
  math(EXPR last "${n} - 1")
  foreach(i RANGE ${last})
    list(APPEND seeds ${dir}/seed_0${i})
  endforeach()
  shoal_fuzz(fuzz_${name} LIBS ${F_LIBS} ${CMOCKA_LIBRARY} MUTATE ${F_MUTATE} FIXTURE fuzz_${name}
             SEEDS ${seeds})
endfunction()

if(TARGET shoal_proto)
  shoal_made_seeds(x509 6 LIBS shoal_proto MUTATE 100)
endif()
if(TARGET shoal_net)
  file(GLOB seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/http_seeds/*)
  shoal_fuzz(fuzz_http LIBS shoal_net MUTATE 50 SEEDS ${seeds})
endif()

if(TARGET shoal_client_lib)
  shoal_made_seeds(files 8 LIBS shoal_client_lib train_fixture MUTATE 300)
endif()
