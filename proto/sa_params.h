/* sa_params.h - neighbours k, threshold t and committee by population: the smallest that keep the
 * promises of PROTOCOL.md 7 with stated probabilities.
 *
 * Of n clients floor(corrupt n) are on the server's side and floor(dropout n) leave; the k-regular
 * graph is a ring in random order (sa_graph.h), so the corrupt among any client's k places are
 * hypergeometric. With s = security_bits, a session of n is
 *
 *   private   semi-honest:    Pr[a client has t or more corrupt neighbours] <= 2^-(s+1)
 *             otherwise also: 2t > k + c for every c corrupt neighbours that a client has but with
 *             that probability: then a server that tells neighbours different survivor sets gets
 *             one kind of share of a client, never both
 *             and             Pr[the honest who stay are not connected] <= 2^-(s+1)
 *   live      Pr[a client has fewer than t neighbours that stay] <= 2^-failure_bits
 *
 * Sources: Bell et al. 2020, sections 3 and 5; connectivity by the union bound over cut sets of a
 * ring. With a corrupt share g and drop-out d, g + 2d above 0.9 (semi-honest: g + d) is refused.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_SA_PARAMS_H
#define SHOAL_PROTO_SA_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_sa_rules {
    double corrupt, dropout; /* shares of the roster, 0..1 */
    uint32_t security_bits;  /* s */
    uint32_t failure_bits;
    bool semi_honest; /* the server follows the protocol; default: it does so only until M2 */
} shoal_sa_rules;

/* 5 %, 10 %, 2^-40, 2^-20, semi-malicious. */
shoal_sa_rules shoal_sa_rules_default(void);

/* The t that keep a session of n with k neighbours private and live are low < t <= high. False when
 * no t can be private: too badly connected, or the rules are out of range. */
bool shoal_sa_params_limits(const shoal_sa_rules *r, size_t n, size_t k, size_t *low, size_t *high);
bool shoal_sa_params_private(const shoal_sa_rules *r, size_t n, size_t k, size_t t);

/* The smallest even k, then the smallest t, for a roster of exactly n; false when there are none
 * below n. */
bool shoal_sa_params_find(const shoal_sa_rules *r, size_t n, size_t *k, size_t *t);

/* The same for every roster of n_min..n_max that has more than k clients: what a descriptor may
 * state. False when none has k <= k_max. */
bool shoal_sa_params_find_range(const shoal_sa_rules *r, size_t n_min, size_t n_max, size_t k_max,
                                size_t *k, size_t *t);

/* log2 of the probability that a committee of m out of n, quorum floor(2m/3) + 1, holds so many
 * corrupt that two survivor sets can be certified (2q - m of them); and that fewer than q of it
 * stay. -INFINITY: impossible. */
double shoal_sa_params_equivocation(const shoal_sa_rules *r, size_t n, size_t m);
double shoal_sa_params_no_quorum(const shoal_sa_rules *r, size_t n, size_t m);

/* The smallest committee of 128, 160, ... m_max that keeps both within the rules; 0 when none. */
size_t shoal_sa_params_committee(const shoal_sa_rules *r, size_t n, size_t m_max);

#ifdef __cplusplus
}
#endif
#endif
