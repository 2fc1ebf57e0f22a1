/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin register-vm: lets a VM use the GPUs of a pool. */
#include <stdio.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/resolve.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    char name[SHOW_BYTES], pool[SHOW_BYTES], priority[SHOW_BYTES], weight[SHOW_BYTES];

    printf("%s registered: pool %s, priority %s, weight %s\n", show_vm(vm, name),
           show_member(vm, "pool", pool), show_member(vm, "priority", priority),
           show_member(vm, "weight", weight));
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    int rc = resolve_complete(invocation->args, err);

    return rc < 0 ? rc : client_run(invocation, err);
}

static const struct command_option options[] = {
    {.name = "vm-id",
     .kind = OPTION_INTEGER,
     .metavar = "ID",
     .key = "vm_id",
     .help = "its numeric id",
     .required = true},
    {.name = "pool",
     .kind = OPTION_TEXT,
     .metavar = "POOL",
     .key = "pool",
     .help = "the pool whose GPUs it may use",
     .required = true},
    {.name = "priority",
     .kind = OPTION_TEXT,
     .metavar = "PRIORITY",
     .key = "priority",
     .help = "low, medium (the default) or high"},
    {.name = "weight",
     .kind = OPTION_NUMBER,
     .metavar = "WEIGHT",
     .key = "weight",
     .help = "its share among VMs of the same priority, 1.0 to 100.0 (50)"},
    {.name = "uuid", .kind = OPTION_TEXT, .metavar = "UUID", .key = "uuid", .help = "its UUID"},
    {.name = "name", .kind = OPTION_TEXT, .metavar = "NAME", .key = "name", .help = "its name"},
    {.name = NULL},
};

const struct command command_register_vm = {
    .name = "register-vm",
    .summary = "let a VM use the GPUs of a pool",
    .effect = COMMAND_CHANGES,
    .options = options,
    .print = print,
    .run = run,
};
