/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gpu_drain.h"

#include <stdio.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/pool_gpu.h"
#include "store/text.h"

/* The GPU as it is now becomes the result, and the change, if it is one, goes into the log. */
static int give_changed(struct store_call *call, int64_t gpu_id, json_t *old, struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    _cleanup_json_ json_t *shown = NULL;
    char key[24];
    int rc = gpu_load(call->store, gpu_id, &new, err);

    if (rc < 0)
        return rc;
    shown = json_copy(new);
    if (json_object_set(call->result, "gpu", shown) < 0)
        return database_no_memory(err);
    if ((rc = pool_gpu_add_pools(call->store, shown, err)) < 0 || json_equal(old, new))
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)gpu_id);
    return audit_record(call, "gpu", key, old, new, err);
}

/* reason NULL: it takes work again. */
static int set(struct store_call *call, int64_t gpu_id, const char *reason, struct vgpu_err *err)
{
    _cleanup_json_ json_t *old = NULL;
    int rc = gpu_load(call->store, gpu_id, &old, err);

    if (rc < 0)
        return rc;
    rc = reason ? database_run(call->store->db, err,
                               "UPDATE gpus SET drained = 1, drain_reason = ?2,"
                               " revision = revision + 1 WHERE gpu_id = ?1"
                               " AND (drained = 0 OR drain_reason IS NULL OR drain_reason <> ?2)",
                               "is", gpu_id, reason)
                : database_run(call->store->db, err,
                               "UPDATE gpus SET drained = 0, drain_reason = NULL,"
                               " revision = revision + 1 WHERE gpu_id = ?1 AND drained <> 0",
                               "i", gpu_id);
    return rc < 0 ? rc : give_changed(call, gpu_id, old, err);
}

int gpu_drain_command_drain(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"gpu_id", "reason", NULL};
    const char *reason = NULL;
    int64_t gpu_id = 0;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_integer(call->args, "gpu_id", true, 0, STORE_GPUS_MAX - 1, &gpu_id, err)) < 0 ||
        (rc = args_text(call->args, "reason", true, &reason, err)) < 0 ||
        (rc = text_check("the reason", reason, STORE_REASON_BYTES, err)) < 0)
        return rc;
    return set(call, gpu_id, reason, err);
}

int gpu_drain_command_resume(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"gpu_id", NULL};
    int64_t gpu_id = 0;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_integer(call->args, "gpu_id", true, 0, STORE_GPUS_MAX - 1, &gpu_id, err)) < 0)
        return rc;
    return set(call, gpu_id, NULL, err);
}
