/* exec.c - opens an execution context: a kernel table and scratch for each worker of a pool.
 *
 * All live in one block: the table first, then the shared area, then one scratch area a worker,
 * each on its own cache lines.
 */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/table.h"

enum { TABLE_BYTES = (sizeof(shoal_table) + 63) / 64 * 64 };

shoal_status shoal_exec_open(shoal_exec *ex, shoal_pool *pool, uint32_t cpu_mask, bool exact,
                             shoal_error *err)
{
    *ex = (shoal_exec){.pool = pool, .exact = exact};
    size_t floats = (size_t)shoal_pool_size(pool) * SHOAL_SCRATCH_FLOATS + SHOAL_SHARED_FLOATS;
    size_t bytes = TABLE_BYTES + floats * sizeof(float);
    ex->scratch = shoal_alloc_aligned(bytes);
    if (ex->scratch == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate %zu bytes of kernel scratch",
                          bytes);
    }
    ex->scratch_bytes = bytes;
    shoal_table *table = ex->scratch;
    shoal_table_select(table, cpu_mask);
    ex->table = table;
    return SHOAL_OK;
}

void shoal_exec_close(shoal_exec *ex)
{
    if (ex == NULL) return;
    shoal_free_aligned(ex->scratch);
    *ex = (shoal_exec){0};
}

const char *shoal_exec_name(const shoal_exec *ex)
{
    return ex->table->name;
}

uint64_t shoal_exec_fingerprint(const shoal_exec *ex)
{
    enum { FIRST = offsetof(shoal_table, act_pack), SLOT = sizeof(shoal_act_pack_fn *) };
    const char *table = (const char *)ex->table;
    uint64_t h = SHOAL_FNV64_INIT;
    uintptr_t origin = 0; /* programs are loaded at random places: distances are the same */
    for (size_t at = FIRST; at < sizeof(shoal_table); at += SLOT) {
        uintptr_t slot = 0;
        memcpy(&slot, table + at, sizeof slot);
        if (origin == 0) origin = slot;
        uint64_t distance = slot == 0 ? UINT64_MAX : (uint64_t)(slot - origin);
        h = shoal_fnv64(h, &distance, sizeof distance);
    }
    return h;
}

float *shoal_exec_shared(const shoal_exec *ex)
{
    return (float *)(void *)((char *)ex->scratch + TABLE_BYTES);
}

float *shoal_exec_scratch(const shoal_exec *ex, unsigned worker)
{
    return shoal_exec_shared(ex) + SHOAL_SHARED_FLOATS + (size_t)worker * SHOAL_SCRATCH_FLOATS;
}
