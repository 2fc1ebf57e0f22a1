/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin scan-gpus: finds the host's GPUs and records them by UUID. The mediator asks NVML;
 * without one, vgpu-nvml is asked from here.
 */
#include <stdio.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/gpu_table.h"
#include "admin/nvml_helper.h"
#include "admin/show.h"

static const struct command_option options[] = {
    {.name = "nvml-helper",
     .kind = OPTION_TEXT,
     .metavar = "PATH",
     .key = "nvml_helper",
     .help = "the program to scan with while no mediator runs (vgpu-nvml, beside this one)",
     .local = true},
    {.name = NULL},
};

static int scan_offline(struct client *client, const struct invocation *invocation,
                        json_t **ret_result, struct vgpu_err *err)
{
    const char *helper = json_string_value(json_object_get(invocation->local, "nvml_helper"));
    _cleanup_json_ json_t *args = NULL;
    json_t *gpus = NULL;
    int rc = nvml_helper_scan(helper, &gpus, err);

    if (rc < 0)
        return rc;
    args = json_pack("{s:o}", "gpus", gpus);
    if (!args)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    rc = client_change(client, invocation, "record-gpus", args, ret_result, err);
    if (rc == 0)
        client_say_offline(*ret_result);
    return rc;
}

static void print(const json_t *result)
{
    static const struct {
        const char *key, *text;
    } notes[] = {
        {"added", "new"},
        {"returned", "there again"},
        {"moved", "in another slot"},
        {"missing", "no longer there"},
    };
    char ids[SHOW_BYTES];

    gpu_table_print(json_object_get(result, "gpus"));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(notes); i++)
        if (json_array_size(json_object_get(result, notes[i].key)) > 0)
            printf("%s: GPU %s\n", notes[i].text, show_member(result, notes[i].key, ids));
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    _cleanup_json_ json_t *result = NULL;
    struct client client;
    int rc = client_open(&client, invocation, err);

    if (rc < 0)
        return rc;
    rc = client_is_offline(&client)
             ? scan_offline(&client, invocation, &result, err)
             : client_change(&client, invocation, "scan-gpus", invocation->args, &result, err);
    client_close(&client);
    if (rc == 0)
        client_print(invocation, result);
    return rc;
}

const struct command command_scan_gpus = {
    .name = "scan-gpus",
    .summary = "find the host's GPUs and record them",
    .effect = COMMAND_CHANGES,
    .options = options,
    .print = print,
    .run = run,
};
