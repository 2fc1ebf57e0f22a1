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

#define DEVICE_INDEX_MAX 65535

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

int gpu_check_usable(struct store *store, int64_t gpu_id, struct vgpu_err *err)
{
    _cleanup_json_ json_t *gpu = NULL;
    char shown[TEXT_SHOWN_BYTES];
    const char *driver;
    int rc = gpu_load(store, gpu_id, &gpu, err);

    if (rc < 0 || strcmp(json_string_value(json_object_get(gpu, "source")), "pci") != 0)
        return rc;
    driver = json_string_value(json_object_get(gpu, "driver"));
    return vgpu_err_set(err, EINVAL,
                        "GPU %lld is known from the PCI bus only (kernel driver: %s); it can serve"
                        " a pool once NVIDIA's driver has it and scan-gpus finds it through NVML",
                        (long long)gpu_id, driver ? text_show(shown, driver) : "none");
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

/* One GPU of a scan, checked. */
struct found {
    int64_t index;
    const char *uuid;
    const char *pci;
    const char *model;
    int64_t memory_bytes;
};

static int read_found(const json_t *item, struct found *ret_found, struct vgpu_err *err)
{
    struct found found = {.uuid = NULL};
    int rc;

    if (!json_is_object(item))
        return vgpu_err_set(err, EINVAL, "an element of 'gpus' is not an object");
    if ((rc = args_integer(item, "index", true, 0, DEVICE_INDEX_MAX, &found.index, err)) < 0 ||
        (rc = args_text(item, "uuid", true, &found.uuid, err)) < 0 ||
        (rc = args_text(item, "pci", true, &found.pci, err)) < 0 ||
        (rc = args_text(item, "model", true, &found.model, err)) < 0 ||
        (rc = args_integer(item, "memory_bytes", true, 0, INT64_MAX, &found.memory_bytes, err)) <
            0 ||
        (rc = text_check("the UUID of the GPU", found.uuid, STORE_GPU_UUID_BYTES, err)) < 0 ||
        (rc = text_check("the PCI address", found.pci, STORE_PCI_BYTES, err)) < 0 ||
        (rc = text_check("the model", found.model, STORE_NAME_BYTES, err)) < 0)
        return rc;
    *ret_found = found;
    return 0;
}

/* Reads all before anything is written, and refuses a scan that names a UUID twice. */
static int read_scan(const json_t *gpus, struct found found[STORE_GPUS_MAX], struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];
    size_t i;
    const json_t *item;
    int rc;

    if (!json_is_array(gpus))
        return vgpu_err_set(err, EINVAL, "the argument 'gpus' is not an array");
    if (json_array_size(gpus) > STORE_GPUS_MAX)
        return vgpu_err_set(err, ENOSPC, "the scan has %zu GPUs; at most %d are allowed",
                            json_array_size(gpus), STORE_GPUS_MAX);
    json_array_foreach (gpus, i, item) {
        if ((rc = read_found(item, &found[i], err)) < 0)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (strcmp(found[i].uuid, found[j].uuid) == 0)
                return vgpu_err_set(err, EINVAL, "the scan has the UUID %s twice",
                                    text_show(shown, found[i].uuid));
    }
    return 0;
}

int gpu_find_uuid(struct store *store, const char *uuid, json_t **ret_gpu, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err, "SELECT " COLUMNS " FROM gpus WHERE uuid = ?1",
                            "s", uuid);

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc <= 0)
        return rc;
    *ret_gpu = row_json(row);
    return *ret_gpu ? 0 : database_no_memory(err);
}

static int note(struct store_call *call, const char *list, int64_t gpu_id, struct vgpu_err *err)
{
    json_t *ids = json_object_get(call->result, list);

    return json_array_append_new(ids, json_integer(gpu_id)) < 0 ? database_no_memory(err) : 0;
}

/* Writes the change that turned old (NULL: nothing) into the row as it is now to the log. */
static int record_change(struct store_call *call, int64_t gpu_id, json_t *old, struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    char key[24];
    int rc = gpu_load(call->store, gpu_id, &new, err);

    if (rc < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)gpu_id);
    return audit_record(call, "gpu", key, old, new, err);
}

static int add(struct store_call *call, const struct found *found, struct vgpu_err *err)
{
    int64_t gpu_id;
    int rc =
        database_integer(call->store->db, &gpu_id, err, "SELECT max(gpu_id) + 1 FROM gpus", "");

    if (rc < 0)
        return rc;
    if (gpu_id >= STORE_GPUS_MAX)
        return vgpu_err_set(err, ENOSPC, "%d GPUs have been seen already, the most that are kept",
                            STORE_GPUS_MAX);
    if ((rc = database_run(call->store->db, err,
                           "INSERT INTO gpus (gpu_id, uuid, pci, model, memory_bytes, device_index,"
                           " state, first_seen, last_seen)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'present', ?7, ?7)",
                           "isssiii", gpu_id, found->uuid, found->pci, found->model,
                           found->memory_bytes, found->index, call->now)) < 0 ||
        (rc = note(call, "added", gpu_id, err)) < 0)
        return rc;
    return record_change(call, gpu_id, NULL, err);
}

