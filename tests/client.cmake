# The device role.

# commands: options, data, adapters of other tools, the chat API
shoal_test(test_options unit/test_options.c LIBS shoal_cli)
if(TARGET shoal_client_lib)
  set(CMD_LIBS shoal_client_lib tiny_model ${JANSSON_LIBRARY})
  shoal_test(test_data unit/test_data.c LIBS ${CMD_LIBS})
  shoal_test(test_real_pack unit/test_real_pack.c LIBS ${CMD_LIBS} test_vectors LABELS model TIMEOUT 300)
  shoal_test(test_safetensors unit/test_safetensors.c LIBS ${CMD_LIBS})
  shoal_test(test_peft unit/test_peft.c support/temp_dir.c LIBS ${CMD_LIBS})
  shoal_test(test_openai unit/test_openai.c LIBS ${CMD_LIBS})
  shoal_test(test_context unit/test_context.c LIBS ${CMD_LIBS})
  shoal_test(test_report unit/test_report.c support/temp_dir.c LIBS ${CMD_LIBS})
  shoal_test(test_train_fit unit/test_train_fit.c LIBS ${CMD_LIBS})
  shoal_test(test_device_health unit/test_device_health.c support/temp_dir.c LIBS ${CMD_LIBS})
  shoal_test(test_command_parts unit/test_command_parts.c LIBS ${CMD_LIBS})

  # The program itself: cli_NAME.sh starts it on a tiny model, or on the real one.
  function(shoal_cli_test name labels timeout)
    add_test(NAME cli_${name} COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/e2e/cli_${name}.sh
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(cli_${name} PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77
      TIMEOUT ${timeout} ENVIRONMENT "SHOAL_BIN=${CMAKE_BINARY_DIR}/bin")
  endfunction()
  set(cli_tests usage decode train train_cache train_kill methods patience hostile serve quantize cache merge report)
  if(NOT SHOAL_SANITIZE) # whose own memory is many times what the tests allow and count
    list(APPEND cli_tests memory bench)
  endif()
  foreach(name ${cli_tests})
    shoal_cli_test(${name} "fast;e2e" 300)
  endforeach()
  shoal_cli_test(memory_real "model;e2e" 600)
  shoal_cli_test(parity "model;e2e" 600)
  shoal_cli_test(train_plan "model;e2e" 600)
  shoal_cli_test(train_fit "model;e2e" 600)
  shoal_cli_test(cache_real "model;e2e" 600)
  shoal_cli_test(llama_adapter "model;slow;e2e" 900)
  shoal_cli_test(peft_adapter "model;slow;e2e" 900)
  shoal_cli_test(perplexity "model;slow;e2e" 900)
  shoal_cli_test(perplexity_gemma "model;slow;e2e" 900)
endif()

# federation: store, network, enrolment, rounds
if(TARGET shoal_client_lib)
  set(FED_LIBS shoal_client_lib)
  set(WEB support/web_fixture.c support/temp_dir.c)
  shoal_test(test_budget unit/test_budget.c support/temp_dir.c LIBS ${FED_LIBS})
  shoal_test(test_store unit/test_store.c support/temp_dir.c LIBS ${FED_LIBS})
  shoal_test(test_net unit/test_net.c ${WEB} LIBS ${FED_LIBS} TIMEOUT 300)
  shoal_test(test_fetch unit/test_fetch.c ${WEB} LIBS ${FED_LIBS} TIMEOUT 120 LABELS slow)
  shoal_test(test_enrol unit/test_enrol.c ${WEB} LIBS ${FED_LIBS} TIMEOUT 300)
  # The same with another TLS library under libcurl, where one is installed.
  find_library(CURL_GNUTLS NAMES libcurl-gnutls.so.4)
  if(CURL_GNUTLS)
    foreach(name net enrol)
      add_test(NAME test_${name}_gnutls COMMAND test_${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
      set_tests_properties(test_${name}_gnutls PROPERTIES LABELS fast TIMEOUT 300
        ENVIRONMENT "SHOAL_LIBCURL=${CURL_GNUTLS}")
    endforeach()
  endif()
  shoal_test(test_demo_data unit/test_demo_data.c support/temp_dir.c LIBS ${FED_LIBS})
  shoal_test(test_policy unit/test_policy.c support/temp_dir.c LIBS ${FED_LIBS})
  shoal_test(test_agent unit/test_agent.c support/temp_dir.c LIBS ${FED_LIBS} tiny_model)
endif()
