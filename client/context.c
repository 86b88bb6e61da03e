/* context.c - conversations that outgrow the context. */
#include "client/context.h"

#include <string.h>

#include "client/json.h"

enum { TURNS_AT_ONCE = 4 };

shoal_context_room shoal_context_room_of(size_t capacity, size_t model_ctx, uint64_t max_tokens,
                                         bool shift)
{
    size_t reserve = capacity / 8 > 0 ? capacity / 8 : 1;
    if (max_tokens > 0 && max_tokens < reserve) reserve = (size_t)max_tokens;
    return (shoal_context_room){capacity, reserve, model_ctx, shift};
}

static shoal_status too_large(const char *what, size_t n, const shoal_context_room *room,
                              shoal_error *err)
{
    (void)shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s has %zu tokens, but the context holds %zu", what,
                     n, room->capacity);
    if (room->shift) {
        shoal_hint(err, "-c takes a larger context (this model: up to %zu)", room->model_ctx);
    } else {
        shoal_hint(err,
                   "-c takes a larger context (this model: up to %zu), or --context-shift drops "
                   "what is oldest",
                   room->model_ctx);
    }
    return SHOAL_ERR_TOO_LARGE;
}

static bool fits(size_t n, const shoal_context_room *room)
{
    return n <= room->capacity && (!room->shift || room->reserve <= room->capacity - n);
}

size_t shoal_context_head(const shoal_message *msgs, size_t n)
{
    size_t head = 0;
    while (head < n && strcmp(msgs[head].role, "system") == 0) {
        head++;
    }
    return head;
}

/* Where the turn begins that has `turns` turns before it, the last one at most; *last says whether
 * it is that. */
static size_t turn_begin(const shoal_message *msgs, size_t head, size_t n, size_t turns, bool *last)
{
    size_t begin = head;
    size_t seen = 0;
    *last = true;
    for (size_t i = head + 1; i < n; i++) {
        if (strcmp(msgs[i].role, "user") != 0) continue;
        if (seen == turns) {
            *last = false;
            break;
        }
        begin = i;
        seen++;
    }
    return begin;
}

/* Encodes the head and what follows from `begin` on. */
static shoal_status encode_from(const shoal_chat_template *ct, const shoal_message *msgs,
                                size_t head, size_t begin, size_t n, shoal_tokens *out,
                                shoal_error *err)
{
    shoal_message kept[SHOAL_JSON_MAX_MESSAGES];
    if (n > SHOAL_JSON_MAX_MESSAGES) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the conversation has %zu messages", n);
    }
    memcpy(kept, msgs, head * sizeof *msgs);
    memcpy(kept + head, msgs + begin, (n - begin) * sizeof *msgs);
    out->n = 0;
    return shoal_chat_encode(ct, kept, head + (n - begin), true, out, NULL, err);
}

shoal_status shoal_context_encode(const shoal_chat_template *ct, const shoal_message *msgs,
                                  size_t n, const shoal_context_room *room, shoal_tokens *out,
                                  size_t *dropped, shoal_error *err)
{
    size_t head = shoal_context_head(msgs, n);
    size_t begin = head;
    bool last = !room->shift;
    *dropped = 0;
    SHOAL_TRY(encode_from(ct, msgs, head, head, n, out, err));
    for (size_t turns = TURNS_AT_ONCE; !fits(out->n, room) && !last; turns += TURNS_AT_ONCE) {
        begin = turn_begin(msgs, head, n, turns, &last);
        SHOAL_TRY(encode_from(ct, msgs, head, begin, n, out, err));
    }
    *dropped = begin - head;
    /* The latest turn alone may use what was to be left for the answer. */
    if (out->n <= room->capacity) return SHOAL_OK;
    return too_large(room->shift ? "the latest message" : "the conversation", out->n, room, err);
}

shoal_status shoal_context_cut(shoal_tokens *ids, size_t keep, const shoal_context_room *room,
                               shoal_error *err)
{
    size_t half = room->capacity / 2;
    if (ids->n < room->capacity || (ids->n == room->capacity && !room->shift)) return SHOAL_OK;
    if (!room->shift || keep + half >= ids->n || keep + half >= room->capacity) {
        return too_large("the prompt", ids->n, room, err);
    }
    memmove(ids->ids + keep, ids->ids + ids->n - half, half * sizeof *ids->ids);
    ids->n = keep + half;
    return SHOAL_OK;
}
