/* trained.c - places of gradients. */
#include "lora/train/trained.h"

#include "kernels/kernels.h"

size_t shoal_trained_b_size(const shoal_adapter *a, size_t layer, shoal_proj p)
{
    size_t rows = 0;
    size_t cols = 0;
    shoal_config_proj_shape(&a->cfg, p, &rows, &cols);
    return rows * shoal_adapter_pair(a, layer, p)->rank;
}

/* All B of a layer before projection `end`, padded. Smaller than the adapter itself or hardly
 * larger, whose size was checked. */
static size_t b_before(const shoal_adapter *a, size_t end)
{
    size_t total = 0;
    for (size_t p = 0; p < end; p++) {
        size_t n = shoal_trained_b_size(a, a->spec.first_layer, (shoal_proj)p);
        total += (n + SHOAL_MOMENT_BLOCK - 1) / SHOAL_MOMENT_BLOCK * SHOAL_MOMENT_BLOCK;
    }
    return total;
}

size_t shoal_trained_count(const shoal_adapter *a, bool freeze_a)
{
    size_t layers = a->cfg.n_layer - a->spec.first_layer;
    return freeze_a ? layers * b_before(a, SHOAL_N_PROJ) : a->n_params;
}

size_t shoal_trained_b(const shoal_adapter *a, bool freeze_a, size_t layer, shoal_proj p)
{
    if (!freeze_a) {
        return (size_t)(shoal_adapter_pair(a, layer, p)->b - a->params);
    }
    size_t layers_below = layer - a->spec.first_layer;
    return layers_below * b_before(a, SHOAL_N_PROJ) + b_before(a, (size_t)p);
}
