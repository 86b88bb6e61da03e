/* options.c - command-line options from tables. */
#include "kernels/base/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/buf.h"

enum {
    WORD_MAX = 32,   /* longest word that is compared for a suggestion */
    NAMES_MAX = 128, /* options that are offered for a suggestion */
    HELP_COLUMN = 28 /* where the explanations begin */
};

bool shoal_parse_size(const char *text, uint64_t *bytes)
{
    char digits[24];
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof digits) return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    const char *suffix = text + n;
    unsigned shift = 0;
    switch (*suffix) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    default: break;
    }
    suffix += shift > 0;
    if (*suffix != '\0' && strcasecmp(suffix, "b") != 0 &&
        (shift == 0 || strcasecmp(suffix, "ib") != 0)) {
        return false;
    }
    uint64_t v = 0;
    if (!shoal_parse_u64(digits, &v) || v > UINT64_MAX >> shift) return false;
    *bytes = v << shift;
    return true;
}

bool shoal_parse_number(const char *text, double *out)
{
    if (strspn(text, "+-.0123456789eE") != strlen(text) || *text == '\0') return false;
    char *end = NULL;
    errno = 0;
    double v = strtod(text, &end);
    if (*end != '\0' || errno == ERANGE || !isfinite(v)) return false;
    *out = v;
    return true;
}

/* Levenshtein distance with one row of the table. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t nb = strlen(b);
    for (size_t j = 0; j <= nb; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < nb; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[nb];
}

const char *shoal_nearest_word(const char *text, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t n_text = strlen(text);
    size_t limit = n_text / 3 + 1; /* a third of the letters may be wrong */
    if (n_text == 0 || n_text > WORD_MAX) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (strlen(words[i]) > WORD_MAX) continue;
        size_t d = edit_distance(text, words[i]);
        if (d <= limit) {
            best = words[i];
            limit = d - (d > 0);
            if (d == 0) break;
        }
    }
    return best;
}

static const shoal_option *find_long(const shoal_option_group *groups, size_t n_groups,
                                     const char *name, size_t n)
{
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n; i++) {
            const char *known = groups[g].items[i].name;
            if (known != NULL && strlen(known) == n && memcmp(known, name, n) == 0) {
                return &groups[g].items[i];
            }
        }
    }
    return NULL;
}

static const shoal_option *find_letter(const shoal_option_group *groups, size_t n_groups, char c)
{
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n; i++) {
            if (groups[g].items[i].letter == c) return &groups[g].items[i];
        }
    }
    return NULL;
}

static shoal_status fail_unknown(const shoal_option_group *groups, size_t n_groups, const char *arg,
                                 shoal_error *err)
{
    const char *names[NAMES_MAX];
    size_t n_names = 0;
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n && n_names < NAMES_MAX; i++) {
            if (groups[g].items[i].name != NULL) names[n_names++] = groups[g].items[i].name;
        }
    }
    char word[WORD_MAX + 1] = "";
    const char *begin = arg + strspn(arg, "-");
    size_t n = strcspn(begin, "=");
    memcpy(word, begin, n > WORD_MAX ? WORD_MAX : n);
    const char *near = shoal_nearest_word(word, names, n_names);
    (void)shoal_fail(err, SHOAL_ERR_ARG, "unknown option %.100s", arg);
    if (near != NULL) shoal_hint(err, "did you mean --%s?", near);
    return SHOAL_ERR_ARG;
}

/* "--lr" or "-x" for messages. */
static void spell(const shoal_option *o, char out[40])
{
    if (o->name != NULL) {
        (void)snprintf(out, 40, "--%s", o->name);
    } else {
        (void)snprintf(out, 40, "-%c", o->letter);
    }
}

static shoal_status fail_value(const shoal_option *o, const char *text, const char *wanted,
                               shoal_error *err)
{
    char name[40];
    spell(o, name);
    return shoal_fail(err, SHOAL_ERR_ARG, "%s takes %s, not \"%.60s\"", name, wanted, text);
}

static shoal_status check_bounds(const shoal_option *o, double v, const char *text,
                                 shoal_error *err)
{
    bool bounded = o->min < o->max || o->min > o->max;
    if (!bounded || (v >= o->min && v <= o->max)) return SHOAL_OK;
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "a value from %g to %g", o->min, o->max);
    return fail_value(o, text, wanted, err);
}

static shoal_status add_to_list(shoal_arguments *list, const char *text, shoal_error *err)
{
    if (list->n == SHOAL_ARGUMENTS_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "more than %d values", SHOAL_ARGUMENTS_MAX);
    }
    list->items[list->n++] = text;
    return SHOAL_OK;
}

