/* context.h - what to do when a conversation outgrows the context: refuse, or drop its oldest
 * turns.
 *
 * Dropping keeps the system message and the latest turn. What stays is encoded and read anew, so
 * the answers are those of a conversation that never had the dropped turns. Turns go four at a
 * time, so that the beginning stays the same for a while and need not be read again every time.
 *
 * Layer: client. Threads: pure functions.
 */
#ifndef SHOAL_CLIENT_CONTEXT_H
#define SHOAL_CLIENT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/chat_template.h"

typedef struct shoal_context_room {
    size_t capacity;  /* tokens of the context */
    size_t reserve;   /* to be left for the answer when turns are dropped */
    size_t model_ctx; /* what the model could have, for the hint */
    bool shift;       /* drop turns; otherwise refuse */
} shoal_context_room;

/* Room for answers of at most max_tokens (0: any): an eighth of the context at most. */
shoal_context_room shoal_context_room_of(size_t capacity, size_t model_ctx, uint64_t max_tokens,
                                         bool shift);

/* Encodes a conversation, with an answer's opening, into the room; *dropped messages after the
 * leading system messages were left out. TOO_LARGE with a hint when it does not fit. */
SHOAL_MUST_USE shoal_status shoal_context_encode(const shoal_chat_template *ct,
                                                 const shoal_message *msgs, size_t n,
                                                 const shoal_context_room *room, shoal_tokens *out,
                                                 size_t *dropped, shoal_error *err);

/* Messages at the beginning that are never dropped. */
size_t shoal_context_head(const shoal_message *msgs, size_t n);

/* The same for a raw text: `keep` tokens of its beginning and the latest half of the context. Does
 * nothing when it fits. */
SHOAL_MUST_USE shoal_status shoal_context_cut(shoal_tokens *ids, size_t keep,
                                              const shoal_context_room *room, shoal_error *err);

#endif
