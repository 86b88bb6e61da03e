/* budget.c - the account of bytes. */
#include "client/budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/record.h"
#include "kernels/base/term.h"
#include "proto/codec.h"
#include "proto/upload.h"

enum {
    AHEAD_BYTES = 1 << 20,  /* written ahead beyond what a request may cost: few writes */
    MESSAGE_BYTES = 700,    /* a request and its answer without their bodies, and TLS around them */
    START_BYTES = 32 * 1024 /* a handshake, check-ins, polls */
};

/* ---- time -------------------------------------------------------------------------------------
 */

static struct tm utc_of(int64_t now_s)
{
    time_t t = (time_t)now_s;
    struct tm tm = {0};
    if (gmtime_r(&t, &tm) == NULL) tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    return tm;
}

uint64_t shoal_month_of(int64_t now_s)
{
    struct tm tm = utc_of(now_s);
    return ((uint64_t)(tm.tm_year + 1900)) * 12 + (uint64_t)tm.tm_mon;
}

uint64_t shoal_month_left_s(int64_t now_s)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm tm = utc_of(now_s);
    int year = tm.tm_year + 1900;
    bool leap = tm.tm_mon == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int left = days[tm.tm_mon] + (leap ? 1 : 0) - tm.tm_mday;
    int passed = (tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec;
    return (uint64_t)left * 86400 + (uint64_t)(passed < 86400 ? 86400 - passed : 0);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static shoal_status path_of(const shoal_budget *b, char out[SHOAL_PATH_MAX], shoal_error *err)
{
    return shoal_store_path(b->store, out, err, "traffic");
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t used(const shoal_budget *b)
{
    return add(b->sent, b->received);
}

/* `ahead`: bytes beyond what was used that the file counts already. */
static shoal_status save(shoal_budget *b, uint64_t ahead, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record r = {0};
    SHOAL_TRY(path_of(b, path, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "month", b->month, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "sent", b->sent, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "received", b->received, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "ahead", ahead, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "round_bytes", b->round_bytes, err));
    SHOAL_TRY(shoal_record_save(&r, path, err));
    b->covered = add(used(b), ahead);
    return SHOAL_OK;
}

/* What was written ahead and not taken back by a close may have been sent. */
static shoal_status read_all(shoal_budget *b, const shoal_record *r, shoal_error *err)
{
    uint64_t ahead = 0;
    SHOAL_TRY(shoal_record_get_u64(r, "month", &b->month, err));
    SHOAL_TRY(shoal_record_get_u64(r, "sent", &b->sent, err));
    SHOAL_TRY(shoal_record_get_u64(r, "received", &b->received, err));
    SHOAL_TRY(shoal_record_get_u64(r, "ahead", &ahead, err));
    SHOAL_TRY(shoal_record_get_u64(r, "round_bytes", &b->round_bytes, err));
    b->sent = add(b->sent, ahead);
    b->covered = used(b);
    return SHOAL_OK;
}

/* A new month begins from nothing; an earlier one never comes back. */
static void turn_month(shoal_budget *b)
{
    uint64_t month = shoal_month_of(b->now_s());
    if (month <= b->month) return;
    uint64_t round = b->in_round ? used(b) - b->round_began : 0;
    b->month = month;
    b->sent = round; /* of a round that lasts over the turn, all counts */
    b->received = 0;
    b->covered = 0;
    b->round_bytes = 0;
    b->round_began = 0;
}

shoal_status shoal_budget_open(shoal_budget *b, const shoal_store *store,
                               const shoal_budget_limits *limits, int64_t (*now_s)(void),
                               shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record r;
    *b = (shoal_budget){.store = store, .limits = *limits, .now_s = now_s};
    SHOAL_TRY(path_of(b, path, err));
    shoal_error why = {0};
    shoal_status st = shoal_record_load(&r, path, &why);
    if (st == SHOAL_OK) st = read_all(b, &r, &why);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) {
        shoal_fail(err, st, "the account of traffic cannot be read: %s", why.msg);
        shoal_hint(err, "remove %s to begin a new one", path);
        return st;
    }
    turn_month(b);
    return SHOAL_OK;
}

shoal_status shoal_budget_close(shoal_budget *b, shoal_error *err)
{
    if (b->store == NULL) return SHOAL_OK;
    turn_month(b);
    return save(b, 0, err);
}

/* ---- bounds -----------------------------------------------------------------------------------
 */

static shoal_status deny(shoal_error *err, const char *what, uint64_t needs, uint64_t left,
                         const char *flag)
{
    char a[32], c[32];
    shoal_format_bytes(needs, a, sizeof a);
    shoal_format_bytes(left, c, sizeof c);
    shoal_fail(err, SHOAL_ERR_DENIED,
               "a round may take %s of traffic, this device's budget leaves "
               "%s %s",
               a, c, what);
    shoal_hint(err, "only you can raise it: %s SIZE, or `shoal policy`", flag);
    return SHOAL_ERR_DENIED;
}

static uint64_t left_of_month(const shoal_budget *b)
{
    if (b->limits.month == 0) return UINT64_MAX;
    return b->limits.month > used(b) ? b->limits.month - used(b) : 0;
}

static uint64_t left_of_round(const shoal_budget *b)
{
    if (b->limits.round == 0) return UINT64_MAX;
    uint64_t spent = b->in_round ? used(b) - b->round_began : 0;
    return b->limits.round > spent ? b->limits.round - spent : 0;
}

shoal_status shoal_budget_check(shoal_budget *b, uint64_t bytes, shoal_error *err)
{
    turn_month(b);
    if (bytes != 0 && bytes != b->round_bytes) {
        b->round_bytes = bytes;
        SHOAL_TRY(save(b, 0, err));
    }
    bytes = b->round_bytes;
    if (left_of_round(b) < bytes) {
        return deny(err, "a round", bytes, left_of_round(b), "--budget-round");
    }
    if (left_of_month(b) < bytes || left_of_month(b) == 0) {
        return deny(err, "in this month", bytes, left_of_month(b), "--budget-month");
    }
    return SHOAL_OK;
}

bool shoal_budget_is_later(shoal_budget *b)
{
    turn_month(b);
    bool round = b->limits.round == 0 || b->round_bytes <= b->limits.round;
    return round && b->limits.month != 0 && b->round_bytes <= b->limits.month &&
           left_of_month(b) <= b->round_bytes;
}

void shoal_budget_begin_round(shoal_budget *b)
{
    turn_month(b);
    b->in_round = true;
    b->round_began = used(b);
}

void shoal_budget_end_round(shoal_budget *b)
{
    b->in_round = false;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

/* Before: within the bounds, and covered by the file. */
static shoal_status before_request(void *ctx, uint64_t least, uint64_t most, shoal_error *err)
{
    shoal_budget *b = ctx;
    turn_month(b);
    if (b->in_round && left_of_round(b) < least) {
        return deny(err, "a round", least, left_of_round(b), "--budget-round");
    }
    if (left_of_month(b) < least) {
        return deny(err, "in this month", least, left_of_month(b), "--budget-month");
    }
    if (add(used(b), most) <= b->covered) return SHOAL_OK;
    return save(b, add(most, AHEAD_BYTES), err);
}

static void after_request(void *ctx, uint64_t sent, uint64_t received)
{
    shoal_budget *b = ctx;
    b->sent = add(b->sent, sent);
    b->received = add(b->received, received);
}

shoal_net_meter shoal_budget_meter(shoal_budget *b)
{
    return (shoal_net_meter){.before = before_request, .after = after_request, .ctx = b};
}

/* ---- what a round costs -----------------------------------------------------------------------
 */

/* With TLS's share of long bodies. */
static uint64_t body_bytes(uint64_t n)
{
    return n + n / 100 + (n / SHOAL_LIMIT_CHUNK + 1) * MESSAGE_BYTES;
}

uint64_t shoal_round_bytes(const shoal_round_size *s)
{
    enum { ENTRY = 176, CERT = SHOAL_LIMIT_CERT + 68, BOX = 94, SIGNATURE = 66, SHARE = 35 };
    uint64_t m5 = 138 + shoal_packed_bytes(s->words, s->ring_bits);
    uint64_t m = 2048 + s->cohort * (ENTRY + SIGNATURE) + s->peers * (CERT + 2 * BOX + SHARE);
    return START_BYTES + body_bytes(m5) + body_bytes(m) +
           s->downloads * body_bytes(s->adapter_bytes);
}
