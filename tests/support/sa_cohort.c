/* sa_cohort.c - see sa_cohort.h. */
#include "tests/support/sa_cohort.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

static shoal_status fill_counter(void *ctx, void *out, size_t n, shoal_error *err)
{
    test_entropy *e = ctx;
    uint8_t *dst = out;
    while (n > 0) {
        uint64_t block[2] = {e->seed, e->counter++};
        uint8_t hash[32];
        SHOAL_TRY(shoal_sha256(block, sizeof block, hash, err));
        size_t part = n < 32 ? n : 32;
        memcpy(dst, hash, part);
        dst += part;
        n -= part;
    }
    return SHOAL_OK;
}

void test_entropy_init(test_entropy *e, uint64_t seed)
{
    e->seed = seed;
    e->counter = 0;
    e->source = (shoal_entropy){fill_counter, e};
}

/* A P-256 key from deterministic bytes. */
static shoal_key *make_key(uint64_t seed)
{
    test_entropy e;
    uint8_t scalar[32];
    shoal_key *key = NULL;
    test_entropy_init(&e, seed);
    assert_int_equal(shoal_entropy_fill(&e.source, scalar, 32, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_from_scalar(&key, scalar, NULL), SHOAL_OK);
    return key;
}

static void issue(cohort *c, device *dev, const shoal_key *by, int64_t from_s, int64_t until_s,
                  shoal_buf *out)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key_spki(dev->key, spki);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = from_s,
                             .not_after_s = until_s,
                             .entropy = &dev->entropy.source};
    assert_int_equal(shoal_cert_issue(by, c->ca.data, c->ca.len, &t, out, &c->err), SHOAL_OK);
}

static void certify(cohort *c, device *dev, int64_t from_s, int64_t until_s)
{
    shoal_buf_clear(&dev->cert);
    issue(c, dev, c->ca_key, from_s, until_s, &dev->cert);
}

void cohort_other_cert(cohort *c, size_t i, bool foreign, shoal_buf *out)
{
    issue(c, &c->dev[i], foreign ? c->dev[i].key : c->ca_key, COHORT_NOW - 50, COHORT_NOW + 86400,
          out);
}

void cohort_certify(cohort *c, size_t i, int64_t from_s, int64_t until_s)
{
    certify(c, &c->dev[i], from_s, until_s);
}

static void make_device(cohort *c, device *dev, uint64_t seed)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    dev->key = make_key(seed);
    test_entropy_init(&dev->entropy, seed + 1000);
    shoal_key_spki(dev->key, spki);
    assert_int_equal(shoal_spki_id(spki, dev->id, NULL), SHOAL_OK);
    dev->cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    certify(c, dev, COHORT_NOW - 60, COHORT_NOW + 86400);
    for (size_t k = 0; k < SHOAL_SA_DONE; k++) {
        dev->sent[k] = shoal_buf_init(SIZE_MAX / 2);
    }
}

static void default_descriptor(cohort *c, uint32_t dim)
{
    shoal_sa_descriptor *d = &c->d;
    memset(d->task_id, 1, sizeof d->task_id);
    d->round = 1;
    memset(d->session_id, 2, sizeof d->session_id);
    memset(d->base_model_hash, 3, 32);
    memset(d->adapter_hash, 4, 32);
    d->codec =
        (shoal_codec){.dim = dim, .ring_bits = 24, .clip_norm = 1.0, .weight_max = 8, .n_max = 8};
    assert_int_equal(shoal_codec_fit_scale(&d->codec, NULL), SHOAL_OK);
    d->noise_den = 1;
    d->committee = 128;
    d->n_min = 3;
    d->n_target = (uint32_t)c->n;
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++) {
        d->deadline_ms[i] = 1000;
    }
}

void cohort_open(cohort *c, size_t n, uint32_t dim, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    test_entropy e;
    test_entropy_init(&e, seed + 5);
    assert_int_equal(shoal_exec_open(&c->ex, NULL, SHOAL_CPU_ALL, false, &c->err), SHOAL_OK);
    c->ca_key = make_key(seed + 1);
    c->task_key = make_key(seed + 2);
    shoal_key_spki(c->task_key, c->task_spki);
    c->ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_ca_create(c->ca_key, "test CA", COHORT_NOW - 60, COHORT_NOW + 1000000,
                                     &e.source, &c->ca, &c->err),
                     SHOAL_OK);
    c->now_s = COHORT_NOW;
    c->n = n;
    c->dev = shoal_calloc(n, sizeof *c->dev);
    assert_non_null(c->dev);
    for (size_t i = 0; i < n; i++) {
        make_device(c, &c->dev[i], seed * 100 + 10 + i);
        c->dev[i].plain = shoal_calloc(dim + 1, sizeof(uint32_t));
    }
    default_descriptor(c, dim);
    c->descriptor = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
}

