/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin reload-config: has the mediator read its configuration again, and says what differed.
 */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *changes = json_object_get(result, "changes"), *change;
    char object[SHOW_BYTES], key[SHOW_SENTENCE_BYTES], what[SHOW_BYTES];
    size_t i;

    printf("configuration read again (%s GPUs, ", show_member(result, "gpus", what));
    printf("%s pools, ", show_member(result, "pools", what));
    printf("%s VMs): %s\n", show_member(result, "vms", what),
           json_array_size(changes) == 0 ? "all was in force already" : "now in force:");
    json_array_foreach (changes, i, change)
        printf("  %s %s %s\n", show_member(change, "object", object),
               show_sentence(change, "key", key), show_member(change, "change", what));
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_reload_config = {
    .name = "reload-config",
    .summary = "have the mediator read its configuration again",
    .needs_mediator = true,
    .options = options,
    .print = print,
};
