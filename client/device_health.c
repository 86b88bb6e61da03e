/* device_health.c - see device_health.h. */
#include "client/device_health.h"

#include <stdio.h>
#include <string.h>

#include "client/sysfs.h"

#define LOOK_EVERY_S 1.0

shoal_health_limits shoal_health_usual(void)
{
    return (shoal_health_limits){
        .sys = "/sys", .least_charge = 15.0, .most_celsius = 95.0, .most_battery = 45.0};
}

void shoal_health_begin(shoal_health *h, const shoal_health_limits *limits)
{
    *h = (shoal_health){.limits = *limits, .looked_s = -LOOK_EVERY_S};
}

static void judge_charge(shoal_health *h, double percent)
{
    double least = h->limits.least_charge;
    if (h->ill || !(least > 0.0) || percent >= least) return;
    h->ill = true;
    (void)snprintf(h->why, sizeof h->why, "the battery is at %.0f %%, below %.0f", percent, least);
}

static void judge_heat(shoal_health *h, const char *what, double celsius, double most)
{
    if (h->ill || !(most > 0.0) || celsius <= most) return;
    h->ill = true;
    (void)snprintf(h->why, sizeof h->why, "the %s is at %.1f degrees, above %.0f", what, celsius,
                   most);
}

/* A power supply; only batteries have a capacity. */
static void look_at_supply(void *ctx, const char *dir)
{
    shoal_health *h = ctx;
    char status[SHOAL_SYSFS_WORD];
    uint64_t percent = 0;
    int64_t tenths = 0;
    if (!shoal_sysfs_number(dir, "capacity", &percent)) return;
    bool draining = shoal_sysfs_word(dir, "status", status) && strcmp(status, "Discharging") == 0;
    if (draining) judge_charge(h, (double)percent);
    if (shoal_sysfs_signed(dir, "temp", &tenths)) {
        judge_heat(h, "battery", (double)tenths / 10.0, h->limits.most_battery);
    }
}

static void look_at_zone(void *ctx, const char *dir)
{
    shoal_health *h = ctx;
    int64_t millis = 0;
    if (!shoal_sysfs_signed(dir, "temp", &millis)) return;
    judge_heat(h, "device", (double)millis / 1000.0, h->limits.most_celsius);
}

bool shoal_health_ill(shoal_health *h, double now_s)
{
    if (h->ill || now_s - h->looked_s < LOOK_EVERY_S) return h->ill;
    h->looked_s = now_s;
    shoal_sysfs_each(h->limits.sys, "class/power_supply", look_at_supply, h);
    shoal_sysfs_each(h->limits.sys, "class/thermal", look_at_zone, h);
    return h->ill;
}
