/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin set-threshold: change what of a GPU's health triggers what. */
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"

static void print(const json_t *result)
{
    const json_t *threshold = json_object_get(result, "threshold");
    char name[SHOW_BYTES], action[SHOW_BYTES], unit[SHOW_BYTES];

    printf("%s is%s %g (%s): %s\n", show_member(threshold, "name", name), show_already(result),
           json_number_value(json_object_get(threshold, "value")),
           show_member(threshold, "unit", unit), show_member(threshold, "action", action));
}

static const struct command_option options[] = {
    {.name = "name",
     .kind = OPTION_TEXT,
     .metavar = "NAME",
     .key = "name",
     .help = "the threshold, as list-thresholds shows it",
     .required = true},
    {.name = "value",
     .kind = OPTION_NUMBER,
     .metavar = "NUMBER",
     .key = "value",
     .help = "where it is reached; in force at once"},
    {.name = "action",
     .kind = OPTION_TEXT,
     .metavar = "ACTION",
     .key = "action",
     .help = "ignore, warn, drain (no new channels) or stop (nor leases)"},
    {.name = NULL},
};

const struct command command_set_threshold = {
    .name = "set-threshold",
    .summary = "change what of a GPU's health triggers what",
    .positional = {"name", "value", "action"},
    .effect = COMMAND_REVISES,
    .options = options,
    .print = print,
};
