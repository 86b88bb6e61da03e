/* quota.c - see quota.h. Open addressing, a power of two of places, at most half of them taken. */
#include "aggregator/quota.h"

#include <string.h>

#include "kernels/base/mem.h"

enum { DAY_S = 24 * 3600, FIRST_PLACES = 256 };

typedef struct place {
    uint8_t id[SHOAL_ID_BYTES];
    uint8_t session[16]; /* counted last: the beginning of its id, which is random */
    int64_t begin_s;     /* of the device's day */
    uint32_t n;          /* sessions in it; 0: nobody's place */
} place;

struct shoal_quota {
    uint32_t max;
    place *places; /* [n_places] */
    size_t n_places, n_taken;
};

shoal_quota *shoal_quota_open(uint32_t max)
{
    shoal_quota *q = shoal_calloc(1, sizeof *q);
    if (q == NULL) {
        return NULL;
    }
    *q = (shoal_quota){.max = max, .n_places = FIRST_PLACES};
    q->places = shoal_calloc(q->n_places, sizeof *q->places);
    if (q->places == NULL) {
        shoal_free(q);
        return NULL;
    }
    return q;
}

void shoal_quota_close(shoal_quota *q)
{
    if (q != NULL) {
        shoal_free(q->places);
        shoal_free(q);
    }
}

/* The device's place, or the empty one where it belongs. Ids are hashes: any of their bytes spread
 * evenly. */
static place *find(place *places, size_t n_places, const uint8_t id[SHOAL_ID_BYTES])
{
    uint64_t h;
    memcpy(&h, id, sizeof h);
    size_t i = (size_t)h & (n_places - 1);
    while (places[i].n > 0 && memcmp(places[i].id, id, SHOAL_ID_BYTES) != 0) {
        i = (i + 1) & (n_places - 1);
    }
    return &places[i];
}

/* A clock that was set back does not give a device another day. */
static bool day_is_over(const place *p, int64_t now_s)
{
    return now_s >= p->begin_s && now_s - p->begin_s >= DAY_S;
}

/* Leaves out whose day is over, and makes room for twice those who stay. */
static bool make_room(shoal_quota *q, int64_t now_s)
{
    size_t n = FIRST_PLACES, live = 0;
    for (size_t i = 0; i < q->n_places; i++) {
        live += q->places[i].n > 0 && !day_is_over(&q->places[i], now_s);
    }
    while (n < 4 * (live + 1)) {
        n *= 2;
    }
    place *to = shoal_calloc(n, sizeof *to);
    if (to == NULL) {
        return false;
    }
    for (size_t i = 0; i < q->n_places; i++) {
        const place *p = &q->places[i];
        if (p->n > 0 && !day_is_over(p, now_s)) {
            *find(to, n, p->id) = *p;
        }
    }
    shoal_free(q->places);
    q->places = to;
    q->n_places = n;
    q->n_taken = live;
    return true;
}

bool shoal_quota_take(shoal_quota *q, const uint8_t id[SHOAL_ID_BYTES],
                      const uint8_t session_id[SHOAL_SA_SESSION_BYTES], int64_t now_s)
{
    if (q->max == 0) {
        return true;
    }
    if (2 * (q->n_taken + 1) > q->n_places && !make_room(q, now_s)) {
        return false;
    }
    place *p = find(q->places, q->n_places, id);
    if (p->n > 0 && memcmp(p->session, session_id, sizeof p->session) == 0) {
        return true;
    }
    if (p->n == 0 || day_is_over(p, now_s)) {
        q->n_taken += p->n == 0;
        *p = (place){.begin_s = now_s};
        memcpy(p->id, id, sizeof p->id);
    } else if (p->n >= q->max) {
        return false;
    }
    p->n++;
    memcpy(p->session, session_id, sizeof p->session);
    return true;
}

int64_t shoal_quota_wait_s(const shoal_quota *q, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s)
{
    const place *p = q->max > 0 ? find(q->places, q->n_places, id) : NULL;
    if (p == NULL || p->n < q->max || day_is_over(p, now_s)) {
        return 0;
    }
    int64_t left = p->begin_s + DAY_S - now_s;
    return left < DAY_S ? left : DAY_S;
}
