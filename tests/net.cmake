# proto/net: the HTTP(S) server with libcurl as the client, TLS sessions with mbedTLS as the client.
if(TARGET shoal_net)
  find_package(CURL REQUIRED)
  shoal_test(test_http_server unit/test_http_server.c LIBS shoal_net CURL::libcurl TIMEOUT 60)
  shoal_test(test_http_limits unit/test_http_limits.c support/web_fixture.c LIBS shoal_net shoal_proto
             CURL::libcurl ${MBEDTLS_LIBRARY} ${MBEDX509_LIBRARY} ${MBEDCRYPTO_LIBRARY} TIMEOUT 60)
  shoal_test(test_http_peers unit/test_http_peers.c LIBS shoal_net)
  shoal_test(test_tls_cache unit/test_tls_cache.c LIBS shoal_net)
  shoal_test(test_tls_hello unit/test_tls_hello.c LIBS shoal_net)
  shoal_test(test_tls unit/test_tls.c LIBS shoal_net shoal_proto ${MBEDTLS_LIBRARY}
             ${MBEDX509_LIBRARY} ${MBEDCRYPTO_LIBRARY})
endif()
