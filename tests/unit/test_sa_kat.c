/* test_sa_kat.c - tests/kat/sa1.vec and sa1_ring.vec, whole sessions written by the reference
 * implementation, in the complete graph and in a ring with a liar: both roles of ours write the
 * same bytes, message by message, and end in the same sum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/sa_client.h"
#include "proto/sa_server.h"
#include "proto/wire.h"
#include "proto/x509.h"
#include "tests/support/vec_file.h"

enum { DEVICES_MAX = 16, LINES_MAX = 512, NOW = 1790000000 };

typedef struct vector {
    char name[24];
    uint64_t place;
    size_t n;
    uint8_t *data;
} vector;

static vector lines[LINES_MAX];
static size_t n_lines;

static int load(const char *path)
{
    vec_file f;
    n_lines = 0;
    assert_true(vec_open(&f, path));
    while (vec_next_line(&f)) {
        assert_true(n_lines < LINES_MAX);
        vector *v = &lines[n_lines++];
        const char *name = vec_word(&f);
        assert_true(strlen(name) < sizeof v->name);
        memcpy(v->name, name, strlen(name) + 1);
        v->place = vec_number(&f);
        v->n = (size_t)vec_number(&f);
        v->data = shoal_calloc(v->n + 1, 1);
        assert_non_null(v->data);
        vec_bytes(&f, v->data, v->n);
    }
    vec_close(&f);
    return 0;
}

static int load_complete(void **state)
{
    (void)state;
    return load("tests/kat/sa1.vec");
}

static int load_ring(void **state)
{
    (void)state;
    return load("tests/kat/sa1_ring.vec");
}

static int unload(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_lines; i++) {
        shoal_free(lines[i].data);
    }
    return 0;
}

/* NULL when the session had no such message. */
static const vector *find(const char *name, uint64_t place)
{
    for (size_t i = 0; i < n_lines; i++) {
        if (lines[i].place == place && strcmp(lines[i].name, name) == 0) return &lines[i];
    }
    return NULL;
}

static const vector *get(const char *name, uint64_t place)
{
    const vector *v = find(name, place);
    if (v == NULL) fail_msg("the vectors lack %s of %u", name, (unsigned)place);
    return v;
}

static void assert_same(const shoal_buf *b, const vector *v)
{
    if (b->len != v->n || memcmp(b->data, v->data, v->n) != 0) {
        fail_msg("%s of %u differs", v->name, (unsigned)v->place);
    }
}

/* ---- a device that draws what the vectors say ---- */

typedef struct device {
    const vector *drawn;
    size_t used;
    shoal_entropy entropy;
    shoal_key *key;
    uint8_t id[SHOAL_ID_BYTES];
    shoal_sa_client *client;
} device;

typedef struct session {
    shoal_exec ex;
    shoal_sa_descriptor d;
    uint8_t task_spki[SHOAL_SPKI_BYTES];
    size_t n;
    device dev[DEVICES_MAX];
    shoal_sa_server *server;
} session;

static shoal_status draw_next(void *ctx, void *out, size_t n, shoal_error *err)
{
    device *dev = ctx;
    if (n > dev->drawn->n - dev->used) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the device draws more than the vectors hold");
    }
    memcpy(out, dev->drawn->data + dev->used, n);
    dev->used += n;
    return SHOAL_OK;
}

static shoal_key *key_of(const char *name, uint64_t place)
{
    shoal_key *key = NULL;
    assert_int_equal(shoal_key_from_scalar(&key, get(name, place)->data, NULL), SHOAL_OK);
    return key;
}

