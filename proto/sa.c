/* sa.c - descriptor, sets, threshold, neighbours. */
#include "proto/sa.h"

#include <string.h>

#include "proto/sa_label.h"

static const char descriptor_label[] = "shoal/sa1/descriptor";

const char *shoal_sa_stage_name(shoal_sa_stage s)
{
    switch (s) {
    case SHOAL_SA_ADVERTISE: return "advertise";
    case SHOAL_SA_SHARES: return "shares";
    case SHOAL_SA_CONFIRM: return "confirm";
    case SHOAL_SA_INPUT: return "input";
    case SHOAL_SA_SURVIVORS: return "survivors";
    case SHOAL_SA_UNMASK: return "unmask";
    case SHOAL_SA_DONE: return "done";
    case SHOAL_SA_FAILED: return "failed";
    }
    return "unknown";
}

/* ---- descriptor ---- */

/* Spec 5.1.3 */
static shoal_status check_graph(const shoal_sa_descriptor *d, shoal_error *err)
{
    if (d->committee < 1 || d->committee > SHOAL_LIMIT_COMMITTEE) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a committee has 1..%d members",
                          SHOAL_LIMIT_COMMITTEE);
    }
    if (d->degree == 0) {
        if (d->threshold == 0 && d->codec.n_max <= SHOAL_LIMIT_COMPLETE) return SHOAL_OK;
        return shoal_fail(err, SHOAL_ERR_ARG, "a complete graph of %u clients: at most %d",
                          d->codec.n_max, SHOAL_LIMIT_COMPLETE);
    }
    if (d->degree % 2 != 0 || d->degree > SHOAL_LIMIT_DEGREE || d->threshold <= d->degree / 2 ||
        d->threshold > d->degree) {
        return shoal_fail(err, SHOAL_ERR_ARG, "%u neighbours with a threshold of %u", d->degree,
                          d->threshold);
    }
    return SHOAL_OK;
}

shoal_status shoal_sa_descriptor_check(const shoal_sa_descriptor *d, shoal_error *err)
{
    SHOAL_TRY(shoal_codec_check(&d->codec, err));
    /* Spec 5.1.1 */
    if (d->n_min < SHOAL_LIMIT_COHORT_MIN || d->n_min > d->n_target ||
        d->n_target > d->codec.n_max) {
        return shoal_fail(err, SHOAL_ERR_ARG,
                          "cohort sizes %u, %u, %u are not 3 <= min <= target <= max", d->n_min,
                          d->n_target, d->codec.n_max);
    }
    SHOAL_TRY(check_graph(d, err));
    if (d->noise_num != 0 || d->noise_den != 1 || d->noise_parties != 0) {
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "noise is not in version 1");
    }
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++) {
        if (d->deadline_ms[i] == 0 || d->deadline_ms[i] > SHOAL_LIMIT_STAGE_MS) {
            return shoal_fail(err, SHOAL_ERR_ARG, "a stage's deadline must be 1..%d ms",
                              SHOAL_LIMIT_STAGE_MS);
        }
    }
    return SHOAL_OK;
}

static uint64_t double_bits(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Spec 5.1, field by field. */
static void put_descriptor(const shoal_sa_descriptor *d, shoal_buf *out)
{
    (void)shoal_buf_put_u16(out, SHOAL_SA_VERSION);
    (void)shoal_buf_put_u16(out, SHOAL_SA_SUITE);
    (void)shoal_buf_put(out, d->task_id, sizeof d->task_id);
    (void)shoal_buf_put_u64(out, d->round);
    (void)shoal_buf_put(out, d->session_id, sizeof d->session_id);
    (void)shoal_buf_put(out, d->base_model_hash, 32);
    (void)shoal_buf_put(out, d->adapter_hash, 32);
    (void)shoal_buf_put_u32(out, d->codec.dim);
    (void)shoal_buf_put_u32(out, d->codec.ring_bits);
    (void)shoal_buf_put_u32(out, (uint32_t)d->codec.scale_log2);
    (void)shoal_buf_put_u64(out, double_bits(d->codec.clip_norm));
    (void)shoal_buf_put_u32(out, d->codec.weight_max);
    (void)shoal_buf_put_u32(out, d->codec.n_max);
    (void)shoal_buf_put_u32(out, d->codec.rotation);
    (void)shoal_buf_put_u32(out, d->noise_num);
    (void)shoal_buf_put_u32(out, d->noise_den);
    (void)shoal_buf_put_u32(out, d->noise_parties);
    (void)shoal_buf_put_u32(out, d->n_min);
    (void)shoal_buf_put_u32(out, d->n_target);
    (void)shoal_buf_put_u32(out, d->degree);
    (void)shoal_buf_put_u32(out, d->threshold);
    (void)shoal_buf_put_u32(out, d->committee);
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++) {
        (void)shoal_buf_put_u32(out, d->deadline_ms[i]);
    }
}

