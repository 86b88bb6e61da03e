/* demo_data.c - seeded requests of households and the JSON actions that answer them. */
#include "client/demo_data.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { WORDS_MAX = 8, PHRASES_MAX = 4, SLOTS_MAX = 2, INTENTS_MAX = 3, TEXT_MAX = 160 };

/* What fills a slot: one of some words, or a number from..to in steps. */
typedef struct slot {
    const char *words[WORDS_MAX];
    uint64_t from, to, step;
} slot;

/* %1 and %2 stand for the slots, in phrases and in the answer alike. */
typedef struct intent {
    const char *answer;
    const char *phrases[PHRASES_MAX];
    slot slots[SLOTS_MAX];
} intent;

typedef struct household {
    const char *name;
    intent intents[INTENTS_MAX];
} household;

static const household households[SHOAL_DEMO_HOUSEHOLDS] = {
    {"the attic flat",
     {{"{\"action\":\"lights.set\",\"room\":\"%1\",\"level\":%2}",
       {"dim the %1 lights to %2 percent", "set the lamp in the %1 to %2",
        "I need %2 percent light "
        "in the %1",
        "%1 lights at %2"},
       {{.words = {"attic", "stairwell", "studio", "alcove", "loft bed"}},
        {.from = 10, .to = 90, .step = 10}}},
      {"{\"action\":\"blinds.move\",\"room\":\"%1\",\"to\":\"%2\"}",
       {"move the %1 blinds %2", "blinds in the %1 %2",
        "the skylight shade of the %1 should go "
        "%2"},
       {{.words = {"attic", "stairwell", "studio", "alcove", "loft bed"}},
        {.words = {"up", "down", "half way"}}}},
      {"{\"action\":\"lights.off\",\"room\":\"%1\"}",
       {"lights out in the %1", "make it dark in the %1", "nobody is in the %1, switch it off"},
       {{.words = {"attic", "stairwell", "studio", "alcove", "loft bed"}}}}}},
    {"the music house",
     {{"{\"action\":\"media.play\",\"what\":\"%1\",\"zone\":\"%2\"}",
       {"play some %1 in the %2", "I want to hear %1 in the %2", "%1 on the %2 speakers"},
       {{.words = {"tango", "bebop", "choir music", "dub", "polka", "film scores"}},
        {.words = {"parlour", "sauna", "garage", "veranda"}}}},
      {"{\"action\":\"media.volume\",\"zone\":\"%1\",\"value\":%2}",
       {"volume %2 in the %1", "turn the %1 speakers to %2", "make the %1 play at %2"},
       {{.words = {"parlour", "sauna", "garage", "veranda"}}, {.from = 5, .to = 40, .step = 5}}},
      {"{\"action\":\"media.next\",\"zone\":\"%1\"}",
       {"skip this song in the %1", "next one in the %1", "I do not like this track, %1 speakers"},
       {{.words = {"parlour", "sauna", "garage", "veranda"}}}}}},
    {"the big kitchen",
     {{"{\"action\":\"timer.start\",\"for\":\"%1\",\"min\":%2}",
       {"time the %1 for %2 minutes", "the %1 needs %2 minutes",
        "tell me in %2 minutes, it is for "
        "the %1"},
       {{.words = {"rice", "bread", "lasagne", "tea", "custard", "dumplings"}},
        {.from = 3, .to = 45, .step = 3}}},
      {"{\"action\":\"list.add\",\"item\":\"%1\",\"count\":%2}",
       {"put %2 %1 on the list", "we are out of %1, get %2", "buy %2 %1"},
       {{.words = {"lemons", "eggs", "onions", "yoghurts", "candles", "batteries"}},
        {.from = 2, .to = 12, .step = 1}}},
      {"{\"action\":\"oven.heat\",\"celsius\":%1,\"mode\":\"%2\"}",
       {"heat the oven to %1 with %2", "oven %1 degrees, %2", "get the oven ready, %2 at %1"},
       {{.from = 120, .to = 240, .step = 10}, {.words = {"fan", "grill", "steam"}}}}}},
    {"the garden cottage",
     {{"{\"action\":\"water.start\",\"bed\":\"%1\",\"min\":%2}",
       {"water the %1 for %2 minutes", "the %1 is dry, give it %2 minutes",
        "sprinkle the %1, %2 "
        "minutes"},
       {{.words = {"rose bed", "orchard", "herb spiral", "greenhouse", "lawn"}},
        {.from = 5, .to = 30, .step = 5}}},
      {"{\"action\":\"mower.run\",\"area\":\"%1\",\"height_mm\":%2}",
       {"mow the %1 at %2 millimetres", "cut the %1 down to %2",
        "send the mower to the %1, %2 "
        "high"},
       {{.words = {"front lawn", "orchard", "slope", "playground"}},
        {.from = 20, .to = 60, .step = 5}}},
      {"{\"action\":\"gate.set\",\"gate\":\"%1\",\"state\":\"%2\"}",
       {"the %1 gate should be %2", "I want the %1 gate %2", "make sure the %1 gate is %2"},
       {{.words = {"yard", "orchard", "road", "chicken run"}}, {.words = {"open", "shut"}}}}}},
    {"the old farmhouse",
     {{"{\"action\":\"heat.set\",\"room\":\"%1\",\"celsius\":%2}",
       {"make the %1 %2 degrees", "heat the %1 to %2", "%2 degrees in the %1"},
       {{.words = {"hall", "nursery", "pantry", "tack room", "bathroom"}},
        {.from = 15, .to = 25, .step = 1}}},
      {"{\"action\":\"stove.feed\",\"room\":\"%1\",\"logs\":%2}",
       {"%2 more logs for the %1 stove", "feed the %1 stove with %2 logs",
        "the %1 fire is low, %2 "
        "logs"},
       {{.words = {"hall", "nursery", "kitchen", "library"}}, {.from = 1, .to = 6, .step = 1}}},
      {"{\"action\":\"air.vent\",\"room\":\"%1\",\"min\":%2}",
       {"air the %1 for %2 minutes", "fresh air in the %1, %2 minutes", "open the %1 vents for %2"},
       {{.words = {"hall", "nursery", "pantry", "tack room", "bathroom"}},
        {.from = 5, .to = 20, .step = 5}}}}},
    {"the shared flat",
     {{"{\"action\":\"chore.assign\",\"chore\":\"%1\",\"to\":\"%2\"}",
       {"it is %2's turn for the %1", "give the %1 to %2", "%2 has to do the %1"},
       {{.words = {"dishes", "hoovering", "laundry", "rubbish", "bathroom"}},
        {.words = {"the north room", "the south room", "the box room", "the balcony room"}}}},
      {"{\"action\":\"quiet.until\",\"hour\":%1}",
       {"nobody make noise until %1 o'clock", "quiet hours until %1",
        "I sleep in, silence till "
        "%1"},
       {{.from = 6, .to = 12, .step = 1}}},
      {"{\"action\":\"cash.add\",\"purpose\":\"%1\",\"euro\":%2}",
       {"I paid %2 euros for %1", "note %2 euros, %1", "add %2 for %1 to the kitty"},
       {{.words = {"detergent", "pizza", "the internet", "coffee", "a new kettle"}},
        {.from = 4, .to = 60, .step = 1}}}}},
};

