/* json_score.h - scores answers that should be one JSON object, {"intent","slots"} or any other.
 *
 *   exact match      the parsed object equals the reference (key order free)
 *   intent accuracy  the parsed intent equals the reference's
 *   slot micro-F1    a pair (name, value) is right if the reference has it; precision and recall
 *                    summed over all rows
 * An answer counts as parsed if the whole of it is one object with a string "intent" and an object
 * "slots"; otherwise it has neither. Where a reference is JSON of another form, only exact match is
 * defined; where it is no JSON, exact match compares the stripped texts.
 *
 * Layer: client. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_JSON_SCORE_H
#define SHOAL_CLIENT_JSON_SCORE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise. */
typedef struct shoal_json_score {
    size_t rows, exact;
    size_t rows_intent; /* rows whose reference has intent and slots */
    size_t parsed, intent;
    size_t slots_right, slots_predicted, slots_wanted;
} shoal_json_score;

/* What one row added, for tables by intent. */
typedef struct shoal_json_row {
    bool exact, parsed, intent;
} shoal_json_row;

/* True when a reference has the form {"intent": string, "slots": object}. */
bool shoal_json_is_intent(const char *text, size_t n);

/* Compares one answer with its reference; `row` may be NULL. */
void shoal_json_score_add(shoal_json_score *s, const char *answer, size_t n_answer,
                          const char *wanted, size_t n_wanted, shoal_json_row *row);

/* 0 when nothing is right. */
double shoal_json_score_f1(const shoal_json_score *s);

#ifdef __cplusplus
}
#endif
#endif
