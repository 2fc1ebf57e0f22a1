/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gpu.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/pool_gpu.h"
#include "store/text.h"

#define COLUMNS                                                                                    \
    "gpu_id, uuid, pci, model, memory_bytes, device_index AS \"index\", state, numa_node, "        \
    "mig_mode,"                                                                                    \
    " driver, source, drained, drain_reason, revision, first_seen, last_seen"

static json_t *row_json(sqlite3_stmt *row)
{
    json_t *gpu = statement_json(row);

    return statement_flag(gpu, "drained");
}

static int not_found(struct store *store, int64_t gpu_id, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    struct text_list have = {.used = 0};
    int rc = statement_open(store->db, &row, err, "SELECT gpu_id FROM gpus ORDER BY gpu_id", "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0)
        text_list_add(&have, statement_text(row, 0));
    if (rc < 0)
        return rc;
    return vgpu_err_set(err, ENOENT,
                        "GPU %lld does not exist (have: %s); look for GPUs with: vgpu-admin "
                        "scan-gpus",
                        (long long)gpu_id, text_list_end(&have));
}

int gpu_load(struct store *store, int64_t gpu_id, json_t **ret_gpu, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err, "SELECT " COLUMNS " FROM gpus WHERE gpu_id = ?1",
                            "i", gpu_id);

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return not_found(store, gpu_id, err);
    *ret_gpu = row_json(row);
    return *ret_gpu ? 0 : database_no_memory(err);
}

/* What an administrator can do about a GPU that NVML does not see. */
static void advise(const char *driver, char *text, size_t size)
{
    if (!driver)
        snprintf(text, size, "no kernel driver has it: load NVIDIA's (modprobe nvidia)");
    else if (strcmp(driver, "nvidia") == 0)
        snprintf(text, size, "NVIDIA's driver has it, and NVML does not show it: see dmesg");
    else
        snprintf(text, size,
                 "the kernel driver %s has it: take it from that (driverctl, or unbind in "
                 "/sys/bus/pci/drivers/%s) and load NVIDIA's",
                 driver, driver);
}

int gpu_find_uuid(struct store *store, const char *uuid, json_t **ret_gpu, struct vgpu_err *err)
{
    int64_t gpu_id = 0;
    int rc = database_integer(store->db, &gpu_id, err,
                              "SELECT gpu_id + 1 FROM gpus WHERE uuid = ?1", "s", uuid);

    return rc < 0 || gpu_id == 0 ? rc : gpu_load(store, gpu_id - 1, ret_gpu, err);
}

int gpu_check_usable(struct store *store, int64_t gpu_id, struct vgpu_err *err)
{
    _cleanup_json_ json_t *gpu = NULL;
    char advice[320];
    int rc = gpu_load(store, gpu_id, &gpu, err);

    if (rc < 0 || strcmp(json_string_value(json_object_get(gpu, "source")), "pci") != 0)
        return rc;
    advise(json_string_value(json_object_get(gpu, "driver")), advice, sizeof(advice));
    return vgpu_err_set(err, EINVAL,
                        "GPU %lld is known from the PCI bus only; %s; then scan-gpus shows it as "
                        "a GPU that a pool can have",
                        (long long)gpu_id, advice);
}

int gpu_list(struct store *store, bool with_pools, json_t **ret_gpus, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    _cleanup_json_ json_t *gpus = json_array();
    int rc =
        statement_open(store->db, &row, err, "SELECT " COLUMNS " FROM gpus ORDER BY gpu_id", "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        json_t *gpu = row_json(row);

        if (json_array_append_new(gpus, gpu) < 0)
            return database_no_memory(err);
        if (with_pools && (rc = pool_gpu_add_pools(store, gpu, err)) < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    *ret_gpus = vgpu_steal_ptr(&gpus);
    return 0;
}

/* Pools that a GPU is missing from: how many they have, and how many of them are there. */
static int add_affected_pools(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    json_t *pools = json_array();
    int rc;

    if (json_object_set_new(call->result, "affected_pools", pools) < 0)
        return database_no_memory(err);
    rc = statement_open(call->store->db, &row, err,
                        "SELECT pool, count(*) AS gpus, sum(state = 'present') AS present"
                        " FROM pool_gpus JOIN gpus USING (gpu_id) GROUP BY pool"
                        " HAVING sum(state = 'present') < count(*) ORDER BY pool",
                        "");
    while (rc >= 0 && (rc = statement_step(row, err)) > 0)
        if (json_array_append_new(pools, statement_json(row)) < 0)
            return database_no_memory(err);
    return rc;
}

int gpu_give_list(struct store_call *call, struct vgpu_err *err)
{
    json_t *gpus = NULL;
    int rc = gpu_list(call->store, true, &gpus, err);

    if (rc < 0)
        return rc;
    if (json_object_set_new(call->result, "gpus", gpus) < 0)
        return database_no_memory(err);
    return add_affected_pools(call, err);
}

int gpu_command_list(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {NULL};
    int rc = args_known(call->args, known, err);

    return rc < 0 ? rc : gpu_give_list(call, err);
}
