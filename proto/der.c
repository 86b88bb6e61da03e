/* der.c - a bounded reader of DER. */
#include "proto/der.h"

enum { HIGH_TAG = 0x1f, TAG_BYTES = 3, LENGTH_BYTES = 4 };

shoal_der shoal_der_init(const void *data, size_t n)
{
    return (shoal_der){.p = data, .left = data != NULL ? n : 0};
}

static uint8_t take_byte(shoal_der *d)
{
    if (d->left == 0) {
        d->failed = true;
        return 0;
    }
    d->left--;
    return *d->p++;
}

/* X.690 8.1.2 */
static uint32_t take_tag(shoal_der *d)
{
    uint8_t first = take_byte(d);
    uint32_t number = first & HIGH_TAG;
    if (number == HIGH_TAG) {
        uint8_t byte = 0x80;
        number = 0;
        for (int i = 0; i < TAG_BYTES && (byte & 0x80) != 0; i++) {
            byte = take_byte(d);
            number = number << 7 | (byte & 0x7f);
            d->failed = d->failed || number == 0; /* padded */
        }
        d->failed = d->failed || (byte & 0x80) != 0 || number < HIGH_TAG;
    }
    return (uint32_t)(first >> 6) << 29 | (uint32_t)(first >> 5 & 1) << 28 | number;
}

/* X.690 8.1.3 and 10.1 */
static size_t take_length(shoal_der *d)
{
    uint8_t first = take_byte(d);
    if (first < 0x80) return first;
    unsigned n = first & 0x7f;
    size_t length = 0;
    if (n == 0 || n > LENGTH_BYTES) {
        d->failed = true;
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        length = length << 8 | take_byte(d);
    }
    bool shortest = length >= 0x80 && length >> (8 * (n - 1)) != 0;
    d->failed = d->failed || !shortest;
    return length;
}

bool shoal_der_next(shoal_der *d, shoal_der_item *out)
{
    *out = (shoal_der_item){0};
    if (d->failed || d->left == 0) return false;
    uint32_t tag = take_tag(d);
    size_t n = take_length(d);
    if (d->failed || n > d->left) {
        d->failed = true;
        return false;
    }
    *out = (shoal_der_item){.tag = tag, .p = d->p, .n = n};
    d->p += n;
    d->left -= n;
    return true;
}

const uint8_t *shoal_der_take(shoal_der *d, uint32_t tag, size_t *n)
{
    shoal_der_item item;
    *n = 0;
    if (!shoal_der_next(d, &item) || item.tag != tag) {
        d->failed = true;
        return NULL;
    }
    *n = item.n;
    return item.p;
}

shoal_der shoal_der_enter(shoal_der *d, uint32_t tag)
{
    size_t n;
    const uint8_t *p = shoal_der_take(d, tag, &n);
    return p != NULL ? shoal_der_init(p, n) : (shoal_der){.failed = true};
}

int32_t shoal_der_number(shoal_der *d, uint32_t tag)
{
    size_t n;
    uint32_t value = 0;
    const uint8_t *p = shoal_der_take(d, tag, &n);
    bool right =
        p != NULL && n >= 1 && n <= 4 && p[0] < 0x80 && !(n > 1 && p[0] == 0 && p[1] < 0x80);
    for (size_t i = 0; right && i < n; i++) {
        value = value << 8 | p[i];
    }
    d->failed = d->failed || !right;
    return (int32_t)value;
}
