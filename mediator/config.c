/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

static const char *const priority_names[] = {"low", "medium", "high"};

static int not_understood(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "the store's snapshot is not understood: %s", what);
}

/* A text member; null and absent are the empty text. False if it is too long or of another type. */
static bool take_text(const json_t *object, const char *key, char *buffer, size_t size)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);

    if (!text)
        return !value || json_is_null(value);
    if (strlen(text) >= size)
        return false;
    memcpy(buffer, text, strlen(text) + 1);
    return true;
}

static bool take_number(const json_t *object, const char *key, json_int_t min, json_int_t max,
                        json_int_t *ret)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return false;
    *ret = json_integer_value(value);
    return true;
}

/* Members that are numbers of 32 or 64 bits; null and absent are 0. */
struct number_member {
    const char *key;
    size_t at, size;
};

#define NUMBER(type, name)                                                                         \
    {                                                                                              \
#name, offsetof(struct type, name), sizeof(((struct type *)0)->name)                       \
    }

static bool take_numbers(const json_t *object, const struct number_member *members, size_t n,
                         void *to)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, members[i].key);
        bool wide = members[i].size == sizeof(uint64_t);
        char *field = (char *)to + members[i].at;
        json_int_t number;

        if (!value || json_is_null(value))
            continue;
        if (!take_number(object, members[i].key, 0, wide ? INT64_MAX : UINT32_MAX, &number))
            return false;
        if (wide)
            *(uint64_t *)(void *)field = (uint64_t)number;
        else
            *(uint32_t *)(void *)field = (uint32_t)number;
    }
    return true;
}

static const struct number_member pool_numbers[] = {
    NUMBER(config_pool, weight_hundredths), NUMBER(config_pool, slice_us),
    NUMBER(config_pool, grace_us),          NUMBER(config_pool, max_wait_ms),
    NUMBER(config_pool, urgency_us),
};

static const struct number_member vm_numbers[] = {
    NUMBER(config_vm, rate_per_s),
    NUMBER(config_vm, burst),
    NUMBER(config_vm, depth),
    NUMBER(config_vm, bytes_in_flight),
    NUMBER(config_vm, job_timeout_ms),
    NUMBER(config_vm, memory_bytes),
    NUMBER(config_vm, process_memory_bytes),
    NUMBER(config_vm, fault_threshold),
    NUMBER(config_vm, fault_window_s),
    NUMBER(config_vm, faults),
    NUMBER(config_vm, faults_total),
    NUMBER(config_vm, last_fault),
    NUMBER(config_vm, quarantine_time),
};

static int take_gpu(struct config *config, const json_t *object, struct vgpu_err *err)
{
    struct config_gpu *gpu = &config->gpus[config->n_gpus++];
    const json_t *memory = json_object_get(object, "memory_bytes");
    const char *state = json_string_value(json_object_get(object, "state"));
    const char *source = json_string_value(json_object_get(object, "source"));
    json_int_t id;

    if (!take_number(object, "gpu_id", 0, CONFIG_GPUS_MAX - 1, &id) ||
        !take_text(object, "uuid", gpu->uuid, sizeof(gpu->uuid)) ||
        !take_text(object, "model", gpu->model, sizeof(gpu->model)) ||
        !take_text(object, "drain_reason", gpu->drain_reason, sizeof(gpu->drain_reason)))
        return not_understood(err, "a GPU");
    gpu->id = (uint32_t)id;
    gpu->memory_bytes = json_integer_value(memory) > 0 ? (uint64_t)json_integer_value(memory) : 0;
    gpu->present = state && strcmp(state, "present") == 0;
    gpu->driverless = source && strcmp(source, "pci") == 0;
    gpu->drained = json_is_true(json_object_get(object, "drained"));
    return 0;
}