void cohort_end(cohort *c)
{
    shoal_sa_server_close(c->server);
    c->server = NULL;
    for (size_t i = 0; i < c->n; i++) {
        shoal_sa_client_close(c->dev[i].client);
        c->dev[i].client = NULL;
        for (size_t k = 0; k < SHOAL_SA_DONE; k++) {
            shoal_buf_clear(&c->dev[i].sent[k]);
        }
    }
    shoal_buf_clear(&c->descriptor);
}

void cohort_close(cohort *c)
{
    cohort_end(c);
    for (size_t i = 0; i < c->n; i++) {
        shoal_key_close(c->dev[i].key);
        shoal_buf_clear(&c->dev[i].cert);
        shoal_free(c->dev[i].plain);
    }
    shoal_free(c->dev);
    shoal_buf_clear(&c->ca);
    shoal_key_close(c->ca_key);
    shoal_key_close(c->task_key);
    shoal_exec_close(&c->ex);
}

shoal_sa_client_options cohort_options(cohort *c, size_t i)
{
    shoal_sa_client_options opt = {.key = c->dev[i].key,
                                   .cert = c->dev[i].cert.data,
                                   .cert_n = c->dev[i].cert.len,
                                   .ca = c->ca.data,
                                   .ca_n = c->ca.len,
                                   .task_spki = c->task_spki,
                                   .policy = shoal_sa_policy_default(),
                                   .last_round = 0,
                                   .ex = &c->ex,
                                   .entropy = &c->dev[i].entropy.source};
    opt.policy.n_min = 3;
    opt.policy.security_bits = 0; /* small graphs promise little */
    opt.policy.committee_min = 1;
    opt.policy.dim = c->d.codec.dim;
    memset(opt.task_id, 1, sizeof opt.task_id);
    memset(opt.base_model_hash, 3, 32);
    memset(opt.adapter_hash, 4, 32);
    return opt;
}

void cohort_start(cohort *c)
{
    cohort_end(c);
    assert_int_equal(shoal_sa_descriptor_sign(&c->d, c->task_key, &c->descriptor, &c->err),
                     SHOAL_OK);
    shoal_sa_server_options so = {
        .ca = c->ca.data, .ca_n = c->ca.len, .task_spki = c->task_spki, .ex = &c->ex};
    assert_int_equal(
        shoal_sa_server_open(&c->server, &so, c->descriptor.data, c->descriptor.len, &c->err),
        SHOAL_OK);
    for (size_t i = 0; i < c->n; i++) {
        shoal_sa_client_options opt = cohort_options(c, i);
        assert_int_equal(shoal_sa_client_open(&c->dev[i].client, &opt, c->descriptor.data,
                                              c->descriptor.len, &c->err),
                         SHOAL_OK);
    }
}

float cohort_update(size_t i, size_t coordinate)
{
    return 0.01F * (float)(i + 1) * (float)((coordinate * 37 + i * 11) % 19) -
           0.09F * (float)(i + 1);
}

static shoal_status encode_update(cohort *c, size_t i)
{
    size_t dim = c->d.codec.dim;
    float *x = shoal_alloc(dim * sizeof *x);
    uint8_t seed[32] = {(uint8_t)(i + 1)};
    uint8_t signs[32];
    shoal_codec_keys keys = {.rounding = seed, .rotation = signs};
    if (x == NULL) return SHOAL_ERR_NOMEM; /* test_sa_faults wants it so */
    assert_int_equal(shoal_sa_rotation_key(shoal_sa_server_context(c->server), signs, NULL),
                     SHOAL_OK);
    for (size_t k = 0; k < dim; k++) {
        x[k] = cohort_update(i, k);
    }
    shoal_status st = shoal_codec_encode(&c->ex, &c->d.codec, x, (uint32_t)(i % 8 + 1), &keys,
                                         c->dev[i].plain, NULL, &c->err);
    shoal_free(x);
    return st;
}

