/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin reload-config: has the mediator read its configuration again, and says what differed.
 */
#include <stdio.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *changes = json_object_get(result, "changes"), *change;
    char object[SHOW_BYTES], key[SHOW_SENTENCE_BYTES], what[SHOW_BYTES];
    size_t i;

    bool dry_run = json_is_true(json_object_get(result, "dry_run"));

    printf("configuration read again (%s GPUs, ", show_member(result, "gpus", what));
    printf("%s pools, ", show_member(result, "pools", what));
    printf("%s VMs): %s\n", show_member(result, "vms", what),
           json_array_size(changes) == 0 ? "all is in force already"
           : dry_run                     ? "this would be put in force:"
                                         : "now in force:");
    json_array_foreach (changes, i, change)
        printf("  %s %s %s\n", show_member(change, "object", object),
               show_sentence(change, "key", key), show_member(change, "change", what));
}

/* Its changes are told in another way than those of the configuration, in a dry run too. */
static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    _cleanup_json_ json_t *result = NULL;
    struct client client;
    int rc = client_open_mediator(&client, invocation, err);

    if (rc < 0)
        return rc;
    rc = client_change(&client, invocation, "reload-config", invocation->args, &result, err);
    client_close(&client);
    if (rc < 0)
        return rc;
    if (invocation->json)
        client_print_json(result);
    else
        print(result);
    return 0;
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_reload_config = {
    .name = "reload-config",
    .summary = "have the mediator read its configuration again",
    .effect = COMMAND_CHANGES,
    .options = options,
    .run = run,
};