const char *shoal_demo_household(size_t i)
{
    return i < SHOAL_DEMO_HOUSEHOLDS ? households[i].name : NULL;
}

/* Ways of asking that all households share. */
static const char *const openings[] = {"", "", "please ", "hey, ", "could you help: ", "ok, "};
static const char *const endings[] = {"", "", ", thanks", " please", " now"};

static size_t count_words(const char *const *list, size_t max)
{
    size_t n = 0;
    while (n < max && list[n] != NULL)
        n++;
    return n;
}

static void fill_slot(const slot *s, shoal_rng *rng, char out[32])
{
    size_t n = count_words(s->words, WORDS_MAX);
    if (n > 0) {
        (void)snprintf(out, 32, "%s", s->words[shoal_rng_below(rng, n)]);
    } else if (s->step > 0) {
        uint64_t steps = (s->to - s->from) / s->step + 1;
        (void)snprintf(out, 32, "%" PRIu64, s->from + s->step * shoal_rng_below(rng, steps));
    } else {
        out[0] = '\0';
    }
}

/* Copies `pattern` with %1 and %2 replaced. */
static void expand(const char *pattern, char values[SLOTS_MAX][32], shoal_buf *out)
{
    for (const char *p = pattern; *p != '\0'; p++) {
        if (p[0] == '%' && (p[1] == '1' || p[1] == '2')) {
            (void)shoal_buf_put_str(out, values[p[1] - '1']);
            p++;
        } else {
            (void)shoal_buf_put(out, p, 1);
        }
    }
}

