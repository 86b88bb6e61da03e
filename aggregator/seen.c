/* seen.c - see seen.h. */
#include "aggregator/seen.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { PLACES = 16384, MINUTE_S = 60 };

typedef struct place {
    uint8_t id[SHOAL_ID_BYTES];
    int64_t noted_s;
    bool taken, pending;
} place;

struct shoal_seen {
    place places[PLACES];
    size_t pending;
    size_t next; /* where the next flush begins to look */
};

shoal_seen *shoal_seen_open(void)
{
    return shoal_calloc(1, sizeof(shoal_seen));
}

void shoal_seen_close(shoal_seen *s)
{
    shoal_free(s);
}

size_t shoal_seen_pending(const shoal_seen *s)
{
    return s->pending;
}

/* Ids are hashes: any of their bytes spread evenly. */
static place *place_of(shoal_seen *s, const uint8_t id[SHOAL_ID_BYTES])
{
    return &s->places[((size_t)id[0] << 8 | id[1]) % PLACES];
}

void shoal_seen_add(shoal_seen *s, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s)
{
    place *p = place_of(s, id);
    bool same = p->taken && memcmp(p->id, id, SHOAL_ID_BYTES) == 0;
    if (p->pending || (same && now_s >= p->noted_s && now_s - p->noted_s < MINUTE_S)) {
        return; /* to be written already, or just was; or another's turn comes first */
    }
    memcpy(p->id, id, SHOAL_ID_BYTES);
    p->noted_s = now_s;
    p->taken = true;
    p->pending = true;
    s->pending++;
}

shoal_status shoal_seen_flush(shoal_seen *s, shoal_db *db, int64_t now_s, shoal_error *err)
{
    uint8_t ids[SHOAL_SEEN_BATCH][SHOAL_ID_BYTES];
    size_t at[SHOAL_SEEN_BATCH];
    size_t n = 0;
    for (size_t i = 0; i < PLACES && n < SHOAL_SEEN_BATCH && n < s->pending; i++) {
        size_t k = (s->next + i) % PLACES;
        if (s->places[k].pending) {
            memcpy(ids[n], s->places[k].id, SHOAL_ID_BYTES);
            at[n++] = k;
        }
    }
    if (n == 0) {
        return SHOAL_OK;
    }
    SHOAL_TRY(shoal_db_devices_seen(db, (const uint8_t(*)[SHOAL_ID_BYTES])ids, n, now_s, err));
    for (size_t i = 0; i < n; i++) {
        s->places[at[i]].pending = false;
    }
    s->pending -= n;
    s->next = (at[n - 1] + 1) % PLACES;
    return SHOAL_OK;
}
