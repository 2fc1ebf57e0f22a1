/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-vms: the VMs that are registered. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"ID", .right = true}, {"NAME", .shrink = true},  {"UUID"}, {"POOL", .shrink = true},
    {"PRIORITY"},          {"WEIGHT", .right = true},
};

static const char *const keys[] = {"vm_id", "name", "uuid", "pool", "priority", "weight"};

static void print(const json_t *result)
{
    const json_t *rows = json_object_get(result, "vms");

    if (json_array_size(rows) == 0)
        puts("no VMs; register one with: vgpu-admin register-vm");
    else
        table_print_objects(rows, columns, keys, VGPU_ARRAY_SIZE(columns));
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
