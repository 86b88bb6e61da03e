/* vectors.h - where tests find reference vectors and the real model.
 *
 * A test whose input is missing prints what is missing and exits with 77 (skipped).
 */
#ifndef SHOAL_TESTS_SUPPORT_VECTORS_H
#define SHOAL_TESTS_SUPPORT_VECTORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Path of a file below $SHOAL_SHARED (default ../shared); skips the program when it is missing. The
 * text is valid until the next call. */
const char *vectors_path(const char *relative);

/* The JSON file there; skips when missing, fails the test when it is not JSON. json_decref it. */
json_t *vectors_load(const char *relative);

/* $SHOAL_TEST_MODEL, else smollm2-135m.gguf below $SHOAL_HOME/models (its defaults as the programs
 * have them); skips the program when it is missing. */
const char *real_model_path(void);

/* The same for Gemma 3 270M: $SHOAL_TEST_GEMMA, else gemma3-270m.gguf there. */
const char *gemma_path(void);

/* Ids of a JSON array; *n of them, allocated: free with shoal_free. */
int32_t *vectors_ids(const json_t *array, size_t *n);

#endif
