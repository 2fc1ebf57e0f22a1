/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/gpu_table.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "admin/show.h"
#include "admin/table.h"
#include "common/cleanup.h"

static const struct table_column columns[] = {
    {"ID", .right = true},      {"MODEL", .shrink = true},
    {"MEMORY", .right = true},  {"PCI"},
    {"NUMA", .right = true},    {"MIG"},
    {"DRIVER", .shrink = true}, {"STATE", .state = true},
    {"POOLS", .shrink = true},  {"UUID"},
};

/* The bus does not tell how much memory a GPU has. */
static const char *memory(const json_t *gpu, char text[SHOW_BYTES])
{
    const json_t *bytes = json_object_get(gpu, "memory_bytes");

    return show_bytes(json_integer_value(bytes) > 0 ? bytes : NULL, text);
}

static const char *mig(const json_t *gpu)
{
    return show_is(gpu, "mig_mode", "enabled")    ? "on"
           : show_is(gpu, "mig_mode", "disabled") ? "off"
                                                  : "-";
}

static const char *state(const json_t *gpu)
{
    return show_is(gpu, "state", "missing") ? "missing"
           : show_is(gpu, "source", "pci")  ? "no driver"
                                            : "present";
}

static bool add_row(struct table *table, const json_t *gpu)
{
    char text[SHOW_BYTES];

    return table_add_json(table, json_object_get(gpu, "gpu_id")) &&
           table_add_json(table, json_object_get(gpu, "model")) &&
           table_add(table, "%s", memory(gpu, text)) &&
           table_add_json(table, json_object_get(gpu, "pci")) &&
           table_add_json(table, json_object_get(gpu, "numa_node")) &&
           table_add(table, "%s", mig(gpu)) &&
           table_add_json(table, json_object_get(gpu, "driver")) &&
           table_add(table, "%s", state(gpu)) &&
           table_add_json(table, json_object_get(gpu, "pools")) &&
           table_add_json(table, json_object_get(gpu, "uuid"));
}

static void print_table(const json_t *gpus)
{
    table_print_rows(gpus, columns, VGPU_ARRAY_SIZE(columns), add_row);
}

static bool serves(const json_t *gpu, const char *pool)
{
    const json_t *pools = json_object_get(gpu, "pools"), *name;
    size_t i;

    json_array_foreach (pools, i, name)
        if (strcmp(json_string_value(name) ? json_string_value(name) : "", pool) == 0)
            return true;
    return false;
}

/* "pool A has 1 of its 2 GPUs; missing: GPU 1 (last seen 2026-09-21 13:33:20 UTC)" */
static void print_affected(const json_t *pool, const json_t *gpus)
{
    const char *name = json_string_value(json_object_get(pool, "pool"));
    const char *before = "; missing: ";
    char shown[SHOW_BYTES], present[SHOW_BYTES], all[SHOW_BYTES];
    const json_t *gpu;
    size_t i;

    printf("pool %s has %s of its %s GPUs", show_member(pool, "pool", shown),
           show_member(pool, "present", present), show_member(pool, "gpus", all));
    json_array_foreach (gpus, i, gpu) {
        if (!name || !show_is(gpu, "state", "missing") || !serves(gpu, name))
            continue;
        printf("%sGPU %s", before, show_member(gpu, "gpu_id", shown));
        printf(" (last seen %s)", show_time(json_object_get(gpu, "last_seen"), shown));
        before = ", ";
    }
    putchar('\n');
}

void gpu_table_print(const json_t *result)
{
    const json_t *gpus = json_object_get(result, "gpus");
    const json_t *pools = json_object_get(result, "affected_pools"), *pool;
    size_t i;

    if (json_array_size(gpus) == 0) {
        puts("no GPUs; look for them with: vgpu-admin scan-gpus");
        return;
    }
    print_table(gpus);
    json_array_foreach (pools, i, pool)
        print_affected(pool, gpus);
}
