/* spm.c - scores as ranks, characters as symbols, bytes as the last resort. */
#include "lora/model/spm.h"

#include <math.h>
#include <string.h>

#include "lora/model/unicode.h"

enum { NONE = -1 };

/* Order-reversing map of finite floats to integers. */
static uint32_t rank_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* one zero */
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

shoal_status shoal_spm_init(shoal_spm *s, const shoal_gguf_kv *scores, shoal_error *err)
{
    *s = (shoal_spm){.scores = scores, .unknown = NONE};
    for (size_t i = 0; i < 256; i++) {
        s->byte_id[i] = NONE;
    }
    for (size_t i = 0; i < scores->n; i++) {
        if (isnan(shoal_gguf_array_f32(scores, i))) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "the score of token %zu is not a number", i);
        }
    }
    return SHOAL_OK;
}

static bool find_merge(const void *ctx, const shoal_merge_symbol *left,
                       const shoal_merge_symbol *right, shoal_merge_found *out)
{
    const shoal_spm *s = ctx;
    out->id = s->lookup(s->ctx, (shoal_str){left->p, (size_t)left->n + right->n});
    if (out->id == NONE) return false;
    out->rank = rank_of(shoal_gguf_array_f32(s->scores, (size_t)out->id));
    return true;
}

static shoal_status emit_symbol(const shoal_spm *s, const shoal_merge_symbol *sym,
                                shoal_merge_emit *emit, void *ctx, shoal_error *err)
{
    if (sym->id != NONE) return emit(ctx, sym->id, err);
    for (uint32_t i = 0; i < sym->n; i++) {
        int32_t id = s->byte_id[(uint8_t)sym->p[i]];
        if (id == NONE) id = s->unknown;
        if (id != NONE) SHOAL_TRY(emit(ctx, id, err));
    }
    return SHOAL_OK;
}

shoal_status shoal_spm_encode(const shoal_spm *s, shoal_merge_work *w, const char *text, size_t n,
                              shoal_merge_emit *emit, void *ctx, shoal_error *err)
{
    if (n == 0) return SHOAL_OK;
    SHOAL_TRY(shoal_merge_begin(w, n, err));
    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        size_t len = shoal_utf8_next(text + at, n - at, &code, NULL);
        shoal_merge_push(w, text + at, len, s->lookup(s->ctx, (shoal_str){text + at, len}));
        at += len;
    }
    shoal_merge_run(w, find_merge, s);
    for (int32_t i = 0; i != NONE; i = w->symbols[i].next) {
        SHOAL_TRY(emit_symbol(s, &w->symbols[i], emit, ctx, err));
    }
    return SHOAL_OK;
}
