/* qr.c - libqrencode's matrix as half blocks. */
#include "aggregator/qr.h"

#include <stdbool.h>
#include <stdlib.h>

#include <qrencode.h>

enum { QUIET = 2 }; /* the standard says 4; terminals with a margin read fine with 2 */

/* Light modules are drawn; outside the symbol everything is light. */
static bool is_light(const QRcode *q, int x, int y)
{
    if (x < 0 || y < 0 || x >= q->width || y >= q->width) {
        return true;
    }
    return (q->data[y * q->width + x] & 1) == 0;
}

shoal_status shoal_qr_draw(const char *text, shoal_buf *out, shoal_error *err)
{
    static const char *const BLOCKS[2][2] = {{" ", "\xe2\x96\x84"},
                                             {"\xe2\x96\x80", "\xe2\x96\x88"}};
    QRcode *q = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
    if (q == NULL) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the text does not fit a QR code");
    }
    for (int y = -QUIET; y < q->width + QUIET; y += 2) {
        for (int x = -QUIET; x < q->width + QUIET; x++) {
            shoal_buf_put_str(out, BLOCKS[is_light(q, x, y)][is_light(q, x, y + 1)]);
        }
        shoal_buf_put_str(out, "\n");
    }
    QRcode_free(q);
    return shoal_buf_status(out, err);
}
