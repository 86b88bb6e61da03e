# The rules of the code that a machine can check.
function(shoal_lint name)
  add_test(NAME lint_${name} COMMAND ${ARGN})
  set_tests_properties(lint_${name} PROPERTIES LABELS "fast;lint" SKIP_RETURN_CODE 77 TIMEOUT 900)
endfunction()
shoal_lint(layers ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -P ${CMAKE_CURRENT_LIST_DIR}/lint/layers.cmake)
shoal_lint(banned ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -P ${CMAKE_CURRENT_LIST_DIR}/lint/banned.cmake)
shoal_lint(headers ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DCC=${CMAKE_C_COMPILER}
           -DPROCESSOR=${CMAKE_SYSTEM_PROCESSOR}
           -P ${CMAKE_CURRENT_LIST_DIR}/lint/header_alone.cmake)
shoal_lint(format bash ${CMAKE_CURRENT_LIST_DIR}/lint/format.sh ${PROJECT_SOURCE_DIR})
shoal_lint(words bash ${CMAKE_CURRENT_LIST_DIR}/lint/project_words.sh ${PROJECT_SOURCE_DIR})
shoal_lint(citations bash ${CMAKE_CURRENT_LIST_DIR}/lint/citations.sh ${PROJECT_SOURCE_DIR})
# Not every build has every test the table names: network off, sanitizers.
if(TARGET shoal AND TARGET shoal-aggregator AND NOT SHOAL_SANITIZE)
  shoal_lint(attacks bash ${CMAKE_CURRENT_LIST_DIR}/lint/attacks.sh ${PROJECT_SOURCE_DIR}
             ${CMAKE_CTEST_COMMAND} ${CMAKE_BINARY_DIR})
endif()
