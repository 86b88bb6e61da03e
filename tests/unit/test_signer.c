/* test_signer.c - the CA behind its narrow door: hostile messages, rates, rotation, two processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "aggregator/key_file.h"
#include "aggregator/signer.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/x509.h"
#include "tests/support/temp_dir.h"

enum { NOW = 1790000000, DAY = 86400, WEEK = 7 * DAY };

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    char ca_dir[TEMP_DIR_MAX + 8];
    shoal_ca *ca;
    shoal_buf out;
    uint8_t server_spki[SHOAL_SPKI_BYTES];
} fixture;

static void open_with(fixture *f, const shoal_ca_settings *settings)
{
    shoal_key *server;
    memset(f, 0, sizeof *f);
    temp_dir_make(f->dir);
    (void)snprintf(f->ca_dir, sizeof f->ca_dir, "%s/ca", f->dir);
    assert_int_equal(shoal_key_generate(&server, NULL), SHOAL_OK);
    shoal_key_spki(server, f->server_spki);
    shoal_key_close(server);
    assert_int_equal(shoal_ca_make(f->dir, settings, f->server_spki, NOW, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_open(&f->ca, f->dir, NULL), SHOAL_OK);
    f->out = shoal_buf_init(SHOAL_SIGNER_FRAME);
}

static void set_up(fixture *f)
{
    shoal_ca_settings s = shoal_ca_settings_default();
    open_with(f, &s);
}

static void tear_down(fixture *f)
{
    shoal_ca_close(f->ca);
    shoal_buf_clear(&f->out);
    temp_dir_remove(f->dir);
}

static shoal_status ask(fixture *f, uint8_t op, const shoal_buf *body, int64_t now_s,
                        shoal_cursor *answer, shoal_error *err)
{
    uint32_t number = 0;
    shoal_buf frame = shoal_buf_init(SHOAL_SIGNER_FRAME);
    (void)(shoal_buf_put_u8(&frame, op) && shoal_buf_put_u32(&frame, 7) &&
           shoal_buf_put(&frame, body->data, body->len));
    shoal_signer_answer(f->ca, frame.data, frame.len, now_s, &f->out);
    shoal_buf_clear(&frame);
    shoal_status st = shoal_signer_read_answer(f->out.data, f->out.len, &number, answer, err);
    assert_int_equal(number, 7);
    return st;
}

/* A device's way in; the certificate in *cert. */
static shoal_status enrol(fixture *f, const uint8_t token[SHOAL_TOKEN_BYTES], const shoal_key *key,
                          int64_t now_s, shoal_wire_der *cert, shoal_error *err)
{
    uint8_t hash[32];
    shoal_enrol_begin b;
    shoal_enrol_challenge c;
    shoal_cursor got;
    shoal_buf body = shoal_buf_init(SHOAL_SIGNER_FRAME);
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q);
    assert_int_equal(shoal_token_hash(token, hash, NULL), SHOAL_OK);
    memcpy(b.token_id, hash, sizeof b.token_id);
    assert_int_equal(shoal_enrol_begin_encode(&b, &body, NULL), SHOAL_OK);
    shoal_status st = ask(f, SHOAL_SIGNER_BEGIN, &body, now_s, &got, err);
    if (st == SHOAL_OK) {
        assert_int_equal(shoal_enrol_challenge_decode(got.p, got.left, &c, NULL), SHOAL_OK);
        memcpy(q->token, token, sizeof q->token);
        memcpy(q->nonce, c.nonce, sizeof q->nonce);
        assert_int_equal(shoal_csr_create(key, &csr, NULL), SHOAL_OK);
        memcpy(q->csr.data, csr.data, csr.len);
        q->csr.n = (uint32_t)csr.len;
        shoal_buf_clear(&body);
        assert_int_equal(shoal_enrol_request_encode(q, &body, NULL), SHOAL_OK);
        st = ask(f, SHOAL_SIGNER_ENROL, &body, now_s, &got, err);
    }
    if (st == SHOAL_OK) {
        assert_int_equal(shoal_cursor_u8(&got), SHOAL_LEVEL_NONE);
        cert->n = (uint32_t)got.left;
        memcpy(cert->data, got.p, got.left);
    }
    shoal_free(q);
    shoal_buf_clear(&body);
    shoal_buf_clear(&csr);
    return st;
}

