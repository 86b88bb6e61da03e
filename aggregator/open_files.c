/* open_files.c - see open_files.h. */
#include "aggregator/open_files.h"

#include <errno.h>
#include <sys/resource.h>

enum { BESIDES = 256 }; /* database, blobs, models, the event loop, the admin's terminal */

shoal_status shoal_open_files_reserve(uint32_t max_connections, shoal_error *err)
{
    struct rlimit lim;
    rlim_t need = (rlim_t)max_connections + BESIDES;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0) {
        return shoal_fail_errno(err, errno, "cannot ask for the limit on open files");
    }
    if (lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur >= need) {
        return SHOAL_OK;
    }
    struct rlimit wish = {.rlim_cur = need, .rlim_max = lim.rlim_max};
    if (lim.rlim_max != RLIM_INFINITY && lim.rlim_max < need) {
        wish.rlim_max = need; /* only a privileged process may */
    }
    if (setrlimit(RLIMIT_NOFILE, &wish) == 0) {
        return SHOAL_OK;
    }
    shoal_status st = shoal_fail(
        err, SHOAL_ERR_FULL, "max_connections %u needs %llu open files, the system allows %llu",
        (unsigned)max_connections, (unsigned long long)need, (unsigned long long)lim.rlim_max);
    shoal_hint(err,
               "raise the limit (ulimit -Hn, LimitNOFILE= of a service), or set max_connections in "
               "config.yaml to %llu or less",
               (unsigned long long)(lim.rlim_max > BESIDES ? lim.rlim_max - BESIDES : 0));
    return st;
}
