/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin set-policy: change how a pool's VMs share. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *pool = json_object_get(result, "pool");
    char name[SHOW_BYTES], policy[SHOW_BYTES];

    printf("pool %s%s has policy %s\n", show_member(pool, "pool", name), show_already(result),
           show_member(pool, "policy", policy));
}

static const struct command_option options[] = {
    COMMAND_POOL_OPTION,
    {.name = "policy",
     .kind = OPTION_TEXT,
     .metavar = "POLICY",
     .key = "policy",
     .help = "wfq (shares by weight) or strict (by priority)",
     .required = true},
    {.name = NULL},
};

const struct command command_set_policy = {
    .name = "set-policy",
    .summary = "change how the VMs of a pool share",
    .positional = {"pool", "policy"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
