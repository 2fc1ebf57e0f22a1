/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin capacity: what the pools have, have promised, and whether they take one more VM. */
#include <stdint.h>
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"POOL"},
    {"VMS", .right = true},
    {"MOST", .right = true},
    {"GPUS", .right = true},
    {"MEMORY", .right = true},
    {"PROMISED", .right = true},
    {"NO QUOTA", .right = true},
    {"ONE MORE"},
};

/* "2", or "1 of 2" where not all of them can be used. */
static bool add_gpus(struct table *table, const json_t *pool)
{
    json_int_t gpus = json_integer_value(json_object_get(pool, "gpus"));
    json_int_t good = json_integer_value(json_object_get(pool, "gpus_usable"));
    const json_t *healthy = json_object_get(pool, "gpus_healthy");

    if (json_is_integer(healthy) && json_integer_value(healthy) < good)
        good = json_integer_value(healthy);
    return good == gpus ? table_add(table, "%lld", (long long)gpus)
                        : table_add(table, "%lld of %lld", (long long)good, (long long)gpus);
}

static bool add(struct table *table, const json_t *pool)
{
    char memory[SHOW_BYTES], promised[SHOW_BYTES];
    const char *reason = json_string_value(json_object_get(pool, "reason"));
    json_int_t most = json_integer_value(json_object_get(pool, "max_vms"));

    return table_add_json(table, json_object_get(pool, "pool")) &&
           table_add_json(table, json_object_get(pool, "vms")) &&
           (most ? table_add(table, "%lld", (long long)most) : table_add(table, "-")) &&
           add_gpus(table, pool) &&
           table_add(table, "%s", show_bytes(json_object_get(pool, "memory_bytes"), memory)) &&
           table_add(table, "%s",
                     show_bytes(json_object_get(pool, "memory_promised_bytes"), promised)) &&
           table_add_json(table, json_object_get(pool, "vms_without_quota")) &&
           table_add(table, "%s%s", reason ? "no: " : "yes", reason ? reason : "");
}

static void print(const json_t *result)
{
    const json_t *pools = json_object_get(result, "pools");

    if (json_array_size(pools) == 0) {
        puts("no pools; make one with: vgpu-admin create-pool");
        return;
    }
    table_print_rows(pools, columns, VGPU_ARRAY_SIZE(columns), add);
}

static const struct command_option options[] = {
    {.name = "pool",
     .kind = OPTION_TEXT,
     .metavar = "POOL",
     .key = "pool",
     .help = "only this pool"},
    {.name = "memory",
     .kind = OPTION_SETTING,
     .metavar = "BYTES",
     .key = "memory_bytes",
     .help = "ask for a VM with this quota of GPU memory (none)"},
    {.name = NULL},
};

const struct command command_capacity = {
    .name = "capacity",
    .summary = "show what the pools have, have promised, and still take",
    .positional = {"pool"},
    .options = options,
    .print = print,
};
