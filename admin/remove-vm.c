/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin remove-vm: forgets a VM, which then may no longer connect. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    char name[SHOW_BYTES];

    printf("%s removed\n", show_vm(json_object_get(result, "vm"), name));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = NULL},
};

const struct command command_remove_vm = {
    .name = "remove-vm",
    .summary = "forget a VM",
    .positional = {"vm"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
