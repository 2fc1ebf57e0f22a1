/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin list-thresholds: what of a GPU's health triggers what. */
#include <stdint.h>
#include <stdio.h>

#include "admin/commands.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"THRESHOLD"}, {"VALUE", .right = true}, {"UNIT"}, {"ACTION"},
    {"DEFAULT"},   {"OF", .shrink = true},
};

static bool add_row(struct table *table, const json_t *threshold)
{
    const char *action = json_string_value(json_object_get(threshold, "default_action"));

    return table_add_json(table, json_object_get(threshold, "name")) &&
           table_add(table, "%g", json_number_value(json_object_get(threshold, "value"))) &&
           table_add_json(table, json_object_get(threshold, "unit")) &&
           table_add_json(table, json_object_get(threshold, "action")) &&
           table_add(table, "%g %s", json_number_value(json_object_get(threshold, "default_value")),
                     action ? action : "-") &&
           table_add_json(table, json_object_get(threshold, "title"));
}

static void print(const json_t *result)
{
    const json_t *list = json_object_get(result, "thresholds");

    table_print_rows(list, columns, VGPU_ARRAY_SIZE(columns), add_row);
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_list_thresholds = {
    .name = "list-thresholds",
    .summary = "list what of a GPU's health triggers what",
    .options = options,
    .print = print,
};
