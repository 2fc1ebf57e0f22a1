/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order matters: VMs that go make room first, pools are there before what refers to them and
 * go after it, and limits hold in the end, whatever was in between.
 */
#include "store/import.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/gpu.h"
#include "store/import_gpu.h"
#include "store/import_row.h"
#include "store/import_threshold.h"
#include "store/intent.h"
#include "store/pool.h"
#include "store/pool_gpu.h"
#include "store/text.h"
#include "store/threshold_row.h"
#include "store/vm.h"

static int check_list(const struct intent *intent, const json_t *list, struct vgpu_err *err)
{
    const json_t *item;
    size_t i;

    if (!list)
        return 0;
    if (!json_is_array(list))
        return vgpu_err_set(err, EINVAL, "%s is not an array", intent->list);
    if (json_array_size(list) > intent->most)
        return vgpu_err_set(err, ENOSPC, "%s has %zu objects; at most %zu are allowed",
                            intent->list, json_array_size(list), intent->most);
    json_array_foreach (list, i, item)
        if (!json_is_object(item))
            return vgpu_err_set(err, EINVAL, "%s[%zu] is not an object", intent->list, i);
    return 0;
}

static const struct intent *const intents[] = {&intent_pools, &intent_vms, &intent_gpus,
                                               &intent_thresholds};

/* The outermost members; none is missing but lists. */
static int check_config(const json_t *config, struct vgpu_err *err)
{
    static const char *const known[] = {"format", "pools", "vms", "gpus", "thresholds", NULL};
    const json_t *format = json_object_get(config, "format");
    int rc;

    if (!json_is_object(config))
        return vgpu_err_set(err, EINVAL, "'config' is not an object");
    if (!json_is_integer(format))
        return vgpu_err_set(err, EINVAL, "it does not say its format");
    if (json_integer_value(format) != INTENT_FORMAT)
        return vgpu_err_set(err, EINVAL, "it has format %lld, this program knows %d only",
                            (long long)json_integer_value(format), INTENT_FORMAT);
    if ((rc = args_known(config, known, err)) < 0)
        return rc;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(intents); i++)
        if ((rc = check_list(intents[i], json_object_get(config, intents[i]->list), err)) < 0)
            return rc;
    return 0;
}

/* Each object says which it is, once. */
static int check_keys(const struct intent *intent, const json_t *list, struct vgpu_err *err)
{
    const char *key = intent->members[0].name;
    _cleanup_json_ json_t *seen = json_object();
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item) {
        _cleanup_free_ char *text =
            json_dumps(json_object_get(item, key), JSON_ENCODE_ANY | JSON_COMPACT);
        const json_t *other;

        if (!text || json_is_null(json_object_get(item, key)))
            return vgpu_err_set(err, EINVAL, "%s[%zu] has no %s", intent->list, i, key);
        other = json_object_get(seen, text);
        if (other)
            return vgpu_err_set(err, EINVAL, "%s[%lld] and %s[%zu] have the same %s", intent->list,
                                (long long)json_integer_value(other), intent->list, i, key);
        if (json_object_set_new(seen, text, json_integer((json_int_t)i)) < 0)
            return database_no_memory(err);
    }
    return 0;
}

/* What is not in the list of the configuration that names it. */
static bool has(const json_t *list, const char *key, const json_t *value)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        if (json_equal(json_object_get(item, key), value))
            return true;
    return false;
}

/* A pool that pruning removes is as good as not there. */
static int check_reference(const json_t *pools, const json_t *pool, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    if (!json_is_string(pool) || has(pools, "pool", pool))
        return 0;
    return vgpu_err_set(err, ENOENT, "pool %s is not in 'pools', and is removed then",
                        text_show(shown, json_string_value(pool)));
}

static int check_references(const json_t *config, struct vgpu_err *err)
{
    const json_t *pools = json_object_get(config, "pools"), *item, *pool;
    size_t i, j;
    int rc;

    json_array_foreach (json_object_get(config, "vms"), i, item)
        if ((rc = check_reference(pools, json_object_get(item, "pool"), err)) < 0)
            return import_place(&intent_vms, i, rc, err);
    json_array_foreach (json_object_get(config, "gpus"), i, item)
        json_array_foreach (json_object_get(item, "pools"), j, pool)
            if ((rc = check_reference(pools, pool, err)) < 0)
                return import_place(&intent_gpus, i, rc, err);
    return 0;
}

/* Removes the VMs that the list does not name. */
static int prune_vms(struct store_call *call, const json_t *named, struct vgpu_err *err)
{
    _cleanup_json_ json_t *vms = NULL;
    json_t *vm;
    size_t i;
    int rc = vm_list(call->store, NULL, &vms, err);

    if (rc < 0)
        return rc;
    json_array_foreach (vms, i, vm) {
        if (has(named, "vm_id", json_object_get(vm, "vm_id")))
            continue;
        if ((rc = vm_remove(call, vm, err)) < 0)
            return rc;
    }
    return 0;
}

static int prune_pools(struct store_call *call, const json_t *named, struct vgpu_err *err)
{
    _cleanup_json_ json_t *pools = NULL;
    json_t *pool;
    size_t i;
    int rc = pool_list(call->store, false, &pools, err);

    if (rc < 0)
        return rc;
    json_array_foreach (pools, i, pool) {
        if (has(named, "pool", json_object_get(pool, "pool")))
            continue;
        if ((rc = pool_remove(call, json_string_value(json_object_get(pool, "pool")), err)) < 0)
            return rc;
    }
    return 0;
}

typedef int import_fn(struct import *import, const json_t *given, struct vgpu_err *err);

