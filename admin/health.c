/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin health: how the GPUs are, and why one is not well. Only a mediator knows. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#include "admin/commands.h"
#include "admin/show.h"
#include "admin/table.h"

static const struct table_column columns[] = {
    {"GPU", .right = true},     {"MODEL", .shrink = true}, {"STATE", .state = true},
    {"C", .right = true},       {"MEM C", .right = true},  {"UTIL%", .right = true},
    {"POWER W", .right = true}, {"SM MHZ", .right = true}, {"ECC +/-", .right = true},
    {"ROWS", .right = true},    {"XID", .right = true},    {"RESETS", .right = true},
};

/* "-" for what is not known. */
static bool add_number(struct table *table, const json_t *gpu, const char *key)
{
    const json_t *value = json_object_get(gpu, key);

    return json_is_number(value) ? table_add(table, "%.0f", json_number_value(value))
                                 : table_add(table, "-");
}

static bool add_pair(struct table *table, const json_t *gpu, const char *first, const char *second)
{
    const json_t *a = json_object_get(gpu, first), *b = json_object_get(gpu, second);

    if (!json_is_number(a) || !json_is_number(b))
        return table_add(table, "-");
    return table_add(table, "%.0f/%.0f", json_number_value(a), json_number_value(b));
}

static bool add_row(struct table *table, const json_t *gpu)
{
    return table_add_json(table, json_object_get(gpu, "gpu_id")) &&
           table_add_json(table, json_object_get(gpu, "model")) &&
           table_add_json(table, json_object_get(gpu, "state")) &&
           add_number(table, gpu, "temperature") && add_number(table, gpu, "temperature_memory") &&
           add_number(table, gpu, "utilization") &&
           add_pair(table, gpu, "power_w", "power_limit_w") &&
           add_number(table, gpu, "clock_sm_mhz") &&
           add_pair(table, gpu, "ecc_corrected", "ecc_uncorrected") &&
           add_number(table, gpu, "remapped_rows") && add_number(table, gpu, "last_xid") &&
           add_number(table, gpu, "resets");
}

static void print_reasons(const json_t *gpu)
{
    const json_t *reasons = json_object_get(gpu, "reasons");
    char id[SHOW_BYTES], state[SHOW_BYTES];
    size_t i;

    if (json_array_size(reasons) == 0)
        return;
    printf("GPU %s is %s:\n", show_member(gpu, "gpu_id", id), show_member(gpu, "state", state));
    for (i = 0; i < json_array_size(reasons); i++) {
        char reason[SHOW_SENTENCE_BYTES];
        json_t *one = json_pack("{s:O}", "text", json_array_get(reasons, i));

        printf("  %s\n", show_sentence(one, "text", reason));
        json_decref(one);
    }
}

static void print(const json_t *result)
{
    const json_t *gpus = json_object_get(result, "gpus"), *gpu;
    size_t i;

    if (json_array_size(gpus) == 0) {
        puts("no GPUs; look for them with: vgpu-admin scan-gpus");
        return;
    }
    table_print_rows(gpus, columns, VGPU_ARRAY_SIZE(columns), add_row);
    json_array_foreach (gpus, i, gpu)
        print_reasons(gpu);
}

static const struct command_option options[] = {
    {.name = NULL},
};

const struct command command_health = {
    .name = "health",
    .summary = "show how the GPUs are, and why one is not well",
    .needs_mediator = true,
    .options = options,
    .print = print,
};
