/* prompt_block.c - see the layout in prompt_block.h. */
#include "lora/infer/prompt_block.h"

#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"

static const char MAGIC[8] = {'S', 'H', 'O', 'A', 'L', 'K', 'V', 'B'};

enum {
    VERSION = 1,
    ARITHMETIC = 1, /* raise it when the same tokens give other bits than before */
    KERNELS_BYTES = 8,
    HEAD_BYTES = 8 + 4 + SHOAL_PROMPT_ID_BYTES + 4 + 4,
    LENGTH_BYTES = 8,
    SUM_BYTES = 8
};

/* ---- identity and keys ------------------------------------------------------------------------
 */

static uint8_t *put_u64(uint8_t *p, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
    return p + bytes;
}

static uint8_t *put_bytes(uint8_t *p, const void *data, size_t n)
{
    memcpy(p, data, n);
    return p + n;
}

shoal_prompt_id shoal_prompt_id_of(const shoal_session *s, const shoal_prompt_key *key)
{
    shoal_prompt_id id = {{0}};
    const shoal_exec *ex = shoal_session_exec(s);
    const char *kernels = shoal_exec_name(ex);
    size_t n = strlen(kernels);
    uint8_t *p = put_bytes(id.bytes, key->model, sizeof key->model);
    p = put_bytes(p, key->adapter, sizeof key->adapter);
    p = put_u64(p, shoal_model_fingerprint(shoal_session_model(s)), 8);
    p = put_u64(p, ARITHMETIC, 4);
    p = put_u64(p, ex->exact ? 1 : 0, 4);
    p = put_u64(p, (uint64_t)shoal_session_kv_kind(s), 4);
    p = put_u64(p, shoal_exec_fingerprint(ex), 8);
    (void)put_bytes(p, kernels, n < KERNELS_BYTES ? n : KERNELS_BYTES);
    return id;
}

static uint64_t hash_ids(uint64_t h, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t bytes[4];
        (void)put_u64(bytes, (uint32_t)ids[i], sizeof bytes);
        h = shoal_fnv64(h, bytes, sizeof bytes);
    }
    return h;
}

uint64_t shoal_prompt_root(const shoal_prompt_id *id)
{
    return shoal_fnv64(SHOAL_FNV64_INIT, id->bytes, sizeof id->bytes);
}

shoal_prompt_ref shoal_prompt_ref_of(uint64_t parent, uint32_t from, const int32_t *ids, size_t n)
{
    uint8_t bytes[8];
    (void)put_u64(bytes, parent, sizeof bytes);
    uint64_t h = shoal_fnv64(SHOAL_FNV64_INIT, bytes, sizeof bytes);
    return (shoal_prompt_ref){
        .parent = parent, .own = hash_ids(h, ids, n), .from = from, .n = (uint32_t)n};
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

size_t shoal_prompt_head_bytes(size_t end)
{
    return HEAD_BYTES + 4 * end;
}

size_t shoal_prompt_block_bytes(size_t end, size_t state_bytes)
{
    return shoal_prompt_head_bytes(end) + LENGTH_BYTES + state_bytes + SUM_BYTES;
}

static void put_head(shoal_buf *out, const shoal_session *s, const shoal_prompt_id *id, size_t from,
                     size_t n)
{
    shoal_buf_put(out, MAGIC, sizeof MAGIC);
    shoal_buf_put_u32(out, VERSION);
    shoal_buf_put(out, id->bytes, sizeof id->bytes);
    shoal_buf_put_u32(out, (uint32_t)from);
    shoal_buf_put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < from + n; i++) {
        shoal_buf_put_u32(out, (uint32_t)shoal_session_tokens(s)[i]);
    }
}

shoal_status shoal_prompt_block_encode(const shoal_session *s, const shoal_prompt_id *id,
                                       size_t from, size_t n, shoal_buf *out, shoal_error *err)
{
    size_t state = shoal_session_state_bytes(s, from, n);
    size_t begin = out->len;
    if (n == 0 || n > SHOAL_PROMPT_BLOCK || from + n > SHOAL_PROMPT_TOKENS_MAX ||
        from + n > shoal_session_past(s) || state > SHOAL_PROMPT_BLOCK_MAX / 2) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a block of %zu tokens from %zu on", n, from);
    }
    (void)shoal_buf_reserve(out, shoal_prompt_block_bytes(from + n, state)); /* grow once */
    put_head(out, s, id, from, n);
    shoal_buf_put_u64(out, state);
    uint8_t *dst = shoal_buf_reserve(out, state);
    if (dst == NULL) return shoal_buf_status(out, err);
    SHOAL_TRY(shoal_session_export(s, from, n, dst, err));
    out->len += state;
    shoal_buf_put_u64(out, shoal_fnv64(SHOAL_FNV64_INIT, out->data + begin, out->len - begin));
    return shoal_buf_status(out, err);
}

static shoal_status damaged(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "this is not a block of the prompt cache");
}

/* Reads the head; the cursor then stands behind the tokens. */
static shoal_status read_head(shoal_prompt_block *b, shoal_cursor *c, shoal_error *err)
{
    *b = (shoal_prompt_block){.id = NULL};
    const uint8_t *magic = shoal_cursor_bytes(c, sizeof MAGIC);
    uint32_t version = shoal_cursor_u32(c);
    b->id = shoal_cursor_bytes(c, SHOAL_PROMPT_ID_BYTES);
    b->from = shoal_cursor_u32(c);
    b->n = shoal_cursor_u32(c);
    if (c->failed || memcmp(magic, MAGIC, sizeof MAGIC) != 0 || version != VERSION) {
        return damaged(err);
    }
    if (b->n == 0 || b->n > SHOAL_PROMPT_BLOCK || b->from > SHOAL_PROMPT_TOKENS_MAX - b->n) {
        return damaged(err);
    }
    b->ids = shoal_cursor_bytes(c, 4 * ((uint64_t)b->from + b->n));
    return c->failed ? damaged(err) : SHOAL_OK;
}

shoal_status shoal_prompt_block_decode_head(shoal_prompt_block *b, const void *data, size_t n,
                                            shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(data, n);
    return read_head(b, &c, err);
}

shoal_status shoal_prompt_block_decode(shoal_prompt_block *b, const void *data, size_t n,
                                       shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(data, n);
    SHOAL_TRY(read_head(b, &c, err));
    uint64_t bytes = shoal_cursor_u64(&c);
    if (c.failed || bytes > SHOAL_PROMPT_BLOCK_MAX) return damaged(err);
    const uint8_t *state = shoal_cursor_bytes(&c, bytes);
    uint64_t sum = shoal_cursor_u64(&c);
    if (!shoal_cursor_done(&c) || sum != shoal_fnv64(SHOAL_FNV64_INIT, data, n - SUM_BYTES)) {
        return damaged(err);
    }
    b->state = state;
    b->state_bytes = (size_t)bytes;
    return SHOAL_OK;
}

int32_t shoal_prompt_block_token(const shoal_prompt_block *b, size_t i)
{
    const uint8_t *p = b->ids + 4 * i;
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                     (uint32_t)p[3] << 24);
}

size_t shoal_prompt_block_common(const shoal_prompt_block *b, const shoal_prompt_id *id,
                                 const int32_t *ids, size_t n_ids)
{
    size_t end = (size_t)b->from + b->n;
    size_t same = 0;
    if (memcmp(b->id, id->bytes, sizeof id->bytes) != 0) return 0;
    while (same < end && same < n_ids && shoal_prompt_block_token(b, same) == ids[same]) {
        same++;
    }
    return same > b->from ? same : 0;
}
