/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin assign-vms: moves several VMs to a pool, all or none. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    size_t vms = json_array_size(json_object_get(result, "vms"));
    size_t changes = json_array_size(json_object_get(result, "changes"));
    char name[SHOW_BYTES];

    show_member(result, "pool", name);
    if (changes == 0)
        printf("%zu VM%s already in pool %s\n", vms, vms == 1 ? " is" : "s are", name);
    else if (changes == vms)
        printf("%zu VM%s now in pool %s\n", vms, vms == 1 ? " is" : "s are", name);
    else
        printf("%zu VMs are now in pool %s, %zu of them were already\n", vms, name, vms - changes);
}

static const struct command_option options[] = {
    {.name = "vms",
     .kind = OPTION_TEXT,
     .metavar = "VMS",
     .key = "vms",
     .help = "their ids, as in 1-7,9",
     .required = true},
    COMMAND_POOL_OPTION,
    {.name = "register",
     .kind = OPTION_FLAG,
     .key = "register",
     .help = "register those that are not, with no limits"},
    {.name = "priority",
     .kind = OPTION_TEXT,
     .metavar = "PRIORITY",
     .key = "priority",
     .help = "of those that are registered: low, medium or high (medium)"},
    {.name = NULL},
};

const struct command command_assign_vms = {
    .name = "assign-vms",
    .summary = "move several VMs to a pool, all or none",
    .positional = {"vms", "pool"},
    .effect = COMMAND_CHANGES,
    .options = options,
    .print = print,
};
