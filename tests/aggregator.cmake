# aggregator: its database and decisions alone, and whole rounds over HTTPS on loopback.
if(TARGET shoal_aggregator_lib)
  find_package(CURL REQUIRED)
  add_library(fed_test STATIC support/fed_device.c support/fed_fleet.c support/fed_server.c
              support/temp_dir.c support/wire_proxy.c
              support/tiny_model.c support/coded_weights.c)
  target_link_libraries(fed_test PUBLIC shoal_aggregator_lib shoal_proto CURL::libcurl shoal_flags
                        ${CMOCKA_LIBRARY})
  add_library(fed_client_test STATIC support/fed_client.c)
  target_link_libraries(fed_client_test PUBLIC fed_test shoal_client_lib)
  shoal_test(test_audit unit/test_audit.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_signer unit/test_signer.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_ca unit/test_ca.c LIBS fed_test TIMEOUT 300)
  shoal_test(test_checkin unit/test_checkin.c LIBS shoal_aggregator_lib)
  shoal_test(test_config unit/test_config.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_database unit/test_database.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_open_files unit/test_open_files.c LIBS shoal_aggregator_lib)
  shoal_test(test_seen unit/test_seen.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_quota unit/test_quota.c LIBS shoal_aggregator_lib)
  shoal_test(test_round unit/test_round.c LIBS fed_test TIMEOUT 300)
  shoal_test(test_caps unit/test_caps.c support/web_fixture.c LIBS fed_client_test TIMEOUT 300)
  shoal_test(test_lane unit/test_lane.c LIBS shoal_aggregator_lib)
  shoal_test(test_blob_cache unit/test_blob_cache.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_upload unit/test_upload.c support/temp_dir.c LIBS shoal_aggregator_lib)
  shoal_test(test_download unit/test_download.c LIBS fed_client_test TIMEOUT 300)
  shoal_test(test_bulk unit/test_bulk.c LIBS fed_client_test TIMEOUT 300)

  # Thousands of devices; started by tests/bench/run.sh server, and small by e2e/server_load.sh.
  find_package(OpenSSL REQUIRED)
  add_executable(bench_server bench/bench_server.c bench/load_device.c)
  target_link_libraries(bench_server PRIVATE shoal_aggregator_lib shoal_proto OpenSSL::SSL
                        OpenSSL::Crypto shoal_flags)
  set_target_properties(bench_server PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
