# The device role.

# federation: store, network, enrolment, rounds
set(FED_LIBS shoal_client_lib)
shoal_test(test_store unit/test_store.c support/temp_dir.c LIBS ${FED_LIBS})
