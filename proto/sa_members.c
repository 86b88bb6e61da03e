/* sa_members.c - who of those who dealt stays when some boxes did not open (Spec 5.5.4).
 *
 * A refused box has one lying end, its dealer or its reader, and the server cannot tell which. It
 * bears with refusals while a dealer keeps more than half of the holders it has to spare. Beyond
 * that it leaves out whoever has part in most refusals, given and received, until nothing is wrong:
 * every refusal that counts has a lying end, so few liars cost few others. Nobody has masked
 * anything yet, so whoever is left out is simply not there.
 */
#include "proto/sa_session.h"

size_t shoal_sa_place(const shoal_sa_party *p, size_t k, size_t index)
{
    size_t low = 0;
    for (size_t high = k; low < high;) {
        size_t mid = low + (high - low) / 2;
        if (p->near[mid] < index) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < k && p->near[low] == index ? low : k;
}

/* Whether reader refused the box of its neighbour i. */
static bool refuses(const shoal_sa_server *s, size_t reader, size_t i)
{
    const shoal_sa_party *p = s->party[reader - 1];
    if (p->refused == NULL) return false;
    size_t place = shoal_sa_place(p, s->g.k, i);
    return place < s->g.k && p->refused[place];
}

/* How client i stands within a set. */
typedef struct standing {
    size_t holders;  /* of its secrets, whether or not they refused */
    size_t received; /* refusals of its boxes */
    size_t given;    /* refusals by it */
} standing;

static standing stand(const shoal_sa_server *s, size_t i, const shoal_sa_set *set)
{
    const shoal_sa_party *p = s->party[i - 1];
    standing out = {.holders = s->g.complete && shoal_sa_set_has(set, i) ? 1 : 0};
    for (size_t at = 0; at < s->g.k; at++) {
        if (!shoal_sa_set_has(set, p->near[at])) continue;
        out.holders++;
        out.received += refuses(s, p->near[at], i) ? 1 : 0;
        out.given += p->refused != NULL && p->refused[at] ? 1 : 0;
    }
    return out;
}

size_t shoal_sa_holding(const shoal_sa_server *s, size_t i, const shoal_sa_set *set)
{
    standing x = stand(s, i, set);
    return x.holders - x.received;
}

/* Spec 5.5.4: has fewer than t holders, or lost more than half of those beyond t to refusals. */
static bool is_weak(const shoal_sa_server *s, const standing *x)
{
    return x->holders < s->g.t || 2 * x->received > x->holders - s->g.t;
}

/* Whom to leave out next: nobody (0), else who has part in most refusals; where none are left, the
 * first that is simply alone. */
static size_t worst_of(const shoal_sa_server *s, const shoal_sa_set *set)
{
    size_t alone = 0;
    size_t worst = 0;
    size_t most = 0;
    bool disputed = false;
    for (size_t i = 1; i <= s->n; i++) {
        if (!shoal_sa_set_has(set, i)) continue;
        standing x = stand(s, i, set);
        bool weak = is_weak(s, &x);
        disputed = disputed || (weak && x.received > 0);
        if (weak && alone == 0) alone = i;
        if (2 * (x.given + x.received) + (x.received > 0 ? 1 : 0) > most) {
            most = 2 * (x.given + x.received) + (x.received > 0 ? 1 : 0); /* a tie: the dealer */
            worst = i;
        }
    }
    return disputed ? worst : alone;
}

/* More than half of its neighbours contradict it: with fewer liars than that, it is one. */
static void name_liar(shoal_sa_server *s, size_t i)
{
    standing x = stand(s, i, &s->answered[SHOAL_SA_CONFIRM]);
    size_t own = s->g.complete ? 1 : 0;
    if (2 * x.received > x.holders - own || 2 * x.given > x.holders - own) {
        shoal_sa_set_add(&s->liars, i);
    }
}

static void leave_out_worst(const shoal_sa_server *s, shoal_sa_set *set)
{
    for (size_t out = worst_of(s, set); out != 0; out = worst_of(s, set)) {
        shoal_sa_set_remove(set, out);
    }
}

shoal_sa_set shoal_sa_sustained(const shoal_sa_server *s, const shoal_sa_set *set)
{
    shoal_sa_set left = *set;
    leave_out_worst(s, &left);
    return left;
}

void shoal_sa_fix_members(shoal_sa_server *s)
{
    s->u2 = s->answered[SHOAL_SA_CONFIRM];
    for (size_t i = 1; i <= s->n; i++) {
        if (shoal_sa_set_has(&s->u2, i)) name_liar(s, i);
    }
    for (size_t i = 1; i <= s->n; i++) {
        if (shoal_sa_set_has(&s->liars, i)) shoal_sa_set_remove(&s->u2, i);
    }
    leave_out_worst(s, &s->u2);
}
