/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin create-pool: makes a pool that GPUs and VMs can be put in. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *pool = json_object_get(result, "pool");
    char name[SHOW_BYTES], policy[SHOW_BYTES];

    printf("pool %s created, policy %s\n", show_member(pool, "pool", name),
           show_member(pool, "policy", policy));
}

static const struct command_option options[] = {
    {.name = "pool", .kind = OPTION_TEXT, .metavar = "POOL", .key = "pool", .help = "its name"},
    {.name = "policy",
     .kind = OPTION_TEXT,
     .metavar = "POLICY",
     .key = "policy",
     .help = "wfq (shares by weight; the default) or strict (by priority)"},
    {.name = "description",
     .kind = OPTION_TEXT,
     .metavar = "TEXT",
     .key = "description",
     .help = "what it is for"},
    {.name = NULL},
};

const struct command command_create_pool = {
    .name = "create-pool",
    .summary = "make a pool",
    .positional = {"pool"},
    .effect = COMMAND_CHANGES,
    .options = options,
    .print = print,
};