static int take_pool(struct config *config, const json_t *object, struct vgpu_err *err)
{
    struct config_pool *pool = &config->pools[config->n_pools++];
    const char *policy = json_string_value(json_object_get(object, "policy"));

    if (!take_text(object, "pool", pool->name, sizeof(pool->name)) || pool->name[0] == '\0')
        return not_understood(err, "a pool");
    if (!take_numbers(object, pool_numbers, VGPU_ARRAY_SIZE(pool_numbers), pool))
        return not_understood(err, "a pool's settings");
    pool->strict = policy && strcmp(policy, "strict") == 0;
    return 0;
}

static int take_pool_gpu(struct config *config, const json_t *object, struct vgpu_err *err)
{
    char name[CONFIG_NAME_BYTES] = "";
    json_int_t id;

    if (!take_text(object, "pool", name, sizeof(name)) ||
        !take_number(object, "gpu_id", 0, CONFIG_GPUS_MAX - 1, &id))
        return not_understood(err, "a pool's GPU");
    for (unsigned i = 0; i < config->n_pools; i++) {
        if (strcmp(config->pools[i].name, name) == 0) {
            config->pools[i].gpus |= UINT64_C(1) << id;
            return 0;
        }
    }
    return not_understood(err, "a GPU of an unknown pool");
}

static int priority_number(const json_t *object)
{
    const char *text = json_string_value(json_object_get(object, "priority"));

    for (int i = 0; text && i < 3; i++)
        if (strcmp(text, priority_names[i]) == 0)
            return i;
    return -1;
}

/* vm must be zero. */
static int read_vm(const struct config *config, const json_t *object, struct config_vm *vm,
                   struct vgpu_err *err)
{
    double weight = json_number_value(json_object_get(object, "weight"));
    int priority = priority_number(object);
    json_int_t id;

    if (!take_number(object, "vm_id", 1, INT32_MAX, &id) || priority < 0 ||
        !(weight >= 1.0 && weight <= 100.0) ||
        !take_text(object, "uuid", vm->uuid, sizeof(vm->uuid)) ||
        !take_text(object, "name", vm->name, sizeof(vm->name)) ||
        !take_text(object, "pool", vm->pool, sizeof(vm->pool)) || !config_pool(config, vm->pool))
        return not_understood(err, "a VM");
    if (!take_numbers(object, vm_numbers, VGPU_ARRAY_SIZE(vm_numbers), vm) ||
        (vm->burst == 0) != (vm->rate_per_s == 0) ||
        !take_text(object, "quarantine_reason", vm->quarantine_reason,
                   sizeof(vm->quarantine_reason)))
        return not_understood(err, "a VM's limits");
    vm->id = (uint32_t)id;
    vm->priority = (uint32_t)priority;
    vm->weight_hundredths = (uint32_t)(weight * 100.0 + 0.5);
    vm->quarantined = json_is_true(json_object_get(object, "quarantined"));
    return 0;
}

static int take_vm(struct config *config, const json_t *object, struct vgpu_err *err)
{
    struct config_vm *vm = &config->vms[config->n_vms++];

    vm->changed = true;
    return read_vm(config, object, vm, err);
}

typedef int take_fn(struct config *config, const json_t *object, struct vgpu_err *err);

static int take_array(struct config *config, const json_t *snapshot, const char *key, size_t max,
                      take_fn *take, struct vgpu_err *err)
{
    const json_t *array = json_object_get(snapshot, key), *item;
    size_t i;
    int rc;

    if (!json_is_array(array) || json_array_size(array) > max)
        return not_understood(err, key);
    json_array_foreach (array, i, item)
        if ((rc = take(config, item, err)) < 0)
            return rc;
    return 0;
}

/* A threshold of another version's is left out; what the store does not name keeps its default. */
static int take_threshold(struct config *config, const json_t *object, struct vgpu_err *err)
{
    enum threshold_id id = threshold_find(json_string_value(json_object_get(object, "name")));
    const json_t *value = json_object_get(object, "value");
    enum threshold_action action =
        threshold_action_find(json_string_value(json_object_get(object, "action")));

    if (id == THRESHOLD_N)
        return 0;
    if (!json_is_number(value) || action == THRESHOLD_N_ACTIONS)
        return not_understood(err, "a threshold");
    config->rules[id] = (struct threshold_rule){json_number_value(value), action};
    return 0;
}