static shoal_status store_value(const shoal_option *o, const char *text, shoal_error *err)
{
    uint64_t u = 0;
    double d = 0.0;
    switch (o->kind) {
    case SHOAL_OPTION_FLAG: *(bool *)o->value = true; return SHOAL_OK;
    case SHOAL_OPTION_STRING: *(const char **)o->value = text; return SHOAL_OK;
    case SHOAL_OPTION_LIST: return add_to_list(o->value, text, err);
    case SHOAL_OPTION_COUNT:
        if (!shoal_parse_u64(text, &u)) return fail_value(o, text, "a whole number", err);
        SHOAL_TRY(check_bounds(o, (double)u, text, err));
        *(uint64_t *)o->value = u;
        return SHOAL_OK;
    case SHOAL_OPTION_SIZE:
        if (!shoal_parse_size(text, &u)) return fail_value(o, text, "a size such as 256M", err);
        *(uint64_t *)o->value = u;
        return SHOAL_OK;
    case SHOAL_OPTION_NUMBER:
        if (!shoal_parse_number(text, &d)) return fail_value(o, text, "a number", err);
        SHOAL_TRY(check_bounds(o, d, text, err));
        *(double *)o->value = d;
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_INTERNAL, "an option table names an unknown kind");
}

/* Takes one option and its value; *i is the index of the option's argument and ends at the last
 * argument used. `inline_value` is what stood after '=' or after the letter, or NULL. */
static shoal_status take_option(const shoal_option *o, const char *inline_value, int argc,
                                char **argv, int *i, shoal_error *err)
{
    char name[40];
    spell(o, name);
    const char *value = inline_value;
    if (o->kind == SHOAL_OPTION_FLAG) {
        if (value != NULL) return shoal_fail(err, SHOAL_ERR_ARG, "%s takes no value", name);
    } else if (value == NULL) {
        if (*i + 1 >= argc) {
            return shoal_fail(err, SHOAL_ERR_ARG, "%s needs a value (%s)", name,
                              o->metavar == NULL ? "VALUE" : o->metavar);
        }
        value = argv[++*i];
    }
    SHOAL_TRY(store_value(o, value, err));
    if (o->given != NULL) *o->given = true;
    return SHOAL_OK;
}

static shoal_status parse_long(const shoal_option_group *groups, size_t n_groups, int argc,
                               char **argv, int *i, shoal_error *err)
{
    const char *name = argv[*i] + 2;
    size_t n = strcspn(name, "=");
    const shoal_option *o = find_long(groups, n_groups, name, n);
    if (o == NULL) return fail_unknown(groups, n_groups, argv[*i], err);
    return take_option(o, name[n] == '=' ? name + n + 1 : NULL, argc, argv, i, err);
}

static shoal_status parse_short(const shoal_option_group *groups, size_t n_groups, int argc,
                                char **argv, int *i, shoal_error *err)
{
    const char *arg = argv[*i];
    const shoal_option *o = find_letter(groups, n_groups, arg[1]);
    if (o == NULL) return fail_unknown(groups, n_groups, arg, err);
    if (o->kind == SHOAL_OPTION_FLAG && arg[2] != '\0') {
        return fail_unknown(groups, n_groups, arg, err);
    }
    return take_option(o, arg[2] != '\0' ? arg + 2 : NULL, argc, argv, i, err);
}

shoal_status shoal_options_parse(const shoal_option_group *groups, size_t n_groups, int argc,
                                 char **argv, shoal_arguments *args, bool *help, shoal_error *err)
{
    bool options_ended = false;
    *help = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (options_ended || arg[0] != '-' || arg[1] == '\0') {
            if (args == NULL) {
                return shoal_fail(err, SHOAL_ERR_ARG, "unexpected argument \"%.100s\"", arg);
            }
            SHOAL_TRY(add_to_list(args, arg, err));
        } else if (strcmp(arg, "--") == 0) {
            options_ended = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            *help = true;
            return SHOAL_OK;
        } else if (arg[1] == '-') {
            SHOAL_TRY(parse_long(groups, n_groups, argc, argv, &i, err));
        } else {
            SHOAL_TRY(parse_short(groups, n_groups, argc, argv, &i, err));
        }
    }
    return SHOAL_OK;
}

static void help_line(FILE *out, const shoal_option *o)
{
    char left[80];
    char letter[8] = "    ";
    if (o->letter != 0) {
        (void)snprintf(letter, sizeof letter, "-%c%s", o->letter, o->name != NULL ? ", " : "");
    }
    (void)snprintf(left, sizeof left, "  %s%s%s%s%s", letter, o->name != NULL ? "--" : "",
                   o->name != NULL ? o->name : "", o->metavar != NULL ? " " : "",
                   o->metavar != NULL ? o->metavar : "");
    if (strlen(left) >= HELP_COLUMN) {
        (void)fprintf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
    } else {
        (void)fprintf(out, "%-*s%s\n", HELP_COLUMN, left, o->help);
    }
}

void shoal_options_help(FILE *out, const shoal_usage *usage, const shoal_option_group *groups,
                        size_t n_groups)
{
    (void)fprintf(out, "usage: %s\n\n%s\n", usage->synopsis, usage->about);
    for (size_t g = 0; g < n_groups; g++) {
        (void)fprintf(out, "\n%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].n; i++) {
            help_line(out, &groups[g].items[i]);
        }
    }
    if (usage->example != NULL) (void)fprintf(out, "\nexample:\n%s\n", usage->example);
}