static int import_list(struct import *import, const struct intent *intent, const json_t *config,
                       import_fn *import_one, struct vgpu_err *err)
{
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(config, intent->list), i, item) {
        int rc = import_one(import, item, err);

        if (rc < 0)
            return import_place(intent, i, rc, err);
    }
    return 0;
}

/* What the file names is as it says. */
static int import_lists(struct import *import, const json_t *config, struct vgpu_err *err)
{
    int rc;

    if ((rc = import_list(import, &intent_pools, config, import_pool, err)) < 0 ||
        /* Two VMs may have exchanged their UUIDs. */
        (rc = import_list(import, &intent_vms, config, import_vm_free_uuid, err)) < 0 ||
        (rc = import_list(import, &intent_vms, config, import_vm, err)) < 0 ||
        (rc = import_list(import, &intent_gpus, config, import_gpu, err)) < 0)
        return rc;
    return import_list(import, &intent_thresholds, config, import_threshold, err);
}

/* A list that is left out says nothing of its objects, not that there are none. */
static int prune_rest(struct import *import, const json_t *config, struct vgpu_err *err)
{
    const json_t *gpus = json_object_get(config, "gpus");
    const json_t *pools = json_object_get(config, "pools");
    const json_t *rules = json_object_get(config, "thresholds");
    int rc = gpus ? import_gpu_prune(import, gpus, err) : 0;

    if (rc == 0 && pools)
        rc = prune_pools(import->call, pools, err);
    if (rc == 0 && rules)
        rc = import_threshold_prune(import, rules, err);
    return rc;
}

static int check_limits(struct store *store, struct vgpu_err *err)
{
    _cleanup_json_ json_t *pools = NULL;
    const json_t *pool;
    size_t i;
    int rc;

    if ((rc = vm_check_room(store, 0, err)) < 0 || (rc = pool_list(store, false, &pools, err)) < 0)
        return rc;
    if (json_array_size(pools) > STORE_POOLS_MAX)
        return vgpu_err_set(err, ENOSPC, "there would be %zu pools, and %d are allowed",
                            json_array_size(pools), STORE_POOLS_MAX);
    json_array_foreach (pools, i, pool)
        if ((rc = pool_check_most(store, json_string_value(json_object_get(pool, "pool")), err)) <
            0)
            return rc;
    return 0;
}

static int read_there(const json_t *args, enum import_there *ret_there, struct vgpu_err *err)
{
    const json_t *given = json_object_get(args, "existing");
    bool existing = false;
    int rc = args_flag(args, "existing", &existing, err);

    if (rc == 0 && json_is_boolean(given))
        *ret_there = existing ? IMPORT_OLD : IMPORT_NEW;
    return rc;
}

static int read_args(struct store_call *call, const json_t **ret_config, bool *ret_prune,
                     enum import_there *ret_there, struct vgpu_err *err)
{
    static const char *const known[] = {"config", "existing", "prune", NULL};
    const json_t *config = json_object_get(call->args, "config");
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = args_flag(call->args, "prune", ret_prune, err)) < 0 ||
        (rc = read_there(call->args, ret_there, err)) < 0 || (rc = check_config(config, err)) < 0)
        return rc;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(intents); i++)
        if ((rc = check_keys(intents[i], json_object_get(config, intents[i]->list), err)) < 0)
            return rc;
    *ret_config = config;
    return 0;
}

/* The one object of the configuration, as it is then; NULL: there are none, or several. */
static const json_t *only_object(const json_t *config, const struct intent **ret_intent)
{
    const json_t *only = NULL;
    size_t n = 0;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(intents); i++) {
        const json_t *list = json_object_get(config, intents[i]->list);

        n += json_array_size(list);
        if (json_array_size(list) > 0) {
            only = json_array_get(list, 0);
            *ret_intent = intents[i];
        }
    }
    return n == 1 ? only : NULL;
}

/* Shows the object that was imported alone as the commands about one do. */
static int give_only(struct store_call *call, const struct intent *intent, const json_t *only,
                     struct vgpu_err *err)
{
    const json_t *key = json_object_get(only, intent->members[0].name);
    struct store *store = call->store;
    const char *object = "gpu";
    json_t *row = NULL;
    int rc;

    if (intent == &intent_pools) {
        object = "pool";
        rc = pool_load(store, json_string_value(key), &row, err);
    } else if (intent == &intent_vms) {
        object = "vm";
        rc = vm_find(store, json_integer_value(key), &row, err);
    } else if (intent == &intent_gpus) {
        rc = gpu_find_uuid(store, json_string_value(key), &row, err);
        if (rc >= 0)
            rc = pool_gpu_add_pools(store, row, err);
    } else {
        object = "threshold";
        rc = threshold_load(store, only, &row, err);
    }
    if (rc >= 0 && json_object_set(call->result, object, row) < 0)
        rc = database_no_memory(err);
    json_decref(row);
    return rc < 0 ? rc : 0;
}

int import_command(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_json_ json_t *freed = json_object();
    struct import import = {.call = call, .freed = freed};
    const struct intent *intent = NULL;
    const json_t *config = NULL, *vms, *only;
    bool prune = false;
    int rc;

    if (!freed)
        return database_no_memory(err);
    if ((rc = read_args(call, &config, &prune, &import.there, err)) < 0)
        return rc;
    only = only_object(config, &intent);
    call->brief = !only || prune;
    vms = json_object_get(config, "vms");
    if (prune && json_object_get(config, "pools") && (rc = check_references(config, err)) < 0)
        return rc;
    if (prune && vms && (rc = prune_vms(call, vms, err)) < 0)
        return rc;
    if ((rc = import_lists(&import, config, err)) < 0)
        return rc;
    if (prune && (rc = prune_rest(&import, config, err)) < 0)
        return rc;
    rc = check_limits(call->store, err);
    return rc == 0 && only ? give_only(call, intent, only, err) : rc;
}
