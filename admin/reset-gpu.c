/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin reset-gpu: reset a GPU that nobody uses. Asks on a terminal; without one, --yes must
 * say that it is meant.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/show.h"

static const struct command_option options[] = {
    COMMAND_GPU_OPTION,
    {.name = "yes",
     .kind = OPTION_TEXT,
     .metavar = "WORD",
     .key = "yes",
     .help = "do not ask",
     .local = true,
     .bare = "yes"},
    {.name = NULL},
};

static int confirm(const struct invocation *invocation, struct vgpu_err *err)
{
    const char *yes = json_string_value(json_object_get(invocation->local, "yes"));
    char answer[16] = "";

    if (invocation->dry_run || (yes && strcmp(yes, "yes") == 0))
        return 0;
    if (!isatty(STDIN_FILENO))
        return vgpu_err_set(err, EINVAL, "to reset a GPU without being asked, say --yes");
    fprintf(stderr, "Reset GPU %lld? What is in its memory is lost. [y/N] ",
            (long long)json_integer_value(json_object_get(invocation->args, "gpu_id")));
    if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return 0;
    return vgpu_err_set(err, ECANCELED, "nothing was done");
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    _cleanup_json_ json_t *result = NULL;
    char id[SHOW_BYTES];
    struct client client;
    int rc = confirm(invocation, err);

    if (rc < 0 || (rc = client_open_mediator(&client, invocation, err)) < 0)
        return rc;
    rc = client_change(&client, invocation, "reset-gpu", invocation->args, &result, err);
    client_close(&client);
    if (rc < 0)
        return rc;
    if (invocation->json)
        client_print_json(result);
    else
        printf("GPU %s %s reset\n", show_member(result, "gpu_id", id),
               invocation->dry_run ? "is used by nobody, and would be" : "was");
    return 0;
}

const struct command command_reset_gpu = {
    .name = "reset-gpu",
    .summary = "reset a GPU that nobody uses",
    .positional = {"gpu_id"},
    .effect = COMMAND_CHANGES,
    .options = options,
    .run = run,
};
