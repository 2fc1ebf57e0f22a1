/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin remove-pool: removes a pool that has no VMs. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    char name[SHOW_BYTES];

    printf("pool %s removed\n", show_member(json_object_get(result, "pool"), "pool", name));
}

static const struct command_option options[] = {
    {.name = "pool", .kind = OPTION_TEXT, .metavar = "POOL", .key = "pool", .help = "its name"},
    {.name = NULL},
};

const struct command command_remove_pool = {
    .name = "remove-pool",
    .summary = "remove a pool that has no VMs",
    .positional = {"pool"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
