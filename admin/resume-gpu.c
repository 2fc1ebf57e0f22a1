/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin resume-gpu: let a GPU that was drained take channels again. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    char id[SHOW_BYTES];

    printf("GPU %s is%s not drained\n", show_member(json_object_get(result, "gpu"), "gpu_id", id),
           json_is_true(json_object_get(result, "changed")) ? "" : " (and was)");
}

static const struct command_option options[] = {
    COMMAND_GPU_OPTION,
    {.name = NULL},
};

const struct command command_resume_gpu = {
    .name = "resume-gpu",
    .summary = "let a GPU take channels again, errors so far accepted",
    .positional = {"gpu_id"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
