/* table.c - selects kernels and checks them against C. See table.h. */
#include "kernels/table.h"

#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/log.h"

/* Every slot is one function pointer, so slots can be compared and copied by offset. */
typedef void slot_fn(void);

static bool slot_same(const shoal_table *a, const shoal_table *b, size_t offset)
{
    return memcmp((const char *)a + offset, (const char *)b + offset, sizeof(slot_fn *)) == 0;
}

/* Puts back the C version of each replaced slot that disagrees; returns how many did. */
static unsigned check_slots(const shoal_slot_check *checks, const shoal_table *c, shoal_table *t)
{
    unsigned bad = 0;
    for (const shoal_slot_check *s = checks; s->name != NULL; s++) {
        if (slot_same(c, t, s->offset) || s->agrees(c, t)) continue;
        memcpy((char *)t + s->offset, (const char *)c + s->offset, sizeof(slot_fn *));
        shoal_log(SHOAL_LOG_WARN, "kernels", "self-check-failed slot=%s level=%s using=c", s->name,
                  t->name);
        bad++;
    }
    return bad;
}

static void fill_c(shoal_table *c)
{
    memset(c, 0, sizeof *c);
    c->name = "c";
    shoal_matmul_init_c(c);
    shoal_rowops_init_c(c);
}

unsigned shoal_table_check(shoal_table *t)
{
    shoal_table c;
    fill_c(&c);
    return check_slots(shoal_matmul_checks, &c, t) + check_slots(shoal_rowops_checks, &c, t);
}

void shoal_table_select(shoal_table *t, uint32_t mask)
{
    fill_c(t);
#ifdef SHOAL_X86
    shoal_table_init_x86(t, shoal_cpu_flags() & mask);
#elif defined(SHOAL_ARM)
    shoal_table_init_arm(t, shoal_cpu_flags() & mask);
#else
    (void)mask;
#endif
    shoal_table_check(t);
}