static void open_device(session *s, uint64_t place)
{
    device *dev = &s->dev[place - 1];
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_error err = {0};
    dev->drawn = get("drawn", place);
    dev->entropy = (shoal_entropy){draw_next, dev};
    dev->key = key_of("scalar", place);
    shoal_key_spki(dev->key, spki);
    assert_int_equal(shoal_spki_id(spki, dev->id, NULL), SHOAL_OK);
    shoal_sa_client_options opt = {.key = dev->key,
                                   .cert = get("cert", place)->data,
                                   .cert_n = get("cert", place)->n,
                                   .ca = get("ca", 0)->data,
                                   .ca_n = get("ca", 0)->n,
                                   .task_spki = s->task_spki,
                                   .policy = shoal_sa_policy_default(),
                                   .last_round = 40,
                                   .ex = &s->ex,
                                   .entropy = &dev->entropy};
    opt.policy.n_min = 5;
    opt.policy.committee_min = 6;
    opt.policy.security_bits = 0; /* a graph of a few devices */
    opt.policy.dim = s->d.codec.dim;
    memcpy(opt.task_id, s->d.task_id, sizeof opt.task_id);
    memcpy(opt.base_model_hash, s->d.base_model_hash, 32);
    memcpy(opt.adapter_hash, s->d.adapter_hash, 32);
    const vector *m0 = get("m0", 0);
    assert_int_equal(shoal_sa_client_open(&dev->client, &opt, m0->data, m0->n, &err), SHOAL_OK);
}

