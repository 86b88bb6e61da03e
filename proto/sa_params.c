/* sa_params.c - tails of the hypergeometric distribution, and the smallest graph within them. */
#include "proto/sa_params.h"

#include <math.h>

#include "proto/sa.h"

static const double LN2 = 0.69314718055994530942;
static const double HALF_LN_2PI = 0.91893853320467274178;

/* ln x! to 1e-12, by Stirling's series from 16 on. */
static double ln_factorial(double x)
{
    double product = 1.0;
    for (; x < 16.0; x += 1.0) {
        product *= x + 1.0;
    }
    double y = x * x;
    double series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / y) / y) / x;
    return (x + 0.5) * log(x) - x + HALF_LN_2PI + series - log(product);
}

static double ln_choose(size_t n, size_t k)
{
    return ln_factorial((double)n) - ln_factorial((double)k) - ln_factorial((double)(n - k));
}

/* Pr[x of k draws are marked], of n with `marked` marked. */
static double draws(size_t n, size_t marked, size_t k, size_t x)
{
    if (x > marked || x > k || k - x > n - marked) return 0.0;
    return exp(ln_choose(marked, x) + ln_choose(n - marked, k - x) - ln_choose(n, k));
}

/* The smallest x with Pr[more than x of k draws are marked] <= bound. Summed from the far end,
 * where the terms are small. */
static size_t exceeded_rarely(size_t n, size_t marked, size_t k, double bound)
{
    double tail = 0.0;
    size_t x = marked < k ? marked : k;
    for (; x > 0; x--) {
        tail += draws(n, marked, k, x);
        if (tail > bound) break;
    }
    return x;
}

/* Pr[x or more of k draws are marked]. */
static double at_least(size_t n, size_t marked, size_t k, size_t x)
{
    double tail = 0.0;
    for (size_t i = marked < k ? marked : k; i >= x && i > 0; i--) {
        tail += draws(n, marked, k, i);
    }
    return x == 0 ? 1.0 : tail;
}

static size_t share_of(double share, size_t n)
{
    return (size_t)floor(share * (double)n + 1e-9);
}

shoal_sa_rules shoal_sa_rules_default(void)
{
    return (shoal_sa_rules){
        .corrupt = 0.05, .dropout = 0.10, .security_bits = 40, .failure_bits = 20};
}

static bool in_range(const shoal_sa_rules *r)
{
    double gone = (r->semi_honest ? 1.0 : 2.0) * r->dropout;
    return r->corrupt >= 0.0 && r->dropout >= 0.0 && r->corrupt + gone <= 0.9 + 1e-9;
}

/* A ring falls apart when k of the lost lie in two runs of k/2: at most n (n - k - 1) / 2 ways,
 * each holding all k among the lost with Pr (lost)_k / (n)_k. */
static bool connected(const shoal_sa_rules *r, size_t n, size_t k)
{
    size_t lost = share_of(r->corrupt, n) + share_of(r->dropout, n);
    if (lost < k || n <= k + 1) return true;
    double ways = log((double)n) + log((double)(n - k - 1)) - LN2;
    double all_lost = ln_factorial((double)lost) - ln_factorial((double)(lost - k)) +
                      ln_factorial((double)(n - k)) - ln_factorial((double)n);
    return ways + all_lost <= -((double)r->security_bits + 1.0) * LN2;
}

bool shoal_sa_params_limits(const shoal_sa_rules *r, size_t n, size_t k, size_t *low, size_t *high)
{
    if (!in_range(r) || k < 2 || k >= n || !connected(r, n, k)) return false;
    double broken = exp2(-((double)r->security_bits + 1.0)) / (double)n;
    double failed = exp2(-(double)r->failure_bits) / (double)n;
    size_t corrupt = exceeded_rarely(n, share_of(r->corrupt, n), k, broken);
    *low = r->semi_honest ? corrupt : (corrupt + k) / 2; /* 2t > k + corrupt */
    *high = k - exceeded_rarely(n, share_of(r->dropout, n), k, failed);
    return true;
}

bool shoal_sa_params_private(const shoal_sa_rules *r, size_t n, size_t k, size_t t)
{
    size_t low, high;
    return shoal_sa_params_limits(r, n, k, &low, &high) && t > low && t <= k;
}

bool shoal_sa_params_find(const shoal_sa_rules *r, size_t n, size_t *k, size_t *t)
{
    size_t low, high;
    for (size_t degree = 2; degree + 1 < n; degree += 2) {
        if (shoal_sa_params_limits(r, n, degree, &low, &high) && low < high) {
            *k = degree;
            *t = low + 1;
            return true;
        }
    }
    return false;
}

/* The t that serve all of n_min..n_max, low < t <= high. */
static bool limits_of_all(const shoal_sa_rules *r, size_t n_min, size_t n_max, size_t k,
                          size_t *low, size_t *high)
{
    *low = 0;
    *high = k;
    for (size_t n = n_max; n >= n_min && n > k; n--) {
        size_t one_low, one_high;
        if (!shoal_sa_params_limits(r, n, k, &one_low, &one_high)) return false;
        *low = one_low > *low ? one_low : *low;
        *high = one_high < *high ? one_high : *high;
        if (*low >= *high) return false;
    }
    return true;
}

bool shoal_sa_params_find_range(const shoal_sa_rules *r, size_t n_min, size_t n_max, size_t k_max,
                                size_t *k, size_t *t)
{
    size_t low, high;
    for (size_t degree = 2; degree <= k_max && degree < n_max; degree += 2) {
        if (limits_of_all(r, n_min, n_max, degree, &low, &high)) {
            *k = degree;
            *t = low + 1;
            return true;
        }
    }
    return false;
}

double shoal_sa_params_equivocation(const shoal_sa_rules *r, size_t n, size_t m)
{
    m = m < n ? m : n;
    return log2(at_least(n, share_of(r->corrupt, n), m, 2 * shoal_sa_threshold(m) - m));
}

double shoal_sa_params_no_quorum(const shoal_sa_rules *r, size_t n, size_t m)
{
    m = m < n ? m : n;
    return log2(at_least(n, share_of(r->dropout, n), m, m - shoal_sa_threshold(m) + 1));
}

size_t shoal_sa_params_committee(const shoal_sa_rules *r, size_t n, size_t m_max)
{
    for (size_t m = 128; m <= m_max; m += 32) {
        if (shoal_sa_params_equivocation(r, n, m) <= -(double)r->security_bits &&
            shoal_sa_params_no_quorum(r, n, m) <= -(double)r->failure_bits) {
            return m;
        }
    }
    return 0;
}
