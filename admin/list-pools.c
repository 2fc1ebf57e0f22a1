/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-pools: the pools with their GPUs and VMs. */
#include <stdint.h>
#include <stdio.h>

#include "admin/commands.h"
#include "admin/settings.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"POOL"}, {"POLICY"}, {"GPUS"}, {"VMS"}, {"SCHEDULING"}, {"DESCRIPTION"},
};

static const char *const keys[] = {"pool", "policy", "gpus", "vms"};

static bool add(struct table *table, const json_t *pool)
{
    char settings[TABLE_CELL_BYTES];
    bool good = true;

    for (size_t i = 0; good && i < VGPU_ARRAY_SIZE(keys); i++)
        good = table_add_json(table, json_object_get(pool, keys[i]));
    settings_summary(pool_settings, pool, settings, sizeof(settings));
    return good && table_add(table, "%s", settings) &&
           table_add_json(table, json_object_get(pool, "description"));
}

static void print(const json_t *result)
{
    const json_t *rows = json_object_get(result, "pools");

    if (json_array_size(rows) == 0) {
        puts("no pools; make one with: vgpu-admin create-pool");
        return;
    }
    table_print_rows(rows, columns, VGPU_ARRAY_SIZE(columns), add);
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_list_pools = {
    .name = "list-pools",
    .summary = "list the pools with their GPUs and VMs",
    .options = options,
    .print = print,
};
