# The inference room: sessions, sampling, speculation, parity with the reference.
shoal_test(test_forward unit/test_forward.c LIBS shoal_infer test_vectors LABELS model)
