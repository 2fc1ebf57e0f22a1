/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/gpu_table.h"

#include <stdint.h>
#include <stdio.h>

#include "admin/show.h"
#include "admin/table.h"
#include "common/cleanup.h"

static const struct table_column columns[] = {
    {"ID", .right = true},
    {"MODEL", .shrink = true},
    {"MEMORY", .right = true},
    {"PCI"},
    {"STATE", .state = true},
    {"POOLS", .shrink = true},
    {"UUID"},
};

static bool add_row(struct table *table, const json_t *gpu)
{
    char memory[SHOW_BYTES];

    return table_add_json(table, json_object_get(gpu, "gpu_id")) &&
           table_add_json(table, json_object_get(gpu, "model")) &&
           table_add(table, "%s", show_bytes(json_object_get(gpu, "memory_bytes"), memory)) &&
           table_add_json(table, json_object_get(gpu, "pci")) &&
           table_add_json(table, json_object_get(gpu, "state")) &&
           table_add_json(table, json_object_get(gpu, "pools")) &&
           table_add_json(table, json_object_get(gpu, "uuid"));
}

void gpu_table_print(const json_t *gpus)
{
    struct table table;
    const json_t *gpu;
    size_t i;

    if (json_array_size(gpus) == 0) {
        puts("no GPUs; look for them with: vgpu-admin scan-gpus");
        return;
    }
    table_init(&table, columns, VGPU_ARRAY_SIZE(columns));
    json_array_foreach (gpus, i, gpu)
        if (!add_row(&table, gpu))
            break;
    table_print(&table, SIZE_MAX, SIZE_MAX);
    table_release(&table);
}
