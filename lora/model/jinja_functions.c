/* jinja_functions.c - the functions that templates may call by name. */
#include <time.h>

#include "lora/model/jinja_impl.h"

enum { NAMESPACE, DICT, RANGE, RAISE, STRFTIME, N_FUNCTIONS };
static const char *const NAMES[N_FUNCTIONS] = {"namespace", "dict", "range", "raise_exception",
                                               "strftime_now"};

shoal_jinja_value shoal_jinja_find_function(const shoal_jinja_data *d, shoal_str name)
{
    for (int i = 0; i < N_FUNCTIONS; i++) {
        if (shoal_jinja_is(name, NAMES[i]) && (i != STRFTIME || d->has_time)) {
            return (shoal_jinja_value){.kind = SHOAL_JINJA_FUNCTION, .u.function = i};
        }
    }
    return shoal_jinja_undefined();
}

/* namespace(a=1), dict(a=1), and either of a dict. */
static shoal_jinja_value make_dict(jinja_job *j, const jinja_args *args, shoal_jinja_kind kind)
{
    shoal_jinja_value v = shoal_jinja_new_dict(j);
    for (size_t i = 0; i < args->n && !shoal_jinja_failed(j); i++) {
        if (args->names[i].n > 0) {
            jinja_builder b = {0};
            shoal_jinja_put(j, &b, args->names[i].p, args->names[i].n, 0);
            shoal_jinja_value key = shoal_jinja_built(j, &b);
            if (shoal_jinja_failed(j)) break;
            shoal_jinja_dict_set(j, v.u.dict, key, args->values[i]);
            continue;
        }
        if (i > 0 || args->values[i].kind != SHOAL_JINJA_DICT) {
            return shoal_jinja_unsupported(j, "'%s' with these arguments", args->what);
        }
        const jinja_dict *from = args->values[i].u.dict;
        for (size_t k = 0; k < from->n && !shoal_jinja_failed(j); k++) {
            shoal_jinja_dict_set(j, v.u.dict, from->keys[k], from->values[k]);
        }
    }
    v.kind = shoal_jinja_failed(j) ? SHOAL_JINJA_UNDEFINED : kind;
    return v;
}

static shoal_jinja_value range(jinja_job *j, const jinja_args *args)
{
    static const char *const PARAMETERS[] = {"", "", "", NULL};
    shoal_jinja_value in[3] = {{0}};
    int64_t v[3] = {0, 0, 1};
    shoal_jinja_bind(j, args, PARAMETERS, 1, in);
    for (size_t i = 0; i < args->n && !shoal_jinja_failed(j); i++) {
        if (!shoal_jinja_as_int(in[i], &v[i])) {
            return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "range of a %s",
                                    shoal_jinja_kind_name(in[i]));
        }
    }
    if (args->n == 1) {
        v[1] = v[0];
        v[0] = 0;
    }
    const int64_t limit = INT64_C(1) << 60;
    bool sensible = v[2] != 0;
    for (size_t i = 0; i < 3; i++) {
        sensible = sensible && v[i] > -limit && v[i] < limit;
    }
    if (!sensible) return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a range without sensible bounds");
    int64_t span = v[2] > 0 ? v[1] - v[0] : v[0] - v[1];
    int64_t step = v[2] > 0 ? v[2] : -v[2];
    int64_t n = span <= 0 ? 0 : (span - 1) / step + 1;
    if (n > SHOAL_JINJA_MAX_RANGE) {
        return shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "a range of more than %d numbers",
                                (int)SHOAL_JINJA_MAX_RANGE);
    }
    shoal_jinja_value list = shoal_jinja_new_list(j, JINJA_LIST);
    for (int64_t i = 0; i < n && !shoal_jinja_failed(j); i++) {
        shoal_jinja_append(j, list.u.list, shoal_jinja_int(v[0] + i * v[2]));
    }
    return list;
}

static shoal_jinja_value raise(jinja_job *j, const jinja_args *args)
{
    static const char *const PARAMETERS[] = {"message", NULL};
    shoal_jinja_value message = shoal_jinja_undefined();
    shoal_jinja_bind(j, args, PARAMETERS, 1, &message);
    shoal_str s = shoal_jinja_bytes(shoal_jinja_str(j, message));
    if (shoal_jinja_failed(j)) return message;
    (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "%.*s", (int)(s.n < 200 ? s.n : 200), s.p);
    shoal_hint(&j->error, "the model's own template refuses this conversation");
    return message;
}

/* A table of literal formats: a format from a file never reaches strftime. */
static size_t convert(char letter, const struct tm *tm, char *room, size_t n)
{
    switch (letter) {
    case 'a': return strftime(room, n, "%a", tm);
    case 'A': return strftime(room, n, "%A", tm);
    case 'b': return strftime(room, n, "%b", tm);
    case 'B': return strftime(room, n, "%B", tm);
    case 'd': return strftime(room, n, "%d", tm);
    case 'H': return strftime(room, n, "%H", tm);
    case 'I': return strftime(room, n, "%I", tm);
    case 'j': return strftime(room, n, "%j", tm);
    case 'm': return strftime(room, n, "%m", tm);
    case 'M': return strftime(room, n, "%M", tm);
    case 'p': return strftime(room, n, "%p", tm);
    case 'S': return strftime(room, n, "%S", tm);
    case 'Y': return strftime(room, n, "%Y", tm);
    case '%': room[0] = '%'; return 1;
    default: return 0;
    }
}

static shoal_jinja_value tell_time(jinja_eval *e, const jinja_args *args)
{
    static const char *const PARAMETERS[] = {"format", NULL};
    jinja_job *j = e->job;
    shoal_jinja_value format = shoal_jinja_undefined();
    shoal_jinja_bind(j, args, PARAMETERS, 1, &format);
    if (shoal_jinja_failed(j)) return format;
    time_t seconds = (time_t)e->data->time;
    struct tm tm;
    if (format.kind != SHOAL_JINJA_STRING || gmtime_r(&seconds, &tm) == NULL) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "strftime_now cannot tell this time");
    }
    shoal_str s = shoal_jinja_bytes(format.u.text);
    jinja_builder b = {0};
    for (size_t i = 0; i < s.n && !shoal_jinja_failed(j); i++) {
        char room[64] = {s.p[i]};
        size_t n = 1;
        if (s.p[i] == '%') {
            char letter = ++i < s.n ? s.p[i] : '\0';
            n = convert(letter, &tm, room, sizeof room);
            if (n == 0) return shoal_jinja_unsupported(j, "the time format '%%%c'", letter);
        }
        shoal_jinja_put(j, &b, room, n, 0);
    }
    return shoal_jinja_built(j, &b);
}

shoal_jinja_value shoal_jinja_call_function(jinja_eval *e, int function, const jinja_args *args)
{
    jinja_args named = *args;
    named.what = NAMES[function];
    switch (function) {
    case NAMESPACE: return make_dict(e->job, &named, SHOAL_JINJA_NAMESPACE);
    case DICT: return make_dict(e->job, &named, SHOAL_JINJA_DICT);
    case RANGE: return range(e->job, &named);
    case RAISE: return raise(e->job, &named);
    default: return tell_time(e, &named);
    }
}
