# proto/net: the HTTP(S) server. libcurl is the client.
if(TARGET shoal_net)
  find_package(CURL REQUIRED)
  shoal_test(test_http_server unit/test_http_server.c LIBS shoal_net CURL::libcurl TIMEOUT 60)
endif()