static shoal_status renew(fixture *f, const shoal_wire_der *old, const shoal_key *old_key,
                          const shoal_key *key, int64_t now_s, shoal_wire_der *cert,
                          shoal_error *err)
{
    shoal_cursor got;
    shoal_renew_request q = {0};
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_buf body = shoal_buf_init(SHOAL_SIGNER_FRAME);
    assert_int_equal(shoal_csr_create(key, &csr, NULL), SHOAL_OK);
    memcpy(q.csr.data, csr.data, csr.len);
    q.csr.n = (uint32_t)csr.len;
    assert_int_equal(shoal_renew_sign(old_key, old->data, old->n, csr.data, csr.len, q.proof, NULL),
                     SHOAL_OK);
    (void)(shoal_buf_put_u16(&body, (uint16_t)old->n) && shoal_buf_put(&body, old->data, old->n));
    assert_int_equal(shoal_renew_request_encode(&q, &body, NULL), SHOAL_OK);
    shoal_status st = ask(f, SHOAL_SIGNER_RENEW, &body, now_s, &got, err);
    if (st == SHOAL_OK) {
        (void)shoal_cursor_u8(&got);
        cert->n = (uint32_t)got.left;
        memcpy(cert->data, got.p, got.left);
    }
    shoal_buf_clear(&csr);
    shoal_buf_clear(&body);
    return st;
}

static shoal_key *joined(fixture *f, int64_t now_s, shoal_wire_der *cert)
{
    uint8_t token[SHOAL_TOKEN_BYTES];
    shoal_key *key;
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_invite(f->dir, now_s, 60, token, NULL), SHOAL_OK);
    assert_int_equal(enrol(f, token, key, now_s, cert, NULL), SHOAL_OK);
    return key;
}

/* Spec 2.6, 2.10: the CA decides what stands in a certificate. */
static void test_template(void **state)
{
    (void)state;
    for (uint32_t days = 1; days <= 7; days += 6) {
        fixture f;
        static shoal_wire_der cert;
        shoal_cert_info info;
        shoal_ca_settings s = shoal_ca_settings_default();
        s.cert_days = days;
        open_with(&f, &s);
        shoal_key *key = joined(&f, NOW, &cert);
        const shoal_buf *b = shoal_ca_bundle_of(f.ca);
        assert_int_equal(shoal_cert_check(b->data, b->len, cert.data, cert.n, SHOAL_CERT_CLIENT,
                                          NOW, &info, NULL),
                         SHOAL_OK);
        assert_int_equal(info.not_after_s - info.not_before_s, days * DAY);
        shoal_key_close(key);
        tear_down(&f);
    }
}

