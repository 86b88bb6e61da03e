/* device_health.h - whether a device may go on with heavy work: its battery and its heat.
 *
 * Reads what the system tells of itself (Linux sysfs): a battery that discharges below a share
 * stops work, and so does a thermal zone or a battery above a temperature. Without batteries and
 * zones nothing stops it. Asked often, it looks once a second.
 *
 * Source: Linux Documentation/ABI/testing/sysfs-class-power, sysfs-class-thermal.
 * Layer: client. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_DEVICE_HEALTH_H
#define SHOAL_CLIENT_DEVICE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_health_limits {
    const char *sys;     /* where sysfs is mounted, "/sys"; borrowed */
    double least_charge; /* of a battery that discharges, in percent; 0: no limit */
    double most_celsius; /* of any thermal zone; 0: no limit */
    double most_battery; /* of any battery, in degrees Celsius; 0: no limit */
} shoal_health_limits;

typedef struct shoal_health {
    shoal_health_limits limits;
    double looked_s; /* when, of a clock of the caller */
    bool ill;        /* a limit was passed, and why says which */
    char why[96];
} shoal_health;

/* Usual limits: 15 % of charge, 95 degrees in a zone, 45 in a battery. */
shoal_health_limits shoal_health_usual(void);

void shoal_health_begin(shoal_health *h, const shoal_health_limits *limits);

/* True once a limit was passed. `now_s` is any clock that only rises. */
bool shoal_health_ill(shoal_health *h, double now_s);

#ifdef __cplusplus
}
#endif
#endif