static shoal_status upload(cohort *c, size_t i, const shoal_buf *m4)
{
    device *dev = &c->dev[i];
    size_t words = shoal_codec_words(&c->d.codec);
    SHOAL_TRY(shoal_sa_client_members(dev->client, m4->data, m4->len, &c->err));
    SHOAL_TRY(encode_update(c, i));
    uint32_t *masked = shoal_alloc(words * sizeof *masked);
    if (masked == NULL) return SHOAL_ERR_NOMEM;
    memcpy(masked, dev->plain, words * sizeof *masked);
    shoal_status st =
        shoal_sa_client_input(dev->client, masked, &dev->sent[SHOAL_SA_INPUT], &c->err);
    shoal_free(masked);
    return st;
}

shoal_buf cohort_message(cohort *c, size_t i, shoal_sa_stage stage)
{
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    assert_int_equal(shoal_sa_server_message(c->server, stage, c->dev[i].id, &b, &c->err),
                     SHOAL_OK);
    return b;
}

shoal_status cohort_feed(cohort *c, size_t i, shoal_sa_stage stage, const shoal_buf *in)
{
    shoal_sa_client *k = c->dev[i].client;
    shoal_buf *out = &c->dev[i].sent[stage];
    shoal_buf_clear(out);
    switch (stage) {
    case SHOAL_SA_ADVERTISE: return shoal_sa_client_advertise(k, out, &c->err);
    case SHOAL_SA_SHARES:
        return shoal_sa_client_roster(k, in->data, in->len, c->now_s, out, &c->err);
    case SHOAL_SA_CONFIRM: return shoal_sa_client_delivery(k, in->data, in->len, out, &c->err);
    case SHOAL_SA_INPUT: return upload(c, i, in);
    case SHOAL_SA_SURVIVORS: return shoal_sa_client_claim(k, in->data, in->len, out, &c->err);
    case SHOAL_SA_UNMASK:
        return shoal_sa_client_request(k, in->data, in->len, c->now_s, out, &c->err);
    case SHOAL_SA_DONE:
    case SHOAL_SA_FAILED: break;
    }
    return SHOAL_ERR_ARG;
}

shoal_status cohort_answer(cohort *c, size_t i, shoal_sa_stage stage)
{
    shoal_buf in = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_status st = SHOAL_OK;
    shoal_buf_clear(&c->dev[i].sent[stage]);
    if (stage == SHOAL_SA_SURVIVORS && !shoal_sa_client_signs(c->dev[i].client)) return SHOAL_OK;
    if (stage != SHOAL_SA_ADVERTISE) {
        st = shoal_sa_server_message(c->server, stage - 1, c->dev[i].id, &in, &c->err);
    }
    if (st == SHOAL_OK) st = cohort_feed(c, i, stage, &in);
    shoal_buf_clear(&in);
    return st;
}

shoal_status cohort_send(cohort *c, size_t i, shoal_sa_stage stage)
{
    const shoal_buf *sent = &c->dev[i].sent[stage];
    if (stage == SHOAL_SA_SURVIVORS && sent->len == 0) return SHOAL_OK; /* not on the committee */
    return shoal_sa_server_receive(c->server, stage, c->dev[i].id, sent->data, sent->len, c->now_s,
                                   &c->err);
}

shoal_status cohort_act(cohort *c, size_t i, shoal_sa_stage stage)
{
    SHOAL_TRY(cohort_answer(c, i, stage));
    return cohort_send(c, i, stage);
}

void cohort_run(cohort *c, shoal_sa_stage last)
{
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= last; stage++) {
        for (size_t i = 0; i < c->n; i++) {
            shoal_status st = cohort_act(c, i, stage);
            if (st != SHOAL_OK)
                print_error("device %zu, %s: %s\n", i, shoal_sa_stage_name(stage), c->err.msg);
            assert_int_equal(st, SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_OK);
    }
}

bool cohort_sum_right(const cohort *c, unsigned devices)
{
    const uint32_t *sum = shoal_sa_server_sum(c->server);
    uint32_t bits = c->d.codec.ring_bits;
    uint32_t mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1u;
    for (size_t w = 0; sum != NULL && w < shoal_codec_words(&c->d.codec); w++) {
        uint32_t plain = 0;
        for (size_t i = 0; i < c->n; i++) {
            plain += (devices >> i & 1u) != 0 ? c->dev[i].plain[w] : 0;
        }
        if (sum[w] != (plain & mask)) return false;
    }
    return sum != NULL;
}

void cohort_check_sum(cohort *c, unsigned devices)
{
    assert_true(cohort_sum_right(c, devices));
}
