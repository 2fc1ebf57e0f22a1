/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin unassign-gpu: takes a GPU from a pool, or from all. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *gpu = json_object_get(result, "gpu");
    char id[SHOW_BYTES], pools[SHOW_BYTES];

    printf("GPU %s%s serves: %s\n", show_member(gpu, "gpu_id", id), show_already(result),
           show_member(gpu, "pools", pools));
}

static const struct command_option options[] = {
    COMMAND_GPU_OPTION,
    {.name = "pool",
     .kind = OPTION_TEXT,
     .metavar = "POOL",
     .key = "pool",
     .help = "only from this pool"},
    {.name = NULL},
};

const struct command command_unassign_gpu = {
    .name = "unassign-gpu",
    .summary = "take a GPU from a pool, or from all",
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
