/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-vms: the VMs that are registered. */
#include <stdint.h>
#include <stdio.h>

#include "admin/commands.h"
#include "admin/settings.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"ID", .right = true},
    {"NAME"},
    {"UUID"},
    {"POOL"},
    {"PRIORITY"},
    {"WEIGHT", .right = true},
    {"FAULTS", .right = true, .state = true},
    {"LIMITS"},
};

static const char *const keys[] = {"vm_id", "name", "uuid", "pool", "priority", "weight"};

static bool add(struct table *table, const json_t *vm)
{
    char limits[TABLE_CELL_BYTES];
    bool good = true;

    for (size_t i = 0; good && i < VGPU_ARRAY_SIZE(keys); i++)
        good = table_add_json(table, json_object_get(vm, keys[i]));
    settings_summary(vm_settings, vm, limits, sizeof(limits));
    if (good && json_is_true(json_object_get(vm, "quarantined")))
        good = table_add(table, "quarantined");
    else if (good)
        good = table_add_json(table, json_object_get(vm, "faults"));
    return good && table_add(table, "%s", limits);
}

static void print(const json_t *result)
{
    const json_t *rows = json_object_get(result, "vms");

    if (json_array_size(rows) == 0) {
        puts("no VMs; register one with: vgpu-admin register-vm");
        return;
    }
    table_print_rows(rows, columns, VGPU_ARRAY_SIZE(columns), add);
}

static const struct command_option options[] = {
    {.name = "pool",
     .kind = OPTION_TEXT,
     .metavar = "POOL",
     .key = "pool",
     .help = "only those of this pool"},
    {.name = NULL},
};

const struct command command_list_vms = {
    .name = "list-vms",
    .summary = "list the VMs that are registered",
    .options = options,
    .print = print,
};
