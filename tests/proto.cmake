# proto: primitives against published vectors, codecs, whole secure-aggregation sessions.
if(TARGET shoal_proto)
  add_library(proto_test STATIC support/sa_cohort.c)
  target_link_libraries(proto_test PUBLIC shoal_proto shoal_flags ${CMOCKA_LIBRARY})
  shoal_test(test_sa unit/test_sa.c LIBS proto_test)
  shoal_test(test_sa_dropouts unit/test_sa_dropouts.c LIBS proto_test)
endif()
