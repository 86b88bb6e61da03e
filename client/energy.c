/* energy.c - see energy.h. */
#include "client/energy.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "client/sysfs.h"

enum { PATH_BYTES = 512 };

static double cpu_seconds(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0.0;
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           1e-6 * ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec);
}

static bool read_rapl(const shoal_energy_meter *m, size_t package, const char *file, uint64_t *uj)
{
    char dir[PATH_BYTES];
    int n = snprintf(dir, sizeof dir, "%s/class/powercap/intel-rapl:%zu", m->sys, package);
    return n > 0 && (size_t)n < sizeof dir && shoal_sysfs_number(dir, file, uj);
}

/* Adds the joules in one supply: microwatt-hours, or microampere-hours at the present voltage;
 * nothing unless it is a battery that is discharging. */
static void add_supply(void *sum, const char *dir)
{
    double *joules = sum;
    char status[SHOAL_SYSFS_WORD];
    uint64_t energy = 0, charge = 0, voltage = 0;
    if (!shoal_sysfs_word(dir, "status", status) || strcmp(status, "Discharging") != 0) return;
    if (shoal_sysfs_number(dir, "energy_now", &energy)) {
        *joules += 3600e-6 * (double)energy;
    } else if (shoal_sysfs_number(dir, "charge_now", &charge) &&
               shoal_sysfs_number(dir, "voltage_now", &voltage)) {
        *joules += 3600e-6 * (double)charge * 1e-6 * (double)voltage;
    }
}

/* Sum over all batteries; < 0 when none tells. */
static double battery_joules(const char *sys)
{
    double sum = 0.0;
    shoal_sysfs_each(sys, "class/power_supply", add_supply, &sum);
    return sum > 0.0 ? sum : -1.0;
}

void shoal_energy_begin(shoal_energy_meter *m, const char *sys)
{
    *m = (shoal_energy_meter){.sys = sys};
    while (m->n_rapl < SHOAL_RAPL_PACKAGES &&
           read_rapl(m, m->n_rapl, "energy_uj", &m->rapl[m->n_rapl])) {
        m->n_rapl++;
    }
    m->battery_j = battery_joules(sys);
    m->cpu_s = cpu_seconds();
}

void shoal_energy_sample(shoal_energy_meter *m)
{
    for (size_t i = 0; i < m->n_rapl; i++) {
        uint64_t now = 0;
        uint64_t range = 0;
        if (!read_rapl(m, i, "energy_uj", &now)) continue;
        uint64_t before = m->rapl[i];
        if (now >= before) {
            m->rapl_j += 1e-6 * (double)(now - before);
        } else if (read_rapl(m, i, "max_energy_range_uj", &range) && range >= before) {
            m->rapl_j += 1e-6 * ((double)(range - before) + (double)now);
        }
        m->rapl[i] = now;
    }
}

shoal_energy shoal_energy_end(shoal_energy_meter *m)
{
    shoal_energy_sample(m);
    if (m->rapl_j > 0.0) {
        return (shoal_energy){m->rapl_j, "RAPL", "measured, all processor packages"};
    }
    double left = battery_joules(m->sys);
    if (m->battery_j > 0.0 && left > 0.0 && left < m->battery_j) {
        return (shoal_energy){m->battery_j - left, "battery", "measured, the whole device"};
    }
    double cpu_s = cpu_seconds() - m->cpu_s;
    return (shoal_energy){SHOAL_WATTS_PER_CPU * cpu_s, "modelled",
                          "modelled: 3 W for each busy processor"};
}
