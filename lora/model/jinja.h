/* jinja.h - renders the chat templates that model files carry, and says where each byte came from.
 *
 * A subset of Jinja 3 as Hugging Face sets it up for chat templates: trim_blocks and lstrip_blocks
 * on, no autoescaping, loop controls, `generation` blocks shown but not recorded, tojson as
 * json.dumps(ensure_ascii=False). Whole numbers only. What is not known is refused by name and line
 * when it is reached (statements: when parsed), so an unused branch does not spoil a template.
 *
 * Provenance: every string carries the origins of its bytes through joining, cutting and replacing.
 * Origin 0 is the template's own text; other origins are the caller's (one a message, say).
 *
 * Templates come from files of unknown makers: source, nesting, steps, memory and output are all
 * bounded, and the bounds are TOO_LARGE.
 *
 * Source: the Jinja 3.1 documentation, checked against the program (tests/kat/jinja_cases.json).
 * Layer: lora/model. Threads: a template is immutable; data has one owner.
 */
#ifndef SHOAL_LORA_MODEL_JINJA_H
#define SHOAL_LORA_MODEL_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_JINJA_MAX_SOURCE = 1 << 18,
    SHOAL_JINJA_MAX_DEPTH = 160,    /* of nesting, while parsing and while rendering */
    SHOAL_JINJA_MAX_RANGE = 100000, /* as the reference's sandbox has it */
    SHOAL_JINJA_MAX_STEPS = 1 << 24
};

/* ---- templates -------------------------------------------------------------------------------
 */

typedef struct shoal_jinja shoal_jinja;

/* `source` is copied. Errors begin with `name`. FORMAT, UNSUPPORTED (with a hint) or TOO_LARGE. */
SHOAL_MUST_USE shoal_status shoal_jinja_open(shoal_jinja **out, shoal_str source, const char *name,
                                             shoal_error *err);
void shoal_jinja_close(shoal_jinja *t);

/* ---- data ------------------------------------------------------------------------------------
 */

typedef enum shoal_jinja_kind {
    SHOAL_JINJA_UNDEFINED,
    SHOAL_JINJA_NONE,
    SHOAL_JINJA_BOOL,
    SHOAL_JINJA_INT,
    SHOAL_JINJA_STRING,
    SHOAL_JINJA_LIST,
    SHOAL_JINJA_DICT,
    SHOAL_JINJA_NAMESPACE,
    SHOAL_JINJA_MACRO,
    SHOAL_JINJA_FUNCTION,
    SHOAL_JINJA_LOOP
} shoal_jinja_kind;

/* Passed by value; what it points to belongs to the data it was made for. */
typedef struct shoal_jinja_value {
    shoal_jinja_kind kind;
    union {
        bool truth;
        int64_t number;
        const struct jinja_text *text;
        struct jinja_list *list;
        struct jinja_dict *dict;
        const struct jinja_macro *macro;
        const struct jinja_loop *loop;
        int function;
    } u;
} shoal_jinja_value;

/* The variables of one rendering, and all memory that it uses: max_bytes at most. */
typedef struct shoal_jinja_data shoal_jinja_data;

SHOAL_MUST_USE shoal_status shoal_jinja_data_open(shoal_jinja_data **out, size_t max_bytes,
                                                  shoal_error *err);
void shoal_jinja_data_close(shoal_jinja_data *d);

/* Building blocks. When memory runs out they give undefined, and rendering reports it. */
shoal_jinja_value shoal_jinja_none(void);
shoal_jinja_value shoal_jinja_bool(bool truth);
shoal_jinja_value shoal_jinja_int(int64_t number);
shoal_jinja_value shoal_jinja_string(shoal_jinja_data *d, shoal_str text,
                                     uint32_t origin); /* copied */
shoal_jinja_value shoal_jinja_list(shoal_jinja_data *d);
shoal_jinja_value shoal_jinja_dict(shoal_jinja_data *d);
void shoal_jinja_push(shoal_jinja_data *d, shoal_jinja_value list, shoal_jinja_value item);
void shoal_jinja_set(shoal_jinja_data *d, shoal_jinja_value dict, const char *key,
                     shoal_jinja_value value);

/* A variable of the template. */
void shoal_jinja_define(shoal_jinja_data *d, const char *name, shoal_jinja_value value);

/* What strftime_now tells: seconds since 1970, shown in UTC. Without it strftime_now is undefined,
 * so that templates take the date they have for that case. */
void shoal_jinja_set_time(shoal_jinja_data *d, int64_t unix_seconds);

/* ---- rendering -------------------------------------------------------------------------------
 */

/* n bytes of one origin. A span of none marks where an empty string of that origin was put. */
typedef struct shoal_jinja_span {
    size_t n;
    uint32_t origin;
} shoal_jinja_span;

/* Views, valid until the data is closed. The spans' n add up to text.n. */
typedef struct shoal_jinja_output {
    shoal_str text;
    const shoal_jinja_span *spans;
    size_t n_spans;
} shoal_jinja_output;

/* FORMAT: the template cannot work on this data, or says so itself (raise_exception). Once for each
 * data. */
SHOAL_MUST_USE shoal_status shoal_jinja_render(const shoal_jinja *t, shoal_jinja_data *d,
                                               shoal_jinja_output *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
