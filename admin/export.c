/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin export: the whole configuration as one file, for import. */
#include "admin/client.h"
#include "admin/commands.h"

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_export = {
    .name = "export",
    .summary = "print the whole configuration, for a file that import reads",
    .options = options,
    .print = client_print_json,
};
