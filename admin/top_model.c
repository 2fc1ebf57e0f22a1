/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_model.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_null(value) ? NULL : value;
}

/* Null where there is no such value; takes no reference of the caller's. */
static void set(json_t *row, const char *key, const json_t *value)
{
    json_object_set_new(row, key, value ? json_deep_copy(value) : json_null());
}

static void copy(json_t *row, const json_t *from, const char *const *keys)
{
    for (; *keys; keys++)
        set(row, *keys, member(from, *keys));
}

/* near: where it is likely to be; with a thousand VMs each second, that counts. */
static const json_t *find(const json_t *rows, const char *key, const json_t *value, size_t near)
{
    const json_t *row = json_array_get(rows, near);
    size_t i;

    if (!value)
        return NULL;
    if (json_equal(json_object_get(row, key), value))
        return row;
    json_array_foreach (rows, i, row)
        if (json_equal(json_object_get(row, key), value))
            return row;
    return NULL;
}

/* Health knows more than present and missing. */
static const json_t *gpu_state(const struct top_answers *answers, const json_t *gpu)
{
    const json_t *health =
        find(member(answers->health, "gpus"), "gpu_id", member(gpu, "gpu_id"), 0);
    const json_t *state = member(health, "state");
    const char *word = json_string_value(state);

    return word && strcmp(word, "unknown") != 0 ? state : member(gpu, "state");
}

static json_t *gpu_row(const struct top_answers *answers, const json_t *gpu)
{
    static const char *const keys[] = {
        "gpu_id",      "model", "utilization", "memory_used_bytes", "memory_total_bytes",
        "temperature", "pools", "uuid",        "holder_vm_id",      NULL};
    const json_t *holder =
        find(member(answers->status, "vms"), "vm_id", member(gpu, "holder_vm_id"), 0);
    json_t *row = json_object();

    copy(row, gpu, keys);
    set(row, "holder_name", member(holder, "name"));
    set(row, "state", gpu_state(answers, gpu));
    return row;
}

/* Of a VM and the kinds "wait" and "run": three percentiles each. */
static void add_latency(const struct top_answers *answers, const json_t *vm, json_t *row)
{
    static const char *const kinds[] = {"wait", "run"};
    static const unsigned parts[] = {50, 95, 99};
    const json_t *latency;
    char key[24];

    snprintf(key, sizeof(key), "%lld", (long long)json_integer_value(member(vm, "vm_id")));
    latency = member(answers->latency, key);
    for (size_t kind = 0; kind < VGPU_ARRAY_SIZE(kinds); kind++)
        for (size_t i = 0; i < VGPU_ARRAY_SIZE(parts); i++) {
            const json_t *value = json_array_get(member(latency, kinds[kind]), i);

            snprintf(key, sizeof(key), "%s_p%u_ns", kinds[kind], parts[i]);
            set(row, key, json_is_number(value) ? value : NULL);
        }
}

/* Jobs a second since the model before; null where either count or time is missing. */
static json_t *job_rate(const struct top_answers *answers, const json_t *vm, size_t at,
                        const json_t *earlier)
{
    const json_t *before = find(member(earlier, "vms"), "vm_id", member(vm, "vm_id"), at);
    const json_t *now_done = member(vm, "jobs_done"), *then_done = member(before, "jobs_done");
    double elapsed = answers->time - json_number_value(json_object_get(earlier, "time"));
    json_int_t done = json_integer_value(now_done) - json_integer_value(then_done);

    /* Counts of a mediator with new accounts begin at 0. */
    if (!now_done || !then_done || elapsed <= 0 || done < 0)
        return json_null();
    return json_real((double)done / elapsed);
}

