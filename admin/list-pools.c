/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-pools: the pools with their GPUs and VMs. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"POOL", .shrink = true},        {"POLICY"}, {"GPUS", .shrink = true}, {"VMS", .shrink = true},
    {"DESCRIPTION", .shrink = true},
};

static const char *const keys[] = {"pool", "policy", "gpus", "vms", "description"};

static void print(const json_t *result)
{
    const json_t *rows = json_object_get(result, "pools");

    if (json_array_size(rows) == 0)
        puts("no pools; make one with: vgpu-admin create-pool");
    else
        table_print_objects(rows, columns, keys, VGPU_ARRAY_SIZE(columns));
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