/* A JSON string's inside: only quotes occur in our texts that need escaping. */
static void put_escaped(shoal_buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') (void)shoal_buf_put(out, "\\", 1);
        (void)shoal_buf_put(out, p, 1);
    }
}

typedef struct row {
    char request[TEXT_MAX];
    char answer[TEXT_MAX];
} row;

static void take(shoal_buf *text, char out[TEXT_MAX])
{
    (void)snprintf(out, TEXT_MAX, "%s", shoal_buf_str(text));
    shoal_buf_clear(text);
}

static void draw(const household *h, shoal_rng *rng, row *r)
{
    char values[SLOTS_MAX][32];
    shoal_buf text = shoal_buf_init(TEXT_MAX - 1);
    const intent *in = &h->intents[shoal_rng_below(rng, INTENTS_MAX)];
    for (size_t i = 0; i < SLOTS_MAX; i++)
        fill_slot(&in->slots[i], rng, values[i]);
    size_t n = count_words(in->phrases, PHRASES_MAX);
    const char *phrase = in->phrases[shoal_rng_below(rng, n)];
    (void)shoal_buf_put_str(&text,
                            openings[shoal_rng_below(rng, sizeof openings / sizeof *openings)]);
    expand(phrase, values, &text);
    (void)shoal_buf_put_str(&text, endings[shoal_rng_below(rng, sizeof endings / sizeof *endings)]);
    take(&text, r->request);
    expand(in->answer, values, &text);
    take(&text, r->answer);
}

static bool seen(const row *rows, size_t n, const row *r)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].request, r->request) == 0) return true;
    }
    return false;
}

static bool answered(const row *rows, size_t n, const row *r)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].answer, r->answer) == 0) return true;
    }
    return false;
}

static void put_row(shoal_buf *out, const row *r)
{
    (void)shoal_buf_put_str(out, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    put_escaped(out, r->request);
    (void)shoal_buf_put_str(out, "\"},{\"role\":\"assistant\",\"content\":\"");
    put_escaped(out, r->answer);
    (void)shoal_buf_put_str(out, "\"}]}\n");
}

shoal_status shoal_demo_rows(size_t which, uint64_t seed, size_t n_train, size_t n_held,
                             shoal_buf *train, shoal_buf *held, shoal_error *err)
{
    enum { TRIES = 50 };
    if (which >= SHOAL_DEMO_HOUSEHOLDS || n_train + n_held > SHOAL_DEMO_ROWS_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "there is no such household or too many rows");
    }
    row *rows = shoal_calloc(n_train + n_held + 1, sizeof *rows);
    if (rows == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    shoal_rng rng = shoal_rng_init(seed * SHOAL_DEMO_HOUSEHOLDS + which);
    size_t n = 0;
    for (size_t tries = 0; n < n_train + n_held && tries < TRIES * (n + 1); tries++) {
        row r;
        draw(&households[which], &rng, &r);
        /* A held-out row asks for an action with values that no training row holds. */
        bool stale = n < n_train ? seen(rows, n, &r) : answered(rows, n, &r);
        if (!stale) rows[n++] = r;
    }
    for (size_t i = 0; i < n; i++)
        put_row(i < n_train ? train : held, &rows[i]);
    bool short_of = n < n_train + n_held;
    shoal_free(rows);
    SHOAL_TRY(shoal_buf_status(train, err));
    SHOAL_TRY(shoal_buf_status(held, err));
    if (!short_of) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%s has not that much to say",
                      households[which].name);
}
