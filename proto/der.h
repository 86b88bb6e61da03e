/* der.h - a bounded reader of DER (X.690), one element after another.
 *
 * Definite lengths in their shortest form, tag numbers below 2^21, nothing read past the end. A
 * failed read leaves the reader in the failed state, so that a parser may check once at the end.
 *
 * Layer: proto/. Threads: one owner.
 */
#ifndef SHOAL_PROTO_DER_H
#define SHOAL_PROTO_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Tags as one number: class in bits 30 and 29, constructed in bit 28, tag number below. */
enum {
    SHOAL_DER_CONSTRUCTED = 1 << 28,
    SHOAL_DER_CONTEXT = 1 << 30,
    SHOAL_DER_BOOLEAN = 1,
    SHOAL_DER_INTEGER = 2,
    SHOAL_DER_OCTETS = 4,
    SHOAL_DER_OID = 6,
    SHOAL_DER_ENUMERATED = 10,
    SHOAL_DER_SEQUENCE = 16 | SHOAL_DER_CONSTRUCTED,
    SHOAL_DER_SET = 17 | SHOAL_DER_CONSTRUCTED
};

typedef struct shoal_der {
    const uint8_t *p;
    size_t left;
    bool failed;
} shoal_der;

typedef struct shoal_der_item {
    uint32_t tag;
    const uint8_t *p; /* [n] its contents, inside the input */
    size_t n;
} shoal_der_item;

shoal_der shoal_der_init(const void *data, size_t n);

/* The next element; false at the end and after a failure. */
bool shoal_der_next(shoal_der *d, shoal_der_item *out);
/* The next element, which must have this tag: its contents as a reader (failed otherwise). */
shoal_der shoal_der_enter(shoal_der *d, uint32_t tag);
/* The contents of the next element, which must have this tag; NULL otherwise. */
const uint8_t *shoal_der_take(shoal_der *d, uint32_t tag, size_t *n);
/* An INTEGER or ENUMERATED of 0..2^31-1. */
int32_t shoal_der_number(shoal_der *d, uint32_t tag);

#ifdef __cplusplus
}
#endif
#endif
