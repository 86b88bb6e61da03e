/* wire_samples.h - one full sample of every control message, by name, for tests and fuzzing. */
#ifndef SHOAL_TESTS_SUPPORT_WIRE_SAMPLES_H
#define SHOAL_TESTS_SUPPORT_WIRE_SAMPLES_H

#include "proto/wire.h"

/* Large enough for any message struct. */
typedef union wire_any {
#define WIRE_MEMBER(name) shoal_##name name;
    SHOAL_WIRE_MESSAGES(WIRE_MEMBER)
#undef WIRE_MEMBER
} wire_any;

typedef struct wire_codec {
    const char *name;
    size_t bytes; /* sizeof the struct */
    void (*fill)(wire_any *m);
    shoal_status (*encode)(const wire_any *m, shoal_buf *out, shoal_error *err);
    shoal_status (*decode)(const void *data, size_t n, wire_any *out, shoal_error *err);
} wire_codec;

extern const wire_codec wire_codecs[];
extern const size_t n_wire_codecs;

#endif
