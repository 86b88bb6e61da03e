/* json_score.c - scores answers that should be one JSON object. */
#include "client/json_score.h"

#include <string.h>

#include "client/json.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static void strip(const char **text, size_t *n)
{
    while (*n > 0 && is_space((*text)[0])) {
        (*text)++;
        (*n)--;
    }
    while (*n > 0 && is_space((*text)[*n - 1])) {
        (*n)--;
    }
}

/* A new reference, or NULL when the text is not one whole JSON object. Of a repeated key the last
 * value counts. */
static json_t *parse(const char *text, size_t n)
{
    json_t *v = NULL;
    if (shoal_json_object(&v, text, n, "", false, NULL) != SHOAL_OK) return NULL;
    return v;
}

static bool has_intent_form(const json_t *v)
{
    return json_is_string(json_object_get(v, "intent")) &&
           json_is_object(json_object_get(v, "slots"));
}

bool shoal_json_is_intent(const char *text, size_t n)
{
    strip(&text, &n);
    json_t *v = parse(text, n);
    bool yes = has_intent_form(v);
    json_decref(v);
    return yes;
}

static void add_slots(shoal_json_score *s, const json_t *answer, const json_t *wanted)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_t *predicted = json_object_get(answer, "slots");
    const json_t *reference = json_object_get(wanted, "slots");
    json_object_foreach(predicted, name, value)
    {
        s->slots_right += json_equal(value, json_object_get(reference, name)) != 0;
    }
    s->slots_predicted += json_object_size(predicted);
    s->slots_wanted += json_object_size(reference);
}

static void add_intent(shoal_json_score *s, json_t *answer, const json_t *wanted,
                       shoal_json_row *row)
{
    s->rows_intent++;
    row->parsed = has_intent_form(answer);
    const json_t *parsed = row->parsed ? answer : NULL;
    row->exact = parsed != NULL && json_equal(parsed, wanted) != 0;
    row->intent = parsed != NULL && json_equal(json_object_get(parsed, "intent"),
                                               json_object_get(wanted, "intent")) != 0;
    s->parsed += row->parsed;
    s->intent += row->intent;
    add_slots(s, parsed, wanted);
}

void shoal_json_score_add(shoal_json_score *s, const char *answer, size_t n_answer,
                          const char *wanted, size_t n_wanted, shoal_json_row *row)
{
    shoal_json_row mine = {false, false, false};
    strip(&answer, &n_answer);
    strip(&wanted, &n_wanted);
    json_t *a = parse(answer, n_answer);
    json_t *w = parse(wanted, n_wanted);
    if (has_intent_form(w)) {
        add_intent(s, a, w, &mine);
    } else if (w != NULL) {
        mine.exact = a != NULL && json_equal(a, w) != 0;
    } else {
        mine.exact = n_answer == n_wanted && memcmp(answer, wanted, n_wanted) == 0;
    }
    s->rows++;
    s->exact += mine.exact;
    if (row != NULL) *row = mine;
    json_decref(a);
    json_decref(w);
}

double shoal_json_score_f1(const shoal_json_score *s)
{
    if (s->slots_right == 0) return 0.0;
    double precision = (double)s->slots_right / (double)s->slots_predicted;
    double recall = (double)s->slots_right / (double)s->slots_wanted;
    return 2.0 * precision * recall / (precision + recall);
}
