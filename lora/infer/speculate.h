/* speculate.h - guesses of the next tokens, to be verified by the model in one evaluation.
 *
 * A draft source proposes; generate.c evaluates the proposal together with the token before it and
 * samples from the model's own logits at each position, keeping a proposed token while it is the
 * one sampled. So output is token for token what plain decoding gives, greedy or seeded, whatever
 * the source proposes; only the speed differs.
 *
 * Source: Leviathan et al. 2023 (verification); Saxena 2023 (prompt lookup).
 * Layer: lora/infer. Threads: one owner.
 */
#ifndef SHOAL_LORA_INFER_SPECULATE_H
#define SHOAL_LORA_INFER_SPECULATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_DRAFT_MAX = 8 };

/* Writes up to `max` guesses of what follows history [n] to out and returns how many. */
typedef size_t shoal_draft_fn(void *ctx, const int32_t *history, size_t n, int32_t *out,
                              size_t max);

typedef struct shoal_draft_source {
    shoal_draft_fn *draft;
    void *ctx;
} shoal_draft_source;

/* Prompt lookup: finds the latest earlier place where the last few tokens occurred and proposes
 * what followed there. Longer matches first; a match of one token proposes one. */
typedef struct shoal_ngram_source {
    size_t max_match; /* longest suffix looked for */
    size_t min_match;
    size_t window; /* only this many latest tokens are searched, which bounds the time */
} shoal_ngram_source;

shoal_ngram_source shoal_ngram_source_init(void); /* 3, 1, 4096 */
size_t shoal_ngram_draft(void *ngram_source, const int32_t *history, size_t n, int32_t *out,
                         size_t max);

/* How many tokens to propose, following how proposals have fared: verifying is not free, so poor
 * sources are asked less. Depends on counts only, never on time. */
typedef struct shoal_draft_control {
    size_t max;       /* longest draft, 1..SHOAL_DRAFT_MAX */
    float rate;       /* running share of proposed tokens that were right */
    size_t idle;      /* steps since the last proposal */
    uint64_t drafted; /* totals */
    uint64_t accepted;
} shoal_draft_control;

shoal_draft_control shoal_draft_control_init(size_t max); /* 0 means 3 */
size_t shoal_draft_length(shoal_draft_control *c);
void shoal_draft_report(shoal_draft_control *c, size_t drafted, size_t accepted);

#ifdef __cplusplus
}
#endif
#endif