static json_t *vm_row(const struct top_answers *answers, const json_t *vm, size_t at,
                      const json_t *earlier)
{
    static const char *const keys[] = {
        "vm_id",       "uuid",      "name",        "pool",         "priority",          "weight",
        "state",       "gpu_id",    "share",       "entitlement",  "channels",          "faults",
        "queue_depth", "jobs_done", "jobs_failed", "jobs_refused", "quarantine_reason", NULL};
    const json_t *memory = member(vm, "memory");
    const json_t *quota = member(memory, "quota_bytes");
    json_t *row = json_object();

    copy(row, vm, keys);
    /* By NVML where it is known: what programs hold is a part of what the GPU gave. */
    set(row, "memory_used_bytes",
        member(memory, "nvml_bytes") ? member(memory, "nvml_bytes") : member(vm, "memory_bytes"));
    set(row, "memory_quota_bytes", json_integer_value(quota) > 0 ? quota : NULL);
    json_object_set_new(row, "jobs_per_s", job_rate(answers, vm, at, earlier));
    add_latency(answers, vm, row);
    if (json_is_string(json_object_get(row, "quarantine_reason")))
        json_object_set_new(row, "state", json_string("quarantined"));
    return row;
}

struct pool_sum {
    json_int_t running, waiting, quarantined, queue, memory;
    double rate;
    bool live, has_rate;
};

static void add_vm(struct pool_sum *sum, const json_t *vm)
{
    const char *state = json_string_value(json_object_get(vm, "state"));
    const json_t *rate = json_object_get(vm, "jobs_per_s");

    sum->live |= json_is_integer(json_object_get(vm, "queue_depth"));
    sum->running += state && strcmp(state, "running") == 0;
    sum->waiting += state && strcmp(state, "waiting") == 0;
    sum->quarantined += state && strcmp(state, "quarantined") == 0;
    sum->queue += json_integer_value(json_object_get(vm, "queue_depth"));
    sum->memory += json_integer_value(json_object_get(vm, "memory_used_bytes"));
    sum->has_rate |= json_is_number(rate);
    sum->rate += json_number_value(rate);
}

static json_t *pool_row(const json_t *pool, const json_t *vms, bool live)
{
    static const char *const keys[] = {"pool", "policy", "gpus", "vms", NULL};
    struct pool_sum sum = {.live = live};
    const json_t *vm;
    size_t i;
    json_t *row = json_object();

    json_array_foreach (vms, i, vm)
        if (json_equal(json_object_get(vm, "pool"), json_object_get(pool, "pool")))
            add_vm(&sum, vm);
    copy(row, pool, keys);
    json_object_set_new(row, "running", sum.live ? json_integer(sum.running) : json_null());
    json_object_set_new(row, "waiting", sum.live ? json_integer(sum.waiting) : json_null());
    json_object_set_new(row, "quarantined", json_integer(sum.quarantined));
    json_object_set_new(row, "queue_depth", sum.live ? json_integer(sum.queue) : json_null());
    json_object_set_new(row, "memory_used_bytes",
                        sum.live ? json_integer(sum.memory) : json_null());
    json_object_set_new(row, "jobs_per_s", sum.has_rate ? json_real(sum.rate) : json_null());
    return row;
}

json_t *top_model(const struct top_answers *answers, const json_t *earlier)
{
    const json_t *mediator = member(answers->status, "mediator"), *item;
    json_t *gpus = json_array(), *pools = json_array(), *vms = json_array();
    size_t i;

    json_array_foreach (member(answers->status, "gpus"), i, item)
        json_array_append_new(gpus, gpu_row(answers, item));
    json_array_foreach (member(answers->status, "vms"), i, item)
        json_array_append_new(vms, vm_row(answers, item, i, earlier));
    json_array_foreach (member(answers->status, "pools"), i, item)
        json_array_append_new(pools, pool_row(item, vms, mediator != NULL));
    return json_pack("{s:f, s:o, s:o, s:o, s:o}", "time", answers->time, "mediator",
                     mediator ? json_deep_copy(mediator) : json_null(), "gpus", gpus, "pools",
                     pools, "vms", vms);
}