/* Spec 2.10 */
static void test_rates(void **state)
{
    (void)state;
    fixture f;
    static shoal_wire_der cert, next;
    uint8_t token[SHOAL_TOKEN_BYTES];
    shoal_error err = {0};
    shoal_ca_settings s = shoal_ca_settings_default();
    s.certs_per_minute = 3;
    open_with(&f, &s);
    shoal_key *a = joined(&f, NOW, &cert);
    assert_int_equal(renew(&f, &cert, a, a, NOW + 3599, &next, &err), SHOAL_ERR_AGAIN);
    assert_int_equal(renew(&f, &cert, a, a, NOW + 3600, &next, NULL), SHOAL_OK);
    shoal_key *b = joined(&f, NOW + 3600, &cert);
    shoal_key *c = joined(&f, NOW + 3600, &cert);
    shoal_key *d;
    assert_int_equal(shoal_key_generate(&d, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_invite(f.dir, NOW + 3600, 600, token, NULL), SHOAL_OK);
    assert_int_equal(enrol(&f, token, d, NOW + 3610, &cert, &err), SHOAL_ERR_AGAIN);
    assert_int_equal(enrol(&f, token, d, NOW + 3661, &cert, &err), SHOAL_OK); /* not used up */
    shoal_key_close(a);
    shoal_key_close(b);
    shoal_key_close(c);
    shoal_key_close(d);
    tear_down(&f);
}

/* Spec 2.7: revoked, expired, foreign. */
static void test_renewals_refused(void **state)
{
    (void)state;
    fixture f;
    static shoal_wire_der cert, next, foreign;
    shoal_cert_info info;
    shoal_error err = {0};
    set_up(&f);
    shoal_key *key = joined(&f, NOW, &cert);
    assert_int_equal(renew(&f, &cert, key, key, NOW + WEEK, &next, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "expired"));
    foreign = cert;
    foreign.data[foreign.n - 1] ^= 1;
    assert_int_equal(renew(&f, &foreign, key, key, NOW + DAY, &next, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "not issued here"));
    assert_int_equal(shoal_cert_read(cert.data, cert.n, &info, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_revoke(f.dir, info.id, NOW + 1, NULL), SHOAL_OK);
    assert_int_equal(renew(&f, &cert, key, key, NOW + DAY, &next, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "revoked"));
    /* nor does a fresh invitation bring the key back */
    uint8_t token[SHOAL_TOKEN_BYTES];
    assert_int_equal(shoal_ca_invite(f.dir, NOW + DAY, 60, token, NULL), SHOAL_OK);
    assert_int_equal(enrol(&f, token, key, NOW + DAY, &next, &err), SHOAL_ERR_DENIED);
    shoal_key_close(key);
    tear_down(&f);
}

static shoal_status ask_info(fixture *f, shoal_buf *bundle)
{
    shoal_cursor got;
    shoal_buf nothing = shoal_buf_init(0);
    shoal_status st = ask(f, SHOAL_SIGNER_INFO, &nothing, NOW, &got, NULL);
    *bundle = shoal_buf_init(SHOAL_LIMIT_CERT);
    if (st == SHOAL_OK) assert_true(shoal_buf_put(bundle, got.p, got.left));
    return st;
}

/* Spec 2.8: the running CA notices, old certificates stay good, a device follows. */
static void test_rotation(void **state)
{
    (void)state;
    fixture f;
    static shoal_wire_der old, renewed;
    shoal_buf first, second;
    shoal_cert_info info;
    shoal_ca_info ca;
    shoal_error err = {0};
    set_up(&f);
    shoal_key *key = joined(&f, NOW, &old);
    assert_int_equal(ask_info(&f, &first), SHOAL_OK);
    assert_int_equal(shoal_ca_rotate(f.dir, NOW + DAY, false, NULL), SHOAL_OK);
    assert_int_equal(ask_info(&f, &second), SHOAL_OK);
    assert_int_equal(
        shoal_ca_follow(first.data, first.len, second.data, second.len, NOW + DAY, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_read(second.data, second.len, 0, &ca, NULL), SHOAL_OK);
    assert_int_equal(ca.generation, 2);
    assert_int_equal(renew(&f, &old, key, key, NOW + 2 * DAY, &renewed, NULL), SHOAL_OK);
    assert_int_equal(shoal_cert_check(second.data, ca.size, renewed.data, renewed.n,
                                      SHOAL_CERT_CLIENT, NOW + 2 * DAY, &info, NULL),
                     SHOAL_OK); /* by the new key */
    /* again at once would lock out who has not renewed */
    assert_int_equal(shoal_ca_rotate(f.dir, NOW + 7 * DAY, false, &err), SHOAL_ERR_STATE);
    assert_int_equal(shoal_ca_rotate(f.dir, NOW + DAY + WEEK, false, NULL), SHOAL_OK);
    shoal_buf third;
    assert_int_equal(ask_info(&f, &third), SHOAL_OK);
    assert_int_equal(
        shoal_ca_follow(second.data, second.len, third.data, third.len, NOW + DAY + WEEK, NULL),
        SHOAL_OK);
    assert_int_equal(
        shoal_ca_follow(first.data, first.len, third.data, third.len, NOW + DAY + WEEK, NULL),
        SHOAL_OK); /* a device that slept through one */
    shoal_buf_clear(&first);
    shoal_buf_clear(&second);
    shoal_buf_clear(&third);
    shoal_key_close(key);
    tear_down(&f);
}

/* Whichever write of a rotation fails, doing it again finishes it: one generation further, the CA
 * opens, and devices follow. */
static void test_rotation_cut_short(void **state)
{
    (void)state;
    bool failed = true;
    uint64_t points = 0;
    for (uint64_t n = 1; failed; n++) {
        fixture f;
        shoal_buf first, second;
        shoal_ca_info ca;
        set_up(&f);
        assert_int_equal(ask_info(&f, &first), SHOAL_OK);
        shoal_file_fail_at(n, 28 /* ENOSPC */);
        failed = shoal_ca_rotate(f.dir, NOW, false, NULL) != SHOAL_OK;
        shoal_file_fail_at(0, 0);
        points += failed;
        if (failed) assert_int_equal(shoal_ca_rotate(f.dir, NOW, false, NULL), SHOAL_OK);
        shoal_ca_close(f.ca);
        assert_int_equal(shoal_ca_open(&f.ca, f.dir, NULL), SHOAL_OK);
        assert_int_equal(ask_info(&f, &second), SHOAL_OK);
        assert_int_equal(shoal_ca_read(second.data, second.len, 0, &ca, NULL), SHOAL_OK);
        assert_int_equal(ca.generation, 2);
        assert_int_equal(shoal_ca_follow(first.data, first.len, second.data, second.len, NOW, NULL),
                         SHOAL_OK);
        shoal_buf_clear(&first);
        shoal_buf_clear(&second);
        tear_down(&f);
    }
    assert_true(points >= 8); /* four files, written and synced */
}

/* Spec 2.10: only the key that was named when the deployment was made serves. */
static void test_server(void **state)
{
    (void)state;
    fixture f;
    shoal_cursor got;
    shoal_cert_info info;
    shoal_error err = {0};
    set_up(&f);
    shoal_buf body = shoal_buf_init(4096);
    (void)(shoal_buf_put_u8(&body, 9) && shoal_buf_put(&body, "127.0.0.1", 9));
    const shoal_buf *b = shoal_ca_bundle_of(f.ca);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(&f, SHOAL_SIGNER_SERVER, &body, NOW, &got, NULL), SHOAL_OK);
        assert_int_equal(
            shoal_cert_check(b->data, b->len, got.p, got.left, SHOAL_CERT_SERVER, NOW, &info, NULL),
            SHOAL_OK);
        assert_memory_equal(info.spki, f.server_spki, sizeof info.spki);
    }
    assert_int_equal(ask(&f, SHOAL_SIGNER_SERVER, &body, NOW, &got, &err), SHOAL_ERR_AGAIN);
    shoal_buf_clear(&body);
    tear_down(&f);
}

/* Any bytes get an answer of the form, and none makes the CA sign: 4,000 changed requests. */
static void test_hostile_frames(void **state)
{
    (void)state;
    fixture f;
    static uint8_t frame[SHOAL_SIGNER_FRAME];
    static shoal_wire_der cert;
    shoal_rng rng;
    size_t before = 0, after = 0;
    set_up(&f);
    shoal_key *key = joined(&f, NOW, &cert);
    rng = shoal_rng_init(5);
    char path[SHOAL_DIR_PATH];
    shoal_db *db;
    assert_int_equal(shoal_dir_path(f.ca_dir, "ca.db", path, NULL), SHOAL_OK);
    assert_int_equal(shoal_cadb_open(&db, path, false, NULL), SHOAL_OK);
    assert_int_equal(shoal_cadb_cert_count(db, NULL, 0, &before, NULL), SHOAL_OK);
    for (int i = 0; i < 4000; i++) {
        uint32_t number = 0;
        shoal_cursor body;
        size_t n = (size_t)shoal_rng_below(&rng, 64) + (i % 3 == 0 ? cert.n : 0);
        for (size_t k = 0; k < n; k++)
            frame[k] = (uint8_t)shoal_rng_u64(&rng);
        if (n > SHOAL_SIGNER_HEAD) frame[0] = (uint8_t)(1 + i % 5);
        if (frame[0] == SHOAL_SIGNER_SERVER) frame[0] = 6; /* it may serve any host */
        if (i % 3 == 0 && n > cert.n + 7) {
            frame[5] = (uint8_t)cert.n;
            frame[6] = (uint8_t)(cert.n >> 8);
            memcpy(frame + 7, cert.data, cert.n);
        }
        shoal_signer_answer(f.ca, frame, n, NOW + 4000, &f.out);
        shoal_status st = shoal_signer_read_answer(f.out.data, f.out.len, &number, &body, NULL);
        assert_true(st != SHOAL_OK || frame[0] == SHOAL_SIGNER_INFO);
        assert_true(f.out.len <= SHOAL_SIGNER_FRAME);
    }
    assert_int_equal(shoal_cadb_cert_count(db, NULL, 0, &after, NULL), SHOAL_OK);
    assert_int_equal(after, before);
    shoal_db_close(db);
    shoal_key_close(key);
    tear_down(&f);
}

/* What answers may look like to the aggregator. */
static void test_answers(void **state)
{
    (void)state;
    uint32_t number = 0;
    shoal_cursor body;
    shoal_error err = {0};
    static const struct {
        const char *bytes;
        size_t n;
        shoal_status st;
    } all[] = {{"", 0, SHOAL_ERR_FORMAT},
               {"\0\1\0\0", 4, SHOAL_ERR_FORMAT},
               {"\0\1\0\0\0x", 6, SHOAL_OK},
               {"\x08\1\0\0\0no\0why\0", 12, SHOAL_ERR_DENIED},
               {"\x08\1\0\0\0no\0why", 11, SHOAL_ERR_FORMAT},
               {"\x08\1\0\0\0no", 7, SHOAL_ERR_FORMAT},
               {"\xff\1\0\0\0no\0why\0", 12, SHOAL_ERR_FORMAT}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(
            shoal_signer_read_answer((const uint8_t *)all[i].bytes, all[i].n, &number, &body, &err),
            all[i].st);
    }
    assert_int_equal(number, 1);
}

/* Others may read neither keys nor settings, and a key that they may is refused. */
static void test_files(void **state)
{
    (void)state;
    static const char *const secret[] = {"ca.key", "next.key", "ca.yaml", "audit.log"};
    fixture f;
    struct stat s;
    char path[SHOAL_DIR_PATH];
    set_up(&f);
    assert_int_equal(stat(f.ca_dir, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) {
        assert_int_equal(shoal_dir_path(f.ca_dir, secret[i], path, NULL), SHOAL_OK);
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0600);
    }
    assert_int_equal(shoal_dir_path(f.ca_dir, "ca.key", path, NULL), SHOAL_OK);
    assert_int_equal(chmod(path, 0644), 0);
    shoal_ca *again;
    assert_int_equal(shoal_ca_open(&again, f.dir, NULL), SHOAL_ERR_DENIED);
    tear_down(&f);
}

/* Attestation by a key that the deployment knows, as ca.yaml asks for it. (Spec 2.9) */
static void test_attestation(void **state)
{
    (void)state;
    fixture f;
    static shoal_wire_der cert;
    uint8_t token[SHOAL_TOKEN_BYTES];
    shoal_error err = {0};
    shoal_key *key;
    shoal_ca_settings s = shoal_ca_settings_default();
    (void)snprintf(s.attestation, sizeof s.attestation, "software");
    (void)snprintf(s.attestation_keys, sizeof s.attestation_keys, "provider.der");
    memset(&f, 0, sizeof f);
    temp_dir_make(f.dir);
    (void)snprintf(f.ca_dir, sizeof f.ca_dir, "%s/ca", f.dir);
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, f.server_spki);
    assert_int_equal(shoal_ca_make(f.dir, &s, f.server_spki, NOW, NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_open(&f.ca, f.dir, NULL), SHOAL_ERR_NOT_FOUND); /* no such file */
    char path[SHOAL_DIR_PATH];
    assert_int_equal(shoal_dir_path(f.ca_dir, "provider.der", path, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, f.server_spki, SHOAL_SPKI_BYTES, 0644, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_ca_open(&f.ca, f.dir, NULL), SHOAL_OK);
    f.out = shoal_buf_init(SHOAL_SIGNER_FRAME);
    assert_int_equal(shoal_ca_invite(f.dir, NOW, 60, token, NULL), SHOAL_OK);
    assert_int_equal(enrol(&f, token, key, NOW, &cert, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "attestation"));
    /* with evidence, as a device makes it */
    uint8_t hash[32], digest[SHOAL_CHALLENGE_BYTES];
    shoal_enrol_begin b;
    shoal_enrol_challenge c;
    shoal_ca_grant g;
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_buf evidence = shoal_buf_init(SHOAL_LIMIT_ATTESTATION);
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q);
    assert_int_equal(shoal_token_hash(token, hash, NULL), SHOAL_OK);
    memcpy(b.token_id, hash, sizeof b.token_id);
    assert_int_equal(shoal_ca_begin(f.ca, &b, NOW, &c, NULL), SHOAL_OK);
    assert_int_equal(c.attestation, SHOAL_ATTESTATION_SOFTWARE);
    memcpy(q->token, token, sizeof q->token);
    memcpy(q->nonce, c.nonce, sizeof q->nonce);
    assert_int_equal(shoal_csr_create(key, &csr, NULL), SHOAL_OK);
    memcpy(q->csr.data, csr.data, csr.len);
    q->csr.n = (uint32_t)csr.len;
    assert_int_equal(shoal_enrol_digest(b.token_id, c.nonce, f.server_spki, digest, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_attest_software(key, digest, &evidence, NULL), SHOAL_OK);
    memcpy(q->attestation, evidence.data, evidence.len);
    q->attestation_n = (uint32_t)evidence.len;
    assert_int_equal(shoal_ca_enrol(f.ca, q, NOW + 301, &g, NULL), SHOAL_ERR_DENIED); /* too late */
    assert_int_equal(shoal_ca_enrol(f.ca, q, NOW + 10, &g, NULL), SHOAL_OK);
    assert_int_equal(g.level, SHOAL_LEVEL_SOFTWARE);
    shoal_free(q);
    shoal_buf_clear(&csr);
    shoal_buf_clear(&evidence);
    shoal_key_close(key);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_renewals_refused),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_rotation_cut_short),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_attestation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
