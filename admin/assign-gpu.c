/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin assign-gpu: lets a GPU serve a pool. */
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
     .help = "the pool that it shall serve",
     .required = true},
    {.name = NULL},
};

const struct command command_assign_gpu = {
    .name = "assign-gpu",
    .summary = "let a GPU serve a pool",
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
