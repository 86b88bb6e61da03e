# proto: primitives against published vectors, codecs, whole secure-aggregation sessions.
if(TARGET shoal_proto)
  add_library(proto_test STATIC support/sa_cohort.c support/vec_file.c)
  target_link_libraries(proto_test PUBLIC shoal_proto shoal_flags ${CMOCKA_LIBRARY})
  foreach(name codec crypto mask sa sa_dropouts shamir x509)
    shoal_test(test_${name} unit/test_${name}.c LIBS proto_test)
  endforeach()
endif()
