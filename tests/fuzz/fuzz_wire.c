/* fuzz_wire.c - everything proto reads from strangers: control messages, SA-1 messages,
 * certificates, requests, packed vectors and join links. The first byte chooses the reader. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/sa_wire.h"
#include "proto/x509.h"
#include "tests/support/wire_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SA_TYPES = 11, ROSTER_N = 3 };

static void read_sa(unsigned type, const uint8_t *data, size_t n)
{
    static shoal_sa_roster roster;
    static shoal_sa_boxes boxes;
    static shoal_sa_quorum quorum;
    static shoal_sa_reveals reveals;
    shoal_sa_refusals refusals;
    shoal_sa_advert advert;
    shoal_sa_input input;
    shoal_sa_set set;
    uint8_t sig[SHOAL_SIG_BYTES];
    uint8_t session[SHOAL_SA_SESSION_BYTES];
    memset(session, 2, sizeof session);
    switch (type) {
    case 0: (void)(shoal_sa_read_advert(data, n, session, &advert, NULL) == SHOAL_OK); break;
    case 1:
        (void)(shoal_sa_read_roster(data, n, session, &roster, NULL) == SHOAL_OK);
        shoal_sa_roster_clear(&roster);
        break;
    case 2: (void)(shoal_sa_read_shares(data, n, session, &boxes, NULL) == SHOAL_OK); break;
    case 3:
        (void)(shoal_sa_read_delivery(data, n, session, ROSTER_N, &set, &boxes, NULL) == SHOAL_OK);
        break;
    case 4: (void)(shoal_sa_read_confirm(data, n, session, &refusals, NULL) == SHOAL_OK); break;
    case 5:
        (void)(shoal_sa_read_members(data, n, session, ROSTER_N, &set, NULL) == SHOAL_OK);
        break;
    case 6: (void)(shoal_sa_read_input(data, n, session, &input, NULL) == SHOAL_OK); break;
    case 7: (void)(shoal_sa_read_claim(data, n, session, ROSTER_N, &set, NULL) == SHOAL_OK); break;
    case 8:
        (void)(shoal_sa_read_signature(data, n, session, ROSTER_N, &set, sig, NULL) == SHOAL_OK);
        break;
    case 9:
        (void)(shoal_sa_read_request(data, n, session, ROSTER_N, &set, &quorum, NULL) == SHOAL_OK);
        break;
    default: (void)(shoal_sa_read_unmask(data, n, session, &reveals, NULL) == SHOAL_OK); break;
    }
}

static void add_packed(const uint8_t *data, size_t n)
{
    static shoal_exec ex;
    uint32_t words[64] = {0};
    if (ex.table == NULL && shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, NULL) != SHOAL_OK) {
        abort();
    }
    (void)(shoal_packed_add(&ex, data, n, 64, 20, words, NULL) == SHOAL_OK);
}

static void read_other(unsigned kind, const uint8_t *data, size_t n)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_cert_info info;
    shoal_join_link link;
    char *text = NULL;
    switch (kind) {
    case 0: (void)(shoal_csr_check(data, n, spki, NULL) == SHOAL_OK); break;
    case 1: (void)(shoal_cert_read(data, n, &info, NULL) == SHOAL_OK); break;
    case 2: add_packed(data, n); break;
    default:
        text = shoal_strndup((const char *)data, n);
        if (text != NULL) (void)(shoal_join_link_decode(text, &link, NULL) == SHOAL_OK);
        shoal_free(text);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static wire_any out;
    if (size == 0) return 0;
    unsigned which = data[0] % (unsigned)(n_wire_codecs + SA_TYPES + 4);
    data++;
    size--;
    if (which < n_wire_codecs) {
        (void)(wire_codecs[which].decode(data, size, &out, NULL) == SHOAL_OK);
    } else if (which < n_wire_codecs + SA_TYPES) {
        read_sa(which - (unsigned)n_wire_codecs, data, size);
    } else {
        read_other(which - (unsigned)n_wire_codecs - SA_TYPES, data, size);
    }
    return 0;
}