/* M0 read, written again to the same bytes, and opened by everyone. */
static void open_session(session *s)
{
    uint8_t ctx[32];
    const vector *m0 = get("m0", 0);
    memset(s, 0, sizeof *s);
    assert_int_equal(shoal_exec_open(&s->ex, NULL, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
    shoal_key *task = key_of("scalar_task", 0);
    shoal_key_spki(task, s->task_spki);
    assert_int_equal(shoal_sa_descriptor_open(m0->data, m0->n, s->task_spki, &s->d, ctx, NULL),
                     SHOAL_OK);
    assert_memory_equal(ctx, get("ctx", 0)->data, 32);
    shoal_buf again = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    assert_int_equal(shoal_sa_descriptor_sign(&s->d, task, &again, NULL), SHOAL_OK);
    assert_same(&again, m0);
    shoal_buf_clear(&again);
    shoal_key_close(task);
    shoal_sa_server_options so = {
        .ca = get("ca", 0)->data, .ca_n = get("ca", 0)->n, .task_spki = s->task_spki, .ex = &s->ex};
    assert_int_equal(shoal_sa_server_open(&s->server, &so, m0->data, m0->n, NULL), SHOAL_OK);
    s->n = s->d.n_target;
    assert_in_range(s->n, 3, DEVICES_MAX);
    for (uint64_t place = 1; place <= s->n; place++) {
        open_device(s, place);
    }
}

static void close_session(session *s)
{
    shoal_sa_server_close(s->server);
    for (size_t i = 0; i < s->n; i++) {
        shoal_sa_client_close(s->dev[i].client);
        shoal_key_close(s->dev[i].key);
    }
    shoal_exec_close(&s->ex);
}

/* ---- one message ---- */

static const char *const sent_name[] = {"m1", "m3", "m4_confirm", "m5", "m6", "m8"};
static const char *const read_name[] = {"m2", "m4", "m4_members", "m6_claim", "m7"};

/* What the server says after `stage`, equal to the vectors where they hold it. */
static shoal_buf server_says(session *s, shoal_sa_stage stage, uint64_t place)
{
    uint8_t hash[32];
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    assert_int_equal(shoal_sa_server_message(s->server, stage, s->dev[place - 1].id, &b, NULL),
                     SHOAL_OK);
    const vector *v = find(read_name[stage], place);
    if (v != NULL) {
        assert_same(&b, v);
    } else if (stage == SHOAL_SA_ADVERTISE) {
        assert_int_equal(shoal_sha256(b.data, b.len, hash, NULL), SHOAL_OK);
        assert_memory_equal(hash, get("m2_sha256", place)->data, 32);
    }
    return b;
}

static void load_words(const vector *v, uint32_t *out)
{
    shoal_cursor c = shoal_cursor_init(v->data, v->n);
    for (size_t i = 0; i < v->n / 4; i++) {
        out[i] = shoal_cursor_u32(&c);
    }
}

static shoal_status write_input(session *s, uint64_t place, shoal_buf *out, shoal_error *err)
{
    float update[64];
    uint32_t words[64], expected[64], weight;
    uint32_t bits[64];
    const vector *u = get("update", place);
    assert_in_range(u->n, 4, sizeof update);
    load_words(u, bits);
    memcpy(update, bits, u->n);
    load_words(get("weight", place), &weight);
    shoal_codec_keys keys = {.rounding = get("seed", place)->data};
    assert_int_equal(
        shoal_codec_encode(&s->ex, &s->d.codec, update, weight, &keys, words, NULL, NULL),
        SHOAL_OK);
    load_words(get("words", place), expected);
    assert_memory_equal(words, expected, get("words", place)->n);
    return shoal_sa_client_input(s->dev[place - 1].client, words, out, err);
}

static shoal_status device_says(session *s, shoal_sa_stage stage, uint64_t place, shoal_buf *out)
{
    shoal_error err = {0};
    shoal_sa_client *c = s->dev[place - 1].client;
    if (stage == SHOAL_SA_ADVERTISE) return shoal_sa_client_advertise(c, out, &err);
    shoal_buf in = server_says(s, stage - 1, place);
    shoal_status st = SHOAL_OK;
    switch (stage) {
    case SHOAL_SA_SHARES: st = shoal_sa_client_roster(c, in.data, in.len, NOW, out, &err); break;
    case SHOAL_SA_CONFIRM: st = shoal_sa_client_delivery(c, in.data, in.len, out, &err); break;
    case SHOAL_SA_INPUT:
        st = shoal_sa_client_members(c, in.data, in.len, &err);
        if (st == SHOAL_OK) st = write_input(s, place, out, &err);
        break;
    case SHOAL_SA_SURVIVORS: st = shoal_sa_client_claim(c, in.data, in.len, out, &err); break;
    default: st = shoal_sa_client_request(c, in.data, in.len, NOW, out, &err); break;
    }
    if (st != SHOAL_OK) print_error("device %u: %s\n", (unsigned)place, err.msg);
    shoal_buf_clear(&in);
    return st;
}

/* ---- tests ---- */

static void run_stage(session *s, shoal_sa_stage stage)
{
    shoal_error err = {0};
    for (uint64_t place = 1; place <= s->n; place++) {
        const vector *v = find(sent_name[stage], place);
        if (v == NULL) continue; /* it has left, is left out, or silent */
        shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        assert_int_equal(device_says(s, stage, place, &out), SHOAL_OK);
        assert_same(&out, v);
        const vector *lie = stage == SHOAL_SA_SHARES ? find("m3_sent", place) : NULL;
        if (lie != NULL) v = lie;
        assert_int_equal(shoal_sa_server_receive(s->server, stage, s->dev[place - 1].id, v->data,
                                                 v->n, NOW, &err),
                         SHOAL_OK);
        shoal_buf_clear(&out);
    }
    assert_int_equal(shoal_sa_server_advance(s->server, true, &err), SHOAL_OK);
}

static void check_sum(const session *s)
{
    uint32_t expected[64];
    float mean[64], expected_mean[64];
    uint64_t weight = 0;
    const vector *sum = get("sum", 0);
    load_words(sum, expected);
    assert_memory_equal(shoal_sa_server_sum(s->server), expected, sum->n);
    assert_int_equal(shoal_codec_decode(&s->ex, &s->d.codec, NULL, shoal_sa_server_sum(s->server),
                                        mean, &weight, NULL),
                     SHOAL_OK);
    load_words(get("mean", 0), expected);
    memcpy(expected_mean, expected, get("mean", 0)->n);
    assert_memory_equal(mean, expected_mean, get("mean", 0)->n);
    shoal_cursor c = shoal_cursor_init(get("weight_sum", 0)->data, 8);
    assert_int_equal(weight, shoal_cursor_u64(&c));
}

static void test_whole_session(void **state)
{
    (void)state;
    static session s;
    uint8_t hash[32];
    open_session(&s);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        run_stage(&s, stage);
    }
    shoal_sa_server_roster_hash(s.server, hash);
    assert_memory_equal(hash, get("roster_hash", 0)->data, 32);
    assert_int_equal(shoal_sa_server_stage(s.server), SHOAL_SA_DONE);
    check_sum(&s);
    /* Whoever stayed to the end drew everything that the reference drew. */
    assert_int_equal(s.dev[0].used, s.dev[0].drawn->n);
    close_session(&s);
}

/* Each control message is read, and written again to the same bytes. */
static void test_control_messages(void **state)
{
    (void)state;
    static union any {
#define MEMBER(name) shoal_##name name;
        SHOAL_WIRE_MESSAGES(MEMBER)
#undef MEMBER
    } m;
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_CONTROL);
#define CHECK(what)                                                                      \
    {                                                                                    \
        const vector *v = get(#what, 0);                                                 \
        assert_int_equal(shoal_##what##_decode(v->data, v->n, &m.what, NULL), SHOAL_OK); \
        assert_int_equal(shoal_##what##_encode(&m.what, &out, NULL), SHOAL_OK);          \
        assert_same(&out, v);                                                            \
        shoal_buf_clear(&out);                                                           \
        out = shoal_buf_init(SHOAL_LIMIT_CONTROL);                                       \
    }
    SHOAL_WIRE_MESSAGES(CHECK)
#undef CHECK
    const vector *v = get("adapter_release", 0);
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key *task = key_of("scalar_task", 0);
    shoal_key_spki(task, spki);
    shoal_key_close(task);
    assert_int_equal(shoal_adapter_release_decode(v->data, v->n, &m.adapter_release, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_release_verify(&m.adapter_release, spki, NULL), SHOAL_OK);
}

/* Spec 2.2, 2.7, 2.9: token ids, challenges and the old key's word for a renewal. */
static void test_enrolment(void **state)
{
    (void)state;
    static shoal_enrol_request q;
    shoal_enrol_begin b;
    shoal_renew_request renew;
    shoal_renew_response r;
    shoal_cert_info info;
    uint8_t hash[32];
    const vector *v = get("enrol_request", 0);
    assert_int_equal(shoal_enrol_request_decode(v->data, v->n, &q, NULL), SHOAL_OK);
    v = get("enrol_begin", 0);
    assert_int_equal(shoal_enrol_begin_decode(v->data, v->n, &b, NULL), SHOAL_OK);
    assert_int_equal(shoal_token_hash(q.token, hash, NULL), SHOAL_OK);
    assert_memory_equal(hash, b.token_id, sizeof b.token_id);
    v = get("renew_request", 0);
    assert_int_equal(shoal_renew_request_decode(v->data, v->n, &renew, NULL), SHOAL_OK);
    v = get("renew_response", 0);
    assert_int_equal(shoal_renew_response_decode(v->data, v->n, &r, NULL), SHOAL_OK);
    assert_int_equal(shoal_cert_read(r.cert.data, r.cert.n, &info, NULL), SHOAL_OK);
    assert_int_equal(shoal_enrol_digest(b.token_id, q.nonce, info.spki, hash, NULL), SHOAL_OK);
    assert_memory_equal(hash, get("enrol_digest", 0)->data, 32);
    assert_int_equal(shoal_renew_verify(info.spki, r.cert.data, r.cert.n, renew.csr.data,
                                        renew.csr.n, renew.proof, NULL),
                     SHOAL_OK);
    renew.csr.data[0] ^= 1;
    assert_int_equal(shoal_renew_verify(info.spki, r.cert.data, r.cert.n, renew.csr.data,
                                        renew.csr.n, renew.proof, NULL),
                     SHOAL_ERR_TAMPERED);
}

int main(void)
{
    const struct CMUnitTest complete[] = {cmocka_unit_test(test_whole_session),
                                          cmocka_unit_test(test_control_messages),
                                          cmocka_unit_test(test_enrolment)};
    const struct CMUnitTest ring[] = {cmocka_unit_test(test_whole_session)};
    int failed = cmocka_run_group_tests(complete, load_complete, unload);
    return failed + cmocka_run_group_tests(ring, load_ring, unload);
}
