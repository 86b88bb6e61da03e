/* prompt_block.h - up to 64 tokens of a read prompt as bytes: what the prompt cache is made of.
 *
 * A block holds the keys and values of tokens [from, from + n) and says after which tokens and
 * under which identity (model, adapter, kernels, ...) they came about. Blocks form a tree: a
 * block's key is a hash of its parent's key and its own tokens, the first parent's that of the
 * identity. Keys only find blocks; a block itself holds the identity and every token up to its end,
 * and both are compared, so a collision of hashes is a block not found and never a wrong answer.
 *
 * Bytes, little-endian:
 *   "SHOALKVB"  u32 version (1)  identity [100]  u32 from  u32 n  i32 ids[from + n]
 *   u64 bytes  state[bytes] (kv.h)  u64 FNV-1a of everything before
 *
 * Layer: lora/infer. Threads: pure functions.
 */
#ifndef SHOAL_LORA_INFER_PROMPT_BLOCK_H
#define SHOAL_LORA_INFER_PROMPT_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/infer/session.h"

enum {
    SHOAL_PROMPT_BLOCK = 64,           /* tokens of a whole block; the last of a prompt has fewer */
    SHOAL_PROMPT_BLOCK_MAX = 64 << 20, /* bytes */
    SHOAL_PROMPT_TOKENS_MAX = 1 << 20, /* from + n */
    SHOAL_PROMPT_ID_BYTES = 100
};

/* What the caller knows about the weights: SHA-256 of the model file, and of the adapter (all zero:
 * none). */
typedef struct shoal_prompt_key {
    uint8_t model[32];
    uint8_t adapter[32];
} shoal_prompt_key;

/* Everything that decides the bits of a session's state, in canonical form: the key, the model's
 * fingerprint, exact or fast, the type of keys and values, the kernels in use in this build of the
 * program, and the revision of the arithmetic, which is raised when a change of the code changes
 * results. */
typedef struct shoal_prompt_id {
    uint8_t bytes[SHOAL_PROMPT_ID_BYTES];
} shoal_prompt_id;

shoal_prompt_id shoal_prompt_id_of(const shoal_session *s, const shoal_prompt_key *key);

/* Where a block stands in the tree; also its name on disk. */
typedef struct shoal_prompt_ref {
    uint64_t parent, own;
    uint32_t from, n;
} shoal_prompt_ref;

uint64_t shoal_prompt_root(const shoal_prompt_id *id);
/* The block of ids [n <= SHOAL_PROMPT_BLOCK] behind `parent`, at position `from`. */
shoal_prompt_ref shoal_prompt_ref_of(uint64_t parent, uint32_t from, const int32_t *ids, size_t n);

/* Appends the block of tokens [from, from + n) of what the session holds. STATE when the session no
 * longer has their rows. */
SHOAL_MUST_USE shoal_status shoal_prompt_block_encode(const shoal_session *s,
                                                      const shoal_prompt_id *id, size_t from,
                                                      size_t n, shoal_buf *out, shoal_error *err);

/* A block read; everything points into the bytes it was read from. */
typedef struct shoal_prompt_block {
    const uint8_t *id;  /* [SHOAL_PROMPT_ID_BYTES] */
    const uint8_t *ids; /* [from + n] of 4 bytes, see shoal_prompt_block_token */
    uint32_t from, n;
    const uint8_t *state;
    size_t state_bytes;
} shoal_prompt_block;

/* Everything is checked before anything is used; FORMAT otherwise. The head alone, which may be the
 * beginning of a longer text, says which tokens; state stays NULL and the sum is not checked. */
SHOAL_MUST_USE shoal_status shoal_prompt_block_decode(shoal_prompt_block *b, const void *data,
                                                      size_t n, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_prompt_block_decode_head(shoal_prompt_block *b, const void *data,
                                                           size_t n, shoal_error *err);

/* Bytes of a head with tokens up to `end`, and of a whole block. */
size_t shoal_prompt_head_bytes(size_t end);
size_t shoal_prompt_block_bytes(size_t end, size_t state_bytes);

int32_t shoal_prompt_block_token(const shoal_prompt_block *b, size_t i);

/* How many of ids [n_ids], counted from the beginning of the sequence, the block agrees with; 0
 * when it is of another identity or differs before its own tokens begin. */
size_t shoal_prompt_block_common(const shoal_prompt_block *b, const shoal_prompt_id *id,
                                 const int32_t *ids, size_t n_ids);

#endif
