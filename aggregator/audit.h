/* audit.h - an append-only log whose entries are chained by hashes.
 *
 * A line is one JSON object:
 *   {"n":7,"t":1790000000,"event":"device.enrolled",...,"prev":"HEX","hash":"HEX"}
 * prev is the hash of the line before (zeros for the first), hash is SHA-256 over
 * "shoal/audit" || 00 || the line's bytes before `,"hash"`. So no line can be changed, left out or
 * put in without changing all that follow; whoever keeps the newest hash elsewhere can prove it
 * (`audit verify --head`). Cutting off the newest lines is what the chain alone cannot show.
 *
 * Appends are synced before they return. A line that a crash left half written was never
 * acknowledged: the next append removes it and says how many bytes it was.
 *
 * Several processes may append to one log. Layer: aggregator. Threads: any.
 */
#ifndef SHOAL_AGGREGATOR_AUDIT_H
#define SHOAL_AGGREGATOR_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_AUDIT_LINE = 2048 };

/* One member of an entry; the last one has a NULL name. */
typedef struct shoal_audit_field {
    const char *name;
    const char *text;   /* NULL: a number, or bytes */
    const uint8_t *hex; /* bytes, written in hex; NULL: a number */
    size_t hex_n;       /* at most 64 */
    uint64_t number;
} shoal_audit_field;

SHOAL_MUST_USE shoal_status shoal_audit_append(const char *path, int64_t now_s, const char *event,
                                               const shoal_audit_field *fields, shoal_error *err);

typedef struct shoal_audit_summary {
    uint64_t entries;
    uint8_t head[32]; /* hash of the newest entry */
    bool seen;        /* the head that was asked for is an entry of the chain */
    size_t torn;      /* bytes of an unfinished last line */
} shoal_audit_summary;

/* Reads the whole log. TAMPERED with the number of the first line that does not fit. `expected`
 * [32] is a head noted earlier, or NULL. An absent file has no entries. */
SHOAL_MUST_USE shoal_status shoal_audit_verify(const char *path, const uint8_t *expected,
                                               shoal_audit_summary *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
