/* SPDX-License-Identifier: Apache-2.0 */
#include "store/import_gpu.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/pool.h"
#include "store/pool_gpu.h"
#include "store/text.h"

static bool has_text(const json_t *list, const char *text)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        if (strcmp(json_string_value(item), text) == 0)
            return true;
    return false;
}

static int64_t id_of(const json_t *gpu)
{
    return json_integer_value(json_object_get(gpu, "gpu_id"));
}

static int change_pools(struct store_call *call, const json_t *old, const json_t *wanted,
                        struct vgpu_err *err)
{
    const json_t *was = json_object_get(old, "pools"), *is = json_object_get(wanted, "pools");
    const json_t *item;
    int64_t gpu_id = id_of(old);
    size_t i;
    int rc;

    json_array_foreach (was, i, item)
        if (!has_text(is, json_string_value(item)) &&
            (rc = pool_gpu_remove(call, json_string_value(item), gpu_id, err)) < 0)
            return rc;
    json_array_foreach (is, i, item) {
        const char *pool = json_string_value(item);

        if (has_text(was, pool))
            continue;
        if ((rc = pool_exists(call->store, pool, err)) < 0 ||
            (rc = gpu_check_usable(call->store, gpu_id, err)) < 0 ||
            (rc = pool_gpu_add(call, pool, gpu_id, err)) < 0)
            return rc;
    }
    return 0;
}

/* A revision of its own, after those of its pools. */
static int change_drain(struct store_call *call, int64_t gpu_id, const json_t *wanted,
                        struct vgpu_err *err)
{
    const char *reason = json_string_value(json_object_get(wanted, "drain_reason"));
    bool drained = json_is_true(json_object_get(wanted, "drained"));
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *new = NULL;
    char key[24];
    int rc;

    if ((rc = gpu_load(call->store, gpu_id, &old, err)) < 0 ||
        (rc = database_run(call->store->db, err,
                           "UPDATE gpus SET drained = ?2, drain_reason = ?3,"
                           " revision = revision + 1 WHERE gpu_id = ?1",
                           "iis", gpu_id, (int64_t)drained, reason)) < 0 ||
        (rc = gpu_load(call->store, gpu_id, &new, err)) < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)gpu_id);
    return audit_record(call, "gpu", key, old, new, err);
}

/* A reason goes with what it is the reason of. */
static int complete_reason(const json_t *given, json_t *wanted, struct vgpu_err *err)
{
    if (json_is_true(json_object_get(wanted, "drained")) ||
        json_is_null(json_object_get(wanted, "drain_reason")))
        return 0;
    if (json_is_string(json_object_get(given, "drain_reason")))
        return vgpu_err_set(err, EINVAL, "it has a drain_reason, but is not drained");
    return json_object_set_new(wanted, "drain_reason", json_null()) < 0 ? database_no_memory(err)
                                                                        : 0;
}

/* old: with its pools. */
static int change(struct store_call *call, const json_t *old, const json_t *wanted,
                  struct vgpu_err *err)
{
    int rc = change_pools(call, old, wanted, err);

    if (rc < 0 ||
        (json_equal(json_object_get(old, "drained"), json_object_get(wanted, "drained")) &&
         json_equal(json_object_get(old, "drain_reason"), json_object_get(wanted, "drain_reason"))))
        return rc;
    return change_drain(call, id_of(old), wanted, err);
}

int import_gpu(struct import *import, const json_t *given, struct vgpu_err *err)
{
    struct store *store = import->call->store;
    _cleanup_json_ json_t *old = NULL;
    _cleanup_json_ json_t *wanted = NULL;
    char shown[TEXT_SHOWN_BYTES];
    const char *uuid = NULL;
    int rc;

    if ((rc = args_text(given, "uuid", true, &uuid, err)) < 0 ||
        (rc = gpu_find_uuid(store, uuid, &old, err)) < 0)
        return rc;
    if (!old)
        return vgpu_err_set(err, ENOENT,
                            "there is no GPU %s here; look for it with: vgpu-admin scan-gpus",
                            text_show(shown, uuid));
    if ((rc = pool_gpu_add_pools(store, old, err)) < 0 ||
        (rc = import_wanted(&intent_gpus, given, old, NULL, &wanted, err)) < 0 ||
        (rc = complete_reason(given, wanted, err)) < 0)
        return rc;
    return change(import->call, old, wanted, err);
}

static bool is_named(const json_t *named, const char *uuid)
{
    const json_t *item;
    size_t i;

    json_array_foreach (named, i, item)
        if (strcmp(json_string_value(json_object_get(item, "uuid")), uuid) == 0)
            return true;
    return false;
}

int import_gpu_prune(struct import *import, const json_t *named, struct vgpu_err *err)
{
    _cleanup_json_ json_t *nothing =
        json_pack("{s:[], s:b, s:n}", "pools", "drained", 0, "drain_reason");
    _cleanup_json_ json_t *gpus = NULL;
    const json_t *gpu;
    size_t i;
    int rc = nothing ? gpu_list(import->call->store, true, &gpus, err) : database_no_memory(err);

    if (rc < 0)
        return rc;
    json_array_foreach (gpus, i, gpu)
        if (!is_named(named, json_string_value(json_object_get(gpu, "uuid"))) &&
            (rc = change(import->call, gpu, nothing, err)) < 0)
            return rc;
    return 0;
}
