# What the promises of SECURITY.md rest on: primitives at their edges, constant time, whole sessions
# under a fuzzer, every allocation failing once.
if(TARGET shoal_proto)
  shoal_test(test_crypto_kat unit/test_crypto_kat.c LIBS proto_test)
  shoal_test(test_rfc8439 unit/test_rfc8439.c LIBS proto_test ${MBEDCRYPTO_LIBRARY})
endif()