static bool text_differs(const json_t *gpu, const char *key, const char *value)
{
    return strcmp(json_string_value(json_object_get(gpu, key)), value) != 0;
}

static bool integer_differs(const json_t *gpu, const char *key, int64_t value)
{
    const json_t *old = json_object_get(gpu, key);

    return !json_is_integer(old) || json_integer_value(old) != value;
}

static int update(struct store_call *call, json_t *old, const struct found *found,
                  struct vgpu_err *err)
{
    int64_t gpu_id = json_integer_value(json_object_get(old, "gpu_id"));
    bool returned = text_differs(old, "state", "present");
    bool moved = text_differs(old, "pci", found->pci);
    bool other = text_differs(old, "model", found->model) ||
                 integer_differs(old, "memory_bytes", found->memory_bytes) ||
                 integer_differs(old, "index", found->index);
    int rc = database_run(call->store->db, err,
                          "UPDATE gpus SET pci = ?2, model = ?3, memory_bytes = ?4,"
                          " device_index = ?5, state = 'present', last_seen = ?6,"
                          " revision = revision + ?7 WHERE gpu_id = ?1",
                          "issiiii", gpu_id, found->pci, found->model, found->memory_bytes,
                          found->index, call->now, (int64_t)(returned || moved || other));

    if (rc == 0 && returned)
        rc = note(call, "returned", gpu_id, err);
    if (rc == 0 && moved)
        rc = note(call, "moved", gpu_id, err);
    if (rc < 0 || !(returned || moved || other))
        return rc;
    return record_change(call, gpu_id, old, err);
}

static bool was_found(const json_t *gpu, const struct found *found, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!text_differs(gpu, "uuid", found[i].uuid))
            return true;
    return false;
}

/* Marks what the scan did not find. */
static int mark_missing(struct store_call *call, const struct found *found, size_t count,
                        struct vgpu_err *err)
{
    _cleanup_json_ json_t *gpus = NULL;
    json_t *gpu;
    size_t i;
    int rc = gpu_list(call->store, false, &gpus, err);

    if (rc < 0)
        return rc;
    json_array_foreach (gpus, i, gpu) {
        int64_t gpu_id = json_integer_value(json_object_get(gpu, "gpu_id"));

        if (text_differs(gpu, "state", "present") || was_found(gpu, found, count))
            continue;
        if ((rc = database_run(call->store->db, err,
                               "UPDATE gpus SET state = 'missing', device_index = NULL,"
                               " revision = revision + 1 WHERE gpu_id = ?1",
                               "i", gpu_id)) < 0 ||
            (rc = note(call, "missing", gpu_id, err)) < 0 ||
            (rc = record_change(call, gpu_id, gpu, err)) < 0)
            return rc;
    }
    return 0;
}

static int by_index(const void *a, const void *b)
{
    const struct found *left = a, *right = b;

    return (left->index > right->index) - (left->index < right->index);
}

static int give_list(struct store_call *call, struct vgpu_err *err)
{
    json_t *gpus = NULL;
    int rc = gpu_list(call->store, true, &gpus, err);

    if (rc < 0)
        return rc;
    return json_object_set_new(call->result, "gpus", gpus) < 0 ? database_no_memory(err) : 0;
}

int gpu_command_record(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"gpus", NULL};
    static const char *const lists[] = {"added", "missing", "returned", "moved"};
    struct found found[STORE_GPUS_MAX];
    const json_t *gpus = json_object_get(call->args, "gpus");
    size_t count = json_array_size(gpus);
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 || (rc = read_scan(gpus, found, err)) < 0)
        return rc;
    qsort(found, count, sizeof(found[0]), by_index);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(lists); i++)
        if (json_object_set_new(call->result, lists[i], json_array()) < 0)
            return database_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        _cleanup_json_ json_t *old = NULL;

        if ((rc = gpu_find_uuid(call->store, found[i].uuid, &old, err)) < 0)
            return rc;
        rc = old ? update(call, old, &found[i], err) : add(call, &found[i], err);
        if (rc < 0)
            return rc;
    }
    if ((rc = mark_missing(call, found, count, err)) < 0)
        return rc;
    return give_list(call, err);
}

int gpu_command_list(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {NULL};
    int rc = args_known(call->args, known, err);

    return rc < 0 ? rc : give_list(call, err);
}
