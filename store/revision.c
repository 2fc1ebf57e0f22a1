/* SPDX-License-Identifier: Apache-2.0 */
#include "store/revision.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/pool.h"
#include "store/text.h"
#include "store/threshold_row.h"
#include "store/vm.h"

#define CHANGES_TOLD_MAX 3

/* The object that the arguments name, and how the audit log names it. */
struct subject {
    const char *object;
    char key[STORE_NAME_BYTES + 1];
    char shown[TEXT_SHOWN_BYTES + 8];
    json_t *row;
};

static int find_vm(struct store_call *call, struct subject *subject, struct vgpu_err *err)
{
    int rc = vm_resolve(call, &subject->row, err);

    if (rc < 0)
        return rc;
    subject->object = "vm";
    snprintf(subject->key, sizeof(subject->key), "%lld",
             (long long)json_integer_value(json_object_get(subject->row, "vm_id")));
    snprintf(subject->shown, sizeof(subject->shown), "VM %s", subject->key);
    return 0;
}

/* args: what has its name as "pool". */
static int find_pool(struct store_call *call, const json_t *args, struct subject *subject,
                     struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];
    const char *pool = NULL;
    int rc;

    if ((rc = args_text(args, "pool", true, &pool, err)) < 0 ||
        (rc = pool_load(call->store, pool, &subject->row, err)) < 0)
        return rc;
    subject->object = "pool";
    snprintf(subject->key, sizeof(subject->key), "%s", pool);
    snprintf(subject->shown, sizeof(subject->shown), "pool %s", text_show(shown, pool));
    return 0;
}

static int find_gpu(struct store_call *call, int64_t gpu_id, struct subject *subject,
                    struct vgpu_err *err)
{
    int rc = gpu_load(call->store, gpu_id, &subject->row, err);

    if (rc < 0)
        return rc;
    subject->object = "gpu";
    snprintf(subject->key, sizeof(subject->key), "%lld", (long long)gpu_id);
    snprintf(subject->shown, sizeof(subject->shown), "GPU %s", subject->key);
    return 0;
}

static int find_gpu_by_id(struct store_call *call, struct subject *subject, struct vgpu_err *err)
{
    int64_t gpu_id = 0;
    int rc = args_integer(call->args, "gpu_id", true, 0, STORE_GPUS_MAX - 1, &gpu_id, err);

    return rc < 0 ? rc : find_gpu(call, gpu_id, subject, err);
}

static int find_gpu_by_uuid(struct store_call *call, const json_t *args, struct subject *subject,
                            struct vgpu_err *err)
{
    _cleanup_json_ json_t *gpu = NULL;
    char shown[TEXT_SHOWN_BYTES];
    const char *uuid = NULL;
    int rc;

    if ((rc = args_text(args, "uuid", true, &uuid, err)) < 0 ||
        (rc = gpu_find_uuid(call->store, uuid, &gpu, err)) < 0)
        return rc;
    if (!gpu)
        return vgpu_err_set(err, ENOENT, "there is no GPU %s here", text_show(shown, uuid));
    return find_gpu(call, json_integer_value(json_object_get(gpu, "gpu_id")), subject, err);
}

/* args: what has its name as "name". */
static int find_threshold(struct store_call *call, const json_t *args, struct subject *subject,
                          struct vgpu_err *err)
{
    int rc = threshold_load(call->store, args, &subject->row, err);

    if (rc < 0)
        return rc;
    subject->object = "threshold";
    snprintf(subject->key, sizeof(subject->key), "%s",
             json_string_value(json_object_get(subject->row, "name")));
    snprintf(subject->shown, sizeof(subject->shown), "threshold %s", subject->key);
    return 0;
}

/* A VM of a configuration, which names it by its id only. */
static int find_vm_by_id(struct store_call *call, const json_t *args, struct subject *subject,
                         struct vgpu_err *err)
{
    _cleanup_json_ json_t *naming = json_pack("{s:O?}", "vm_id", json_object_get(args, "vm_id"));
    const json_t *whole = call->args;
    int rc;

    if (!naming)
        return database_no_memory(err);
    call->args = naming;
    rc = find_vm(call, subject, err);
    call->args = whole;
    return rc;
}

static int find_in_config(struct store_call *call, struct subject *subject, struct vgpu_err *err)
{
    const json_t *config = json_object_get(call->args, "config");
    const json_t *pools = json_object_get(config, "pools"), *vms = json_object_get(config, "vms");
    const json_t *gpus = json_object_get(config, "gpus");
    const json_t *rules = json_object_get(config, "thresholds");

    if (json_array_size(pools) + json_array_size(vms) + json_array_size(gpus) +
            json_array_size(rules) !=
        1)
        return vgpu_err_set(err, EINVAL, "if_revision needs a configuration of exactly one object");
    if (json_array_size(rules) == 1)
        return find_threshold(call, json_array_get(rules, 0), subject, err);
    if (json_array_size(pools) == 1)
        return find_pool(call, json_array_get(pools, 0), subject, err);
    if (json_array_size(vms) == 1)
        return find_vm_by_id(call, json_array_get(vms, 0), subject, err);
    return find_gpu_by_uuid(call, json_array_get(gpus, 0), subject, err);
}

static int find_subject(struct store_call *call, enum revision_object object,
                        struct subject *subject, struct vgpu_err *err)
{
    switch (object) {
    case REVISION_VM:
        return find_vm(call, subject, err);
    case REVISION_POOL:
        return find_pool(call, call->args, subject, err);
    case REVISION_GPU:
        return find_gpu_by_id(call, subject, err);
    case REVISION_THRESHOLD:
        return find_threshold(call, call->args, subject, err);
    case REVISION_CONFIG:
        return find_in_config(call, subject, err);
    default:
        return vgpu_err_set(err, EINVAL,
                            "%s is not about one object that is there already: it takes no"
                            " if_revision",
                            call->command);
    }
}

static int conflict(struct store_call *call, const struct subject *subject, int64_t now,
                    int64_t wanted, struct vgpu_err *err)
{
    struct text_list told = {.used = 0};
    int64_t since = now - wanted;
    int rc = audit_tell(call->store, subject->object, subject->key,
                        since < 1                  ? 1
                        : since > CHANGES_TOLD_MAX ? CHANGES_TOLD_MAX
                                                   : (size_t)since,
                        &told, err);

    if (rc < 0)
        return rc;
    return vgpu_err_set(err, ESTALE, "%s has revision %lld, not %lld; changed by: %s",
                        subject->shown, (long long)now, (long long)wanted,
                        told.items ? text_list_end(&told) : "nobody that the audit log still has");
}

int revision_check(struct store_call *call, enum revision_object object, int64_t revision,
                   struct vgpu_err *err)
{
    struct subject subject = {.row = NULL};
    _cleanup_json_ json_t *row = NULL;
    int64_t now;
    int rc = find_subject(call, object, &subject, err);

    row = subject.row;
    if (rc < 0)
        return rc;
    now = json_integer_value(json_object_get(row, "revision"));
    return now == revision ? 0 : conflict(call, &subject, now, revision, err);
}
