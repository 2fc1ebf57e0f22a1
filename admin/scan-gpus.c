/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin scan-gpus: finds the host's GPUs and records them by UUID. The mediator asks
 * vgpu-nvml; without one, it is asked from here.
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
    _cleanup_json_ json_t *found = NULL;
    int rc = nvml_helper_scan(helper, &found, err);

    if (rc < 0)
        return rc;
    rc = client_change(client, invocation, "record-gpus", found, ret_result, err);
    if (rc == 0)
        client_say_offline(*ret_result);
    return rc;
}

static void print_replaced(const json_t *pairs)
{
    const json_t *pair;
    size_t i;

    json_array_foreach (pairs, i, pair) {
        char old[SHOW_BYTES], new[SHOW_BYTES];

        printf("GPU %s is in the place of GPU %s, and serves no pool by that; see assign-gpu\n",
               show_member(pair, "by", new), show_member(pair, "gpu_id", old));
    }
}

static void print_driverless(const json_t *gpus)
{
    const json_t *gpu;
    size_t i;

    json_array_foreach (gpus, i, gpu) {
        char id[SHOW_BYTES], driver[SHOW_BYTES];

        if (!show_is(gpu, "source", "pci") || !show_is(gpu, "state", "present"))
            continue;
        printf("GPU %s is seen on the PCI bus only, kernel driver: %s; a pool can have it once "
               "NVIDIA's driver has it\n",
               show_member(gpu, "gpu_id", id), show_member(gpu, "driver", driver));
    }
}

static void print_failure(const json_t *result, const char *key, const char *what)
{
    char text[SHOW_SENTENCE_BYTES];

    if (json_is_string(json_object_get(result, key)))
        printf("%s: %s\n", what, show_sentence(result, key, text));
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

    gpu_table_print(result);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(notes); i++)
        if (json_array_size(json_object_get(result, notes[i].key)) > 0)
            printf("%s: GPU %s\n", notes[i].text, show_member(result, notes[i].key, ids));
    print_replaced(json_object_get(result, "replaced"));
    print_driverless(json_object_get(result, "gpus"));
    print_failure(result, "nvml_error", "NVML could not be asked, its GPUs stay as they were");
    print_failure(result, "pci_error", "the PCI bus could not be looked at");
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
