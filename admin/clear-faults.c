/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin clear-faults: forget what a VM did wrong. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    bool quarantined = json_is_true(json_object_get(vm, "quarantined"));
    char name[SHOW_BYTES];

    printf("%s%s has no faults%s\n", show_vm(vm, name), show_already(result),
           quarantined ? "; it still is quarantined" : "");
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = NULL},
};

const struct command command_clear_faults = {
    .name = "clear-faults",
    .summary = "forget the faults of a VM",
    .positional = {"vm"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
