/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin unquarantine: release a VM, and forgive its faults so far. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    char name[SHOW_BYTES];

    printf("%s%s is not quarantined\n", show_vm(json_object_get(result, "vm"), name),
           show_already(result));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = NULL},
};

const struct command command_unquarantine = {
    .name = "unquarantine",
    .summary = "release a VM from quarantine",
    .positional = {"vm"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
