/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin drain-gpu: let no new channel on a GPU; what is there goes on. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *gpu = json_object_get(result, "gpu");
    char id[SHOW_BYTES], reason[SHOW_SENTENCE_BYTES];

    printf("GPU %s%s takes no new channels: %s\n", show_member(gpu, "gpu_id", id),
           show_already(result), show_sentence(gpu, "drain_reason", reason));
}

static const struct command_option options[] = {
    COMMAND_GPU_OPTION,
    COMMAND_REASON_OPTION,
    {.name = NULL},
};

const struct command command_drain_gpu = {
    .name = "drain-gpu",
    .summary = "let no new channel on a GPU; those there go on",
    .positional = {"gpu_id"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
