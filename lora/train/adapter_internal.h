/* adapter_internal.h - what adapter.c shares with adapter_file.c.
 *
 * Layer: lora/train, private.
 */
#ifndef SHOAL_LORA_TRAIN_ADAPTER_INTERNAL_H
#define SHOAL_LORA_TRAIN_ADAPTER_INTERNAL_H

#include "lora/train/adapter.h"

/* SHOAL_ERR_ARG when no adapter of this kind can exist over such a model. */
shoal_status shoal_lora_spec_check(const shoal_lora_spec *spec, const shoal_config *cfg,
                                   shoal_error *err);

/* An adapter of all-zero parameters, pairs in place, fingerprint 0. */
SHOAL_MUST_USE shoal_status shoal_adapter_alloc(shoal_adapter **out, const shoal_config *cfg,
                                                const shoal_lora_spec *spec, shoal_error *err);

#endif
