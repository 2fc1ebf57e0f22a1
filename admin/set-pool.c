/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin set-pool: move a VM to another pool. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    char name[SHOW_BYTES], value[SHOW_BYTES];

    printf("%s%s has pool %s\n", show_vm(vm, name), show_already(result),
           show_member(vm, "pool", value));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    COMMAND_POOL_OPTION,
    {.name = NULL},
};

const struct command command_set_pool = {
    .name = "set-pool",
    .summary = "move a VM to another pool",
    .positional = {"vm", "pool"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