/* Reads what follows version and suite. */
static void read_descriptor(shoal_cursor *c, shoal_sa_descriptor *d)
{
    (void)shoal_cursor_copy(c, d->task_id, sizeof d->task_id);
    d->round = shoal_cursor_u64(c);
    (void)shoal_cursor_copy(c, d->session_id, sizeof d->session_id);
    (void)shoal_cursor_copy(c, d->base_model_hash, 32);
    (void)shoal_cursor_copy(c, d->adapter_hash, 32);
    d->codec.dim = shoal_cursor_u32(c);
    d->codec.ring_bits = shoal_cursor_u32(c);
    d->codec.scale_log2 = (int32_t)shoal_cursor_u32(c);
    d->codec.clip_norm = bits_double(shoal_cursor_u64(c));
    d->codec.weight_max = shoal_cursor_u32(c);
    d->codec.n_max = shoal_cursor_u32(c);
    d->codec.rotation = shoal_cursor_u32(c);
    d->noise_num = shoal_cursor_u32(c);
    d->noise_den = shoal_cursor_u32(c);
    d->noise_parties = shoal_cursor_u32(c);
    d->n_min = shoal_cursor_u32(c);
    d->n_target = shoal_cursor_u32(c);
    d->degree = shoal_cursor_u32(c);
    d->threshold = shoal_cursor_u32(c);
    d->committee = shoal_cursor_u32(c);
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++) {
        d->deadline_ms[i] = shoal_cursor_u32(c);
    }
}

shoal_status shoal_sa_descriptor_sign(const shoal_sa_descriptor *d, const shoal_key *task_key,
                                      shoal_buf *out, shoal_error *err)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    SHOAL_TRY(shoal_sa_descriptor_check(d, err));
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    put_descriptor(d, &body);
    shoal_status st = shoal_buf_status(&body, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_sign(task_key, descriptor_label, NULL, body.data, body.len, sig, err);
    }
    if (st == SHOAL_OK) {
        (void)shoal_buf_put(out, body.data, body.len);
        (void)shoal_buf_put(out, sig, sizeof sig);
        st = shoal_buf_status(out, err);
    }
    shoal_buf_clear(&body);
    return st;
}

/* H(label || 00 || body) */
static shoal_status hash_labelled(const char *label, const void *body, size_t n, uint8_t out[32],
                                  shoal_error *err)
{
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, label, strlen(label) + 1); /* the 00 is the terminator */
    shoal_sha256_update(&h, body, n);
    return shoal_sha256_final(&h, out, err);
}

shoal_status shoal_sa_rotation_key(const uint8_t ctx[32], uint8_t key[32], shoal_error *err)
{
    return hash_labelled("shoal/sa1/rotation", ctx, 32, key, err);
}

shoal_status shoal_sa_descriptor_open(const void *signed_bytes, size_t n,
                                      const uint8_t task_spki[SHOAL_SPKI_BYTES],
                                      shoal_sa_descriptor *out, uint8_t ctx[32], shoal_error *err)
{
    memset(out, 0, sizeof *out);
    if (n < SHOAL_SIG_BYTES || n > SHOAL_LIMIT_DESCRIPTOR) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a session descriptor of %zu bytes", n);
    }
    size_t body_n = n - SHOAL_SIG_BYTES;
    const uint8_t *bytes = signed_bytes;
    SHOAL_TRY(
        shoal_sa_verify(task_spki, descriptor_label, NULL, bytes, body_n, bytes + body_n, err));
    shoal_cursor c = shoal_cursor_init(bytes, body_n);
    if (shoal_cursor_u16(&c) != SHOAL_SA_VERSION || shoal_cursor_u16(&c) != SHOAL_SA_SUITE) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "the session uses another protocol version");
        shoal_hint(err, "update this program");
        return SHOAL_ERR_UNSUPPORTED;
    }
    read_descriptor(&c, out);
    if (!shoal_cursor_done(&c)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a malformed session descriptor");
    }
    SHOAL_TRY(shoal_sa_descriptor_check(out, err));
    return hash_labelled("shoal/sa1/ctx", bytes, body_n, ctx, err);
}

/* ---- sets ---- */

bool shoal_sa_set_has(const shoal_sa_set *s, size_t index)
{
    if (index < 1 || index > SHOAL_LIMIT_COHORT_MAX) return false;
    return (s->w[(index - 1) / 64] >> ((index - 1) % 64) & 1) != 0;
}

void shoal_sa_set_add(shoal_sa_set *s, size_t index)
{
    if (index < 1 || index > SHOAL_LIMIT_COHORT_MAX) return;
    s->w[(index - 1) / 64] |= (uint64_t)1 << ((index - 1) % 64);
}

void shoal_sa_set_remove(shoal_sa_set *s, size_t index)
{
    if (index < 1 || index > SHOAL_LIMIT_COHORT_MAX) return;
    s->w[(index - 1) / 64] &= ~((uint64_t)1 << ((index - 1) % 64));
}

size_t shoal_sa_set_count(const shoal_sa_set *s)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof s->w / sizeof s->w[0]; i++) {
        for (uint64_t w = s->w[i]; w != 0; w &= w - 1) {
            count++;
        }
    }
    return count;
}

bool shoal_sa_set_subset(const shoal_sa_set *inner, const shoal_sa_set *outer)
{
    for (size_t i = 0; i < sizeof inner->w / sizeof inner->w[0]; i++) {
        if ((inner->w[i] & ~outer->w[i]) != 0) return false;
    }
    return true;
}

bool shoal_sa_set_equal(const shoal_sa_set *a, const shoal_sa_set *b)
{
    return memcmp(a->w, b->w, sizeof a->w) == 0;
}

size_t shoal_sa_threshold(size_t n)
{
    return 2 * n / 3 + 1;
}
