/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin set-priority: change the priority of a VM. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    char name[SHOW_BYTES], value[SHOW_BYTES];

    printf("%s%s has priority %s\n", show_vm(vm, name), show_already(result),
           show_member(vm, "priority", value));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = "priority",
     .kind = OPTION_TEXT,
     .metavar = "PRIORITY",
     .key = "priority",
     .help = "low, medium or high",
     .required = true},
    {.name = NULL},
};

const struct command command_set_priority = {
    .name = "set-priority",
    .summary = "change the priority of a VM",
    .positional = {"vm", "priority"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
