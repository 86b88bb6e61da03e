/* energy.h - the energy of a piece of work, and where the figure comes from.
 *
 * Measured where the platform tells: RAPL counters of the processor packages (powercap, mostly
 * readable by root only), else a battery that is discharging (the whole device, in the coarse steps
 * of its gauge). Otherwise modelled: seconds of processor time times SHOAL_WATTS_PER_CPU, and it is
 * called so.
 *
 * Source: Linux Documentation/power/powercap, Documentation/ABI/testing/sysfs-class-power.
 * Layer: client. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_ENERGY_H
#define SHOAL_CLIENT_ENERGY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_RAPL_PACKAGES = 8 };

/* Assumed of a busy processor, between a phone's large core and a laptop's. */
#define SHOAL_WATTS_PER_CPU 3.0

typedef struct shoal_energy_meter {
    const char *sys;                    /* where sysfs is mounted; borrowed */
    uint64_t rapl[SHOAL_RAPL_PACKAGES]; /* microjoules at the last sample */
    size_t n_rapl;                      /* readable packages 0..n-1 */
    double rapl_j;                      /* counted so far */
    double battery_j;                   /* left in the batteries at the start; < 0: not readable */
    double cpu_s;                       /* processor seconds of this process at the start */
} shoal_energy_meter;

/* `sys` is "/sys", or a stand-in in tests. */
void shoal_energy_begin(shoal_energy_meter *m, const char *sys);

/* Counters wrap after hours: called every step, it misses no turn. Reads a small file a package. */
void shoal_energy_sample(shoal_energy_meter *m);

typedef struct shoal_energy {
    double joules;
    const char *source; /* "RAPL", "battery" or "modelled" */
    const char *note;   /* what the figure covers or assumes, for a person */
} shoal_energy;

shoal_energy shoal_energy_end(shoal_energy_meter *m);

#ifdef __cplusplus
}
#endif
#endif
