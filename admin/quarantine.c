/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin quarantine: let no job of a VM in until an administrator releases it. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    char name[SHOW_BYTES], reason[SHOW_SENTENCE_BYTES];

    printf("%s%s is quarantined: %s\n", show_vm(vm, name), show_already(result),
           show_sentence(vm, "quarantine_reason", reason));
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    COMMAND_REASON_OPTION,
    {.name = NULL},
};

const struct command command_quarantine = {
    .name = "quarantine",
    .summary = "let no job of a VM in until it is released",
    .positional = {"vm"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
