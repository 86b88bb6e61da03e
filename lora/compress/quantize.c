/* quantize.c - see quantize.h. */
#include "lora/compress/quantize.h"

#include <string.h>

static bool parse_type(const char *name, shoal_type *out)
{
    return shoal_type_parse(name, out) && shoal_type_writable(shoal_type_plain(*out));
}

static shoal_status unknown_type(const char *name, shoal_error *err)
{
    shoal_type type;
    bool readable = shoal_type_parse(name, &type);
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                     readable ? "%.40s can be read but not written" : "there is no type '%.40s'",
                     name);
    shoal_hint(err, "types: packed, F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, "
                    "Q6_K, Q4_A, Q6_A, P4_0, P4_1, P8_0, P4_A, P6_A");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_type default_head(shoal_type type)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    if (type == SHOAL_TYPE_P4_A || type == SHOAL_TYPE_P6_A) return SHOAL_TYPE_P6_A;
    if (type == SHOAL_TYPE_Q4_A || type == SHOAL_TYPE_Q6_A) return SHOAL_TYPE_Q6_A;
    if (info->group > 1) return SHOAL_TYPE_P8_0;
    return info->block > 1 ? SHOAL_TYPE_Q8_0 : type;
}

shoal_status shoal_quantize_target_parse(shoal_quantize_target *t, const char *type,
                                         const char *head, shoal_error *err)
{
    *t = (shoal_quantize_target){0};
    t->packed = strcmp(type, "packed") == 0;
    if (!t->packed && !parse_type(type, &t->type)) return unknown_type(type, err);
    if (head == NULL) return SHOAL_OK;
    t->has_head = true;
    return parse_type(head, &t->head) ? SHOAL_OK : unknown_type(head, err);
}

static bool is_head(const shoal_gguf_tensor *t)
{
    return shoal_str_eq(t->name, "token_embd.weight") || shoal_str_eq(t->name, "output.weight");
}

/* What the rules of the rewriting are told. */
typedef struct quantizing {
    const shoal_quantize_target *target;
    shoal_rewrite_progress *progress;
    void *ctx; /* of progress */
} quantizing;

/* What the target says of a matrix of type `from`. */
static shoal_type wanted_type(void *ctx, const shoal_gguf_tensor *t, shoal_type from)
{
    const shoal_quantize_target *target = ((const quantizing *)ctx)->target;
    if (is_head(t) && target->has_head) {
        return target->packed ? shoal_type_packed(target->head) : target->head;
    }
    if (target->packed) return shoal_type_packed(from);
    return is_head(t) ? default_head(target->type) : target->type;
}

static void forward_progress(void *ctx, uint64_t done, uint64_t total)
{
    const quantizing *q = ctx;
    q->progress(q->ctx, done, total);
}

shoal_status shoal_quantize_file(const char *in, const char *out, const shoal_quantize_target *t,
                                 shoal_pool *pool, shoal_rewrite_progress *progress, void *ctx,
                                 shoal_rewrite_report *report, shoal_error *err)
{
    quantizing q = {t, progress, ctx};
    const shoal_rewrite_rules rules = {
        .type_of = wanted_type, .progress = progress == NULL ? NULL : forward_progress, .ctx = &q};
    return shoal_rewrite_file(in, out, &rules, pool, report, err);
}
