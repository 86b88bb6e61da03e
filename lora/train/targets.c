/* targets.c - the projections an adapter changes, as people write them. */
#include "lora/train/targets.h"

#include <string.h>

#include "kernels/base/buf.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

static const char *const short_names[SHOAL_N_PROJ] = {
    [SHOAL_PROJ_Q] = "q",       [SHOAL_PROJ_K] = "k",       [SHOAL_PROJ_V] = "v",
    [SHOAL_PROJ_O] = "o",       [SHOAL_PROJ_GATE] = "gate", [SHOAL_PROJ_UP] = "up",
    [SHOAL_PROJ_DOWN] = "down",
};

enum {
    ATTENTION = 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_K | 1u << SHOAL_PROJ_V | 1u << SHOAL_PROJ_O,
    MLP = SHOAL_TARGETS_ALL & ~(unsigned)ATTENTION
};

static bool equals(const char *word, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(word, name, n) == 0;
}

static uint32_t parse_word(const char *word, size_t n)
{
    if (equals(word, n, "all")) return SHOAL_TARGETS_ALL;
    if (equals(word, n, "attn")) return ATTENTION;
    if (equals(word, n, "mlp")) return MLP;
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        if (equals(word, n, short_names[p]) ||
            equals(word, n, shoal_proj_peft_name((shoal_proj)p))) {
            return 1u << p;
        }
    }
    return 0;
}

bool shoal_targets_parse(const char *text, uint32_t *targets)
{
    uint32_t bits = 0;
    for (const char *word = text;; word++) {
        size_t n = strcspn(word, ",");
        uint32_t one = parse_word(word, n);
        if (one == 0) return false;
        bits |= one;
        word += n;
        if (*word == '\0') break;
    }
    *targets = bits;
    return true;
}

/* The number that is all of text [0, n), or 0 when it is none in 1..SHOAL_LORA_MAX_RANK. */
static size_t parse_rank(const char *text, size_t n)
{
    size_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        rank = 10 * rank + (size_t)(text[i] - '0');
        if (rank > SHOAL_LORA_MAX_RANK) return 0;
    }
    return rank;
}

bool shoal_ranks_parse(const char *text, uint32_t *targets, size_t *ranks)
{
    uint32_t adapted = 0;
    memset(ranks, 0, SHOAL_N_PROJ * sizeof *ranks);
    for (const char *word = text;; word++) {
        size_t n = strcspn(word, ",");
        size_t n_name = strcspn(word, "=");
        bool named = n_name < n;
        uint32_t bits = named ? parse_word(word, n_name) : *targets;
        size_t rank = named ? parse_rank(word + n_name + 1, n - n_name - 1) : parse_rank(word, n);
        if (bits == 0 || rank == 0) return false;
        for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
            if ((bits >> p & 1u) != 0) ranks[p] = rank;
        }
        adapted |= bits;
        word += n;
        if (*word == '\0') break;
    }
    *targets = adapted;
    return true;
}

void shoal_targets_format(uint32_t targets, char *out, size_t n)
{
    size_t used = 0;
    if (n == 0) return;
    out[0] = '\0';
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        size_t n_name = strlen(short_names[p]);
        if ((targets >> p & 1u) == 0 || used + n_name + 2 > n) continue;
        if (used > 0) out[used++] = ',';
        memcpy(out + used, short_names[p], n_name + 1);
        used += n_name;
    }
}