static int take_thresholds(struct config *config, const json_t *snapshot, struct vgpu_err *err)
{
    const json_t *list = json_object_get(snapshot, "thresholds"), *item;
    size_t i;

    for (int id = 0; id < THRESHOLD_N; id++)
        config->rules[id] = thresholds[id].rule;
    json_array_foreach (list, i, item) {
        int rc = take_threshold(config, item, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* n_vms: room for them. NULL when out of memory. */
static struct config *config_new(const json_t *json, size_t n_vms)
{
    struct config *config = calloc(1, sizeof(*config));
    size_t gpus = json_array_size(json_object_get(json, "gpus"));
    size_t pools = json_array_size(json_object_get(json, "pools"));

    if (!config)
        return NULL;
    config->gpus = calloc(gpus + 1, sizeof(*config->gpus));
    config->pools = calloc(pools + 1, sizeof(*config->pools));
    config->vms = calloc(n_vms + 1, sizeof(*config->vms));
    if (config->gpus && config->pools && config->vms)
        return config;
    config_free(config);
    return NULL;
}

/* All but the VMs. */
static int take_host(struct config *config, const json_t *json, struct vgpu_err *err)
{
    int rc;

    if ((rc = take_array(config, json, "gpus", CONFIG_GPUS_MAX, take_gpu, err)) < 0 ||
        (rc = take_array(config, json, "pools", CONFIG_POOLS_MAX, take_pool, err)) < 0)
        return rc;
    rc = take_array(config, json, "pool_gpus", CONFIG_GPUS_MAX * CONFIG_POOLS_MAX, take_pool_gpu,
                    err);
    return rc < 0 ? rc : take_thresholds(config, json, err);
}

static int by_id(const void *a, const void *b)
{
    const struct config_vm *left = a, *right = b;

    return (left->id > right->id) - (left->id < right->id);
}

int config_parse(const json_t *snapshot, struct config **ret_config, struct vgpu_err *err)
{
    struct config *config = config_new(snapshot, json_array_size(json_object_get(snapshot, "vms")));
    int rc;

    if (!config)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    if ((rc = take_host(config, snapshot, err)) < 0 ||
        (rc = take_array(config, snapshot, "vms", CONFIG_VMS_MAX, take_vm, err)) < 0) {
        config_free(config);
        return rc;
    }
    qsort(config->vms, config->n_vms, sizeof(config->vms[0]), by_id);
    config->host_changed = true;
    *ret_config = config;
    return 0;
}

/* The VM's place among those that came from the earlier configuration. */
static struct config_vm *place_of(struct config *config, uint32_t id)
{
    unsigned low = 0, high = config->n_vms;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (config->vms[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return &config->vms[low];
}

static bool is_at(const struct config *config, const struct config_vm *place, uint32_t id)
{
    return place < config->vms + config->n_vms && place->id == id;
}

static int change_vm(struct config *config, const json_t *object, struct vgpu_err *err)
{
    struct config_vm vm = {.id = 0}, *place;
    unsigned after;
    int rc = read_vm(config, object, &vm, err);

    if (rc < 0)
        return rc;
    vm.changed = true;
    place = place_of(config, vm.id);
    if (!is_at(config, place, vm.id)) {
        if (config->n_vms >= CONFIG_VMS_MAX)
            return not_understood(err, "one VM more than there can be");
        after = (unsigned)(config->vms + config->n_vms - place);
        memmove(place + 1, place, after * sizeof(*place));
        config->n_vms++;
    }
    *place = vm;
    return 0;
}

static int remove_vm(struct config *config, const json_t *id, struct vgpu_err *err)
{
    struct config_vm *place = place_of(config, (uint32_t)json_integer_value(id));

    if (!is_at(config, place, (uint32_t)json_integer_value(id)))
        return not_understood(err, "a VM that is gone was never there");
    config->n_vms--;
    memmove(place, place + 1, (size_t)(config->vms + config->n_vms - place) * sizeof(*place));
    return 0;
}

/* Every VM must still have a pool: those that are as they were too. */
static int check_pools(const struct config *config, struct vgpu_err *err)
{
    for (unsigned i = 0; i < config->n_vms; i++)
        if (!config_pool(config, config->vms[i].pool))
            return not_understood(err, "a VM without its pool");
    return 0;
}

static bool same_rules(const struct config *a, const struct config *b)
{
    for (int i = 0; i < THRESHOLD_N; i++)
        if (a->rules[i].value != b->rules[i].value || a->rules[i].action != b->rules[i].action)
            return false;
    return true;
}

static bool same_host(const struct config *a, const struct config *b)
{
    return a->n_gpus == b->n_gpus && a->n_pools == b->n_pools &&
           memcmp(a->gpus, b->gpus, a->n_gpus * sizeof(a->gpus[0])) == 0 &&
           memcmp(a->pools, b->pools, a->n_pools * sizeof(a->pools[0])) == 0 && same_rules(a, b);
}

int config_change(const struct config *old, const json_t *delta, struct config **ret_config,
                  struct vgpu_err *err)
{
    const json_t *vms = json_object_get(delta, "vms");
    struct config *config = config_new(delta, old->n_vms + json_array_size(vms));
    int rc;

    if (!config)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    config->n_vms = old->n_vms;
    memcpy(config->vms, old->vms, old->n_vms * sizeof(config->vms[0]));
    for (unsigned i = 0; i < config->n_vms; i++)
        config->vms[i].changed = false;
    if ((rc = take_host(config, delta, err)) < 0 ||
        (rc = take_array(config, delta, "vms_gone", CONFIG_VMS_MAX, remove_vm, err)) < 0 ||
        (rc = take_array(config, delta, "vms", CONFIG_VMS_MAX, change_vm, err)) < 0 ||
        (rc = check_pools(config, err)) < 0) {
        config_free(config);
        return rc;
    }
    config->host_changed = !same_host(old, config);
    *ret_config = config;
    return 0;
}

static bool same_vm(const struct config_vm *a, const struct config_vm *b)
{
    struct config_vm left = *a, right = *b;

    left.changed = right.changed = false;
    left.faults = right.faults = 0;
    left.faults_total = right.faults_total = 0;
    left.last_fault = right.last_fault = 0;
    return memcmp(&left, &right, sizeof(left)) == 0;
}

bool config_mark(const struct config *old, struct config *config)
{
    bool any;

    config->host_changed = !same_host(old, config);
    any = config->host_changed || old->n_vms != config->n_vms;
    for (unsigned i = 0; i < config->n_vms; i++) {
        const struct config_vm *before = config_vm(old, config->vms[i].id);

        config->vms[i].changed = !before || !same_vm(before, &config->vms[i]);
        any |= config->vms[i].changed;
    }
    return any;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    free(config->gpus);
    free(config->pools);
    free(config->vms);
    free(config);
}

const struct config_gpu *config_gpu(const struct config *config, uint32_t id)
{
    for (unsigned i = 0; i < config->n_gpus; i++)
        if (config->gpus[i].id == id)
            return &config->gpus[i];
    return NULL;
}

const struct config_pool *config_pool(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->n_pools; i++)
        if (strcmp(config->pools[i].name, name) == 0)
            return &config->pools[i];
    return NULL;
}

const struct config_vm *config_vm(const struct config *config, uint32_t id)
{
    const struct config_vm key = {.id = id};

    return bsearch(&key, config->vms, config->n_vms, sizeof(key), by_id);
}

const char *config_priority_name(uint32_t priority)
{
    return priority < 3 ? priority_names[priority] : "unknown";
}
