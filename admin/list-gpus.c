/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-gpus: the GPUs that scans have found. */
#include "admin/commands.h"
#include "admin/gpu_table.h"

static void print(const json_t *result)
{
    gpu_table_print(result);
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_list_gpus = {
    .name = "list-gpus",
    .summary = "list the GPUs that scans have found",
    .options = options,
    .print = print,
};
