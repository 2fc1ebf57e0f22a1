/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin set-weight: change the weight of a VM. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    char name[SHOW_BYTES], value[SHOW_BYTES];

    printf("%s%s has weight %s\n", show_vm(vm, name), show_already(result),
           show_member(vm, "weight", value));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = "weight",
     .kind = OPTION_NUMBER,
     .metavar = "WEIGHT",
     .key = "weight",
     .help = "its share among VMs of the same priority, 1.0 to 100.0",
     .required = true},
    {.name = NULL},
};

const struct command command_set_weight = {
    .name = "set-weight",
    .summary = "change the weight of a VM",
    .positional = {"vm", "weight"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
