/* pack.c - samples laid end to end in one row of tokens. */
#include "lora/train/step.h"

size_t shoal_sample_rows(const shoal_sample *s)
{
    for (size_t i = s->n; i > 1; i--) {
        if (s->mask[i - 1] != 0) {
            return i - 1;
        }
    }
    return 0;
}

size_t shoal_sample_targets(const shoal_sample *s)
{
    size_t n = 0;
    for (size_t i = 1; i < s->n; i++) {
        n += s->mask[i] != 0;
    }
    return n;
}

static void append_sample(shoal_pack *pack, const shoal_sample *s, size_t rows, size_t index)
{
    size_t start = pack->n_rows;
    for (size_t i = 0; i < rows; i++) {
        size_t t = start + i;
        pack->ids[t] = s->ids[i];
        pack->pos[t] = (uint32_t)i;
        pack->first[t] = (uint32_t)start;
        if (s->mask[i + 1] != 0) {
            pack->sup_row[pack->n_sup] = (uint32_t)t;
            pack->sup_target[pack->n_sup] = s->ids[i + 1];
            pack->sup_sample[pack->n_sup] = (uint32_t)index;
            pack->n_sup++;
        }
    }
    pack->n_rows = start + rows;
}

size_t shoal_pack_fill(shoal_pack *pack, const shoal_sample *samples, size_t from, size_t n,
                       size_t max_rows)
{
    pack->n_rows = 0;
    pack->n_sup = 0;
    size_t i = from;
    for (; i < n; i++) {
        size_t rows = shoal_sample_rows(&samples[i]);
        if (rows > max_rows - pack->n_rows) {
            break;
        }
        append_sample(pack, &samples[i], rows, i);
    }
    return i - from;
}
