/* sa_attack.c - see sa_attack.h. */
#include "tests/support/sa_attack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

size_t attack_index(const cohort *c, size_t device_index)
{
    size_t i = 0;
    while (memcmp(c->server->party[i]->entry.client_id, c->dev[device_index].id, SHOAL_ID_BYTES) !=
           0) {
        i++;
    }
    return i + 1;
}

size_t attack_device(const cohort *c, size_t index)
{
    size_t i = 0;
    while (attack_index(c, i) != index) {
        i++;
    }
    return i;
}

size_t attack_other(const cohort *c)
{
    return attack_index(c, 0) == 1 ? 2 : 1;
}

shoal_buf attack_message(void)
{
    return shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
}

shoal_status attack_feed(cohort *c, shoal_sa_stage stage, const shoal_buf *m, shoal_buf *out)
{
    shoal_sa_client *k = c->dev[0].client;
    shoal_error e = {0};
    switch (stage) {
    case SHOAL_SA_ADVERTISE: return shoal_sa_client_roster(k, m->data, m->len, c->now_s, out, &e);
    case SHOAL_SA_SHARES: return shoal_sa_client_delivery(k, m->data, m->len, out, &e);
    case SHOAL_SA_CONFIRM: return shoal_sa_client_members(k, m->data, m->len, &e);
    case SHOAL_SA_INPUT: return shoal_sa_client_claim(k, m->data, m->len, out, &e);
    default: return shoal_sa_client_request(k, m->data, m->len, c->now_s, out, &e);
    }
}

void attack_refused(cohort *c, shoal_sa_stage stage, shoal_buf *m)
{
    shoal_buf out = attack_message();
    shoal_buf anything = attack_message();
    uint32_t words[64] = {0};
    assert_false(m->failed);
    assert_int_not_equal(attack_feed(c, stage, m, &out), SHOAL_OK);
    assert_int_equal(out.len, 0);
    assert_int_equal(shoal_sa_client_stage(c->dev[0].client), SHOAL_SA_FAILED);
    /* Spec 5.9.1: nothing after any check failed, not even to an honest request. */
    for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_SURVIVORS; s++) {
        assert_int_equal(attack_feed(c, s, &anything, &out), SHOAL_ERR_STATE);
    }
    assert_int_equal(shoal_sa_client_advertise(c->dev[0].client, &out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(shoal_sa_client_input(c->dev[0].client, words, &out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(out.len, 0);
    shoal_buf_clear(m);
    shoal_buf_clear(&out);
}

shoal_status attack_receive(cohort *c, size_t i, shoal_sa_stage stage, const shoal_buf *m)
{
    return shoal_sa_server_receive(c->server, stage, c->dev[i].id, m->data, m->len, COHORT_NOW,
                                   &c->err);
}

void attack_resign(cohort *c, size_t i, const char *label, shoal_buf *m)
{
    m->len -= SHOAL_SIG_BYTES;
    assert_int_equal(shoal_sa_sign_tail(m, 0, c->dev[i].key, label, c->server->ctx, NULL),
                     SHOAL_OK);
}

shoal_sa_set attack_everyone(const cohort *c)
{
    shoal_sa_set s = {{0}};
    for (size_t i = 1; i <= c->n; i++) {
        shoal_sa_set_add(&s, i);
    }
    return s;
}

shoal_sa_set attack_without(const cohort *c, size_t index)
{
    shoal_sa_set s = attack_everyone(c);
    shoal_sa_set_remove(&s, index);
    return s;
}

void attack_sign(cohort *c, const shoal_sa_set *u3, unsigned devices, shoal_sa_quorum *q)
{
    shoal_sa_survivors what = {c->server->ctx, c->server->roster_hash, c->n, u3};
    q->n = 0;
    for (size_t index = 1; index <= c->n; index++) {
        size_t i = attack_device(c, index);
        if ((devices >> i & 1u) == 0 || !shoal_sa_set_has(&c->server->g.committee, index)) continue;
        q->items[q->n] = (shoal_sa_voucher){.index = (uint16_t)index};
        assert_int_equal(shoal_sa_survivors_sign(&what, c->dev[i].key, q->items[q->n++].sig, NULL),
                         SHOAL_OK);
    }
}
