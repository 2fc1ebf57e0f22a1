/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/status.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mediator/doubt.h"
#include "mediator/mediator.h"
#include "mediator/sum.h"

#define WINDOW_NS (SCHED_WINDOW_BUCKETS * SCHED_WINDOW_BUCKET_NS)

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *count(uint64_t number)
{
    return json_integer((json_int_t)(number & INT64_MAX)); /* some come from workers */
}

static json_t *real_or_null(double number)
{
    return isnan(number) ? json_null() : json_real(number);
}

static unsigned living_channels(const struct mediator *mediator)
{
    unsigned n = 0;

    for (const struct vm *vm = mediator->vms; vm; vm = vm->next)
        n += vm_living(vm);
    return n;
}

static unsigned started_workers(const struct mediator *mediator)
{
    unsigned n = 0;

    for (const struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (const struct channel *c = vm->channels; c; c = c->next)
            n += c->state > CHANNEL_SPAWNING && channel_has_worker(c);
    return n;
}

static json_t *mediator_json(const struct mediator *mediator)
{
    const char *driver = mediator->settings->driver;
    double uptime_s =
        (double)(loop_now(mediator->loop) - mediator->started_ns) / (double)VGPU_NS_PER_S;

    return json_pack("{s:s, s:i, s:f, s:s?, s:f, s:i, s:i}", "version", VGPU_PROGRAM_VERSION, "pid",
                     (int)getpid(), "uptime_s", uptime_s, "driver", driver, "window_s",
                     (double)WINDOW_NS / (double)VGPU_NS_PER_S, "channels",
                     (int)living_channels(mediator), "workers", (int)started_workers(mediator));
}

static json_t *pools_of_gpu(const struct config *config, uint32_t gpu_id)
{
    json_t *names = json_array();

    for (unsigned i = 0; i < config->n_pools; i++)
        if (config->pools[i].gpus >> gpu_id & 1)
            json_array_append_new(names, json_string(config->pools[i].name));
    return names;
}

static void add_spares(const struct mediator *mediator, uint32_t gpu_id, json_t *to)
{
    const struct gpu_spares *spares = &mediator->spares[gpu_id];
    bool wanted = mediator->spared_gpus >> gpu_id & 1;

    json_object_set_new(to, "spares", json_integer(spares->ready));
    json_object_set_new(to, "spares_wanted",
                        json_integer(wanted ? (json_int_t)mediator->settings->spares : 0));
    json_object_set_new(to, "spare_failures", json_integer(spares->failures));
    json_object_set_new(to, "warm_starts", count(spares->adopted));
}

static json_t *gpu_json(const struct mediator *mediator, const struct config_gpu *gpu)
{
    const struct gpu_sample *sample = &mediator->samples[gpu->id];
    const struct health *health = &mediator->health[gpu->id];
    const struct gpu *leases = mediator->gpus[gpu->id];
    uint32_t holder = leases ? gpu_holder_vm(leases) : 0;
    json_t *row =
        json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:o, s:o}", "gpu_id",
                  (json_int_t)gpu->id, "uuid", gpu->uuid, "model", gpu->model, "memory_total_bytes",
                  gpu->memory_bytes ? count(gpu->memory_bytes) : json_null(), "memory_used_bytes",
                  sample->known ? count(sample->memory_used_bytes) : json_null(), "utilization",
                  real_or_null(health->sample.utilization), "temperature",
                  real_or_null(health->sample.temperature), "state",
                  gpu->present && gpu->driverless ? "no-driver" : health_state_name(health->state),
                  "pools", pools_of_gpu(mediator->config, gpu->id), "holder_vm_id",
                  holder ? json_integer(holder) : json_null());

    if (row)
        add_spares(mediator, gpu->id, row);
    return row;
}

static json_t *pool_json(const struct config *config, const struct config_pool *pool)
{
    json_t *gpus = json_array();
    int vms = 0;

    for (unsigned id = 0; id < CONFIG_GPUS_MAX; id++)
        if (pool->gpus >> id & 1)
            json_array_append_new(gpus, json_integer(id));
    for (unsigned i = 0; i < config->n_vms; i++)
        vms += strcmp(config->vms[i].pool, pool->name) == 0;
    return json_pack("{s:s, s:s, s:o, s:i}", "pool", pool->name, "policy",
                     pool->strict ? "strict" : "wfq", "gpus", gpus, "vms", vms);
}

static const char *vm_state_name(const struct vm *vm, const struct vm_sum *sum)
{
    if (vm && vm->state == VM_QUARANTINED)
        return "quarantined";
    if (!vm || vm_living(vm) == 0)
        return "disconnected";
    return sum->running ? "running" : sum->waiting ? "waiting" : "idle";
}

/*
 * What it holds by the words of its workers, what is predicted beside that, and NVML's word. The
 * rest is what nobody has foreseen: of contexts, or of blocks that the driver keeps.
 */
static json_t *memory_json(const struct memory_sum *sum)
{
    uint64_t foreseen = sum->held + sum->contexts + sum->modules + sum->graphs;
    json_int_t rest = (json_int_t)(sum->nvml & INT64_MAX) - (json_int_t)(foreseen & INT64_MAX);

    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "quota_bytes", count(sum->quota),
        "granted_bytes", sum->granted == UINT64_MAX ? json_null() : count(sum->granted),
        "held_bytes", count(sum->held), "spare_bytes", count(sum->spare), "context_bytes",
        count(sum->contexts), "module_bytes", count(sum->modules), "graph_bytes",
        count(sum->graphs), "nvml_bytes", sum->nvml_known ? count(sum->nvml) : json_null(),
        "unexplained_bytes", sum->nvml_known ? json_integer(rest) : json_null());
}

/* By the words of its workers; those that have ended are not counted any more. */
static json_t *by_limit(const struct vm *vm, bool refused)
{
    static const char *const names[VGPU_LIMIT_COUNT] = {"rate", "depth", "bytes", "quarantine"};
    json_t *counts = json_object();

    for (int limit = 0; limit < VGPU_LIMIT_COUNT; limit++) {
        uint64_t sum = 0;

        for (const struct channel *c = vm ? vm->channels : NULL; c; c = c->next)
            sum += channel_counted(c, (enum vgpu_limit)limit, refused);
        json_object_set_new(counts, names[limit], count(sum));
    }
    return counts;
}

static void add_limits(const struct vm *vm, json_t *row)
{
    json_object_set_new(row, "faults", count(vm ? faults_counted(vm) : 0));
    json_object_set_new(row, "refused_by", by_limit(vm, true));
    json_object_set_new(row, "held_by", by_limit(vm, false));
}

static void add_rate(const struct vm *vm, const struct vm_sum *sum, json_t *row)
{
    struct vm_rate rate = {.jobs_per_s = 0};

    if (vm)
        metrics_rate(vm, sum, &rate);
    json_object_set_new(row, "submission_rate", json_real(rate.jobs_per_s));
    json_object_set_new(row, "mean_job_ns",
                        rate.mean_known ? count(rate.mean_job_ns) : json_null());
}

/* What is so at this moment: a part of a VM's row in status, and "live" of show-vm. */
static json_t *live_json(struct mediator *mediator, uint32_t vm_id)
{
    const struct vm *vm = vm_find(mediator, vm_id);
    struct vm_sum sum;
    struct memory_sum memory = {.nvml_known = true};
    json_t *row;

    if (vm) {
        memory.quota = vm->config.memory_bytes;
        memory_sum(vm, &memory);
    }
    vm_sum(mediator, vm_id, &sum);
    row = json_pack("{s:s, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                    "state", vm_state_name(vm, &sum), "gpu_id",
                    sum.gpu_id >= 0 ? json_integer(sum.gpu_id) : json_null(), "channels",
                    vm ? (int)vm_living(vm) : 0, "connections", vm ? (int)vm->n_connections : 0,
                    "domid", vm && vm->domid ? json_integer(vm->domid) : json_null(),
                    "memory_bytes", count(memory.held), "queue_depth", count(sum.totals.depth),
                    "jobs_done", count(sum.totals.jobs_done), "jobs_failed",
                    count(sum.totals.jobs_failed), "jobs_refused", count(sum.totals.jobs_refused),
                    "gpu_time_ns", count(sum.charged_ns), "wait_ns", count(sum.totals.wait_ns),
                    "share", sum.has_seat ? json_real(vm_sum_share(&sum)) : json_null(),
                    "entitlement", sum.has_seat ? json_real(vm_sum_entitlement(&sum)) : json_null(),
                    "memory", memory_json(&memory));
    if (row) {
        add_rate(vm, &sum, row);
        add_limits(vm, row);
    }
    return row;
}

json_t *status_vm_live(struct mediator *mediator, uint32_t vm_id)
{
    return config_vm(mediator->config, vm_id) ? live_json(mediator, vm_id) : NULL;
}

static json_t *vm_json(struct mediator *mediator, const struct config_vm *config)
{
    json_t *live = live_json(mediator, config->id);
    json_t *row =
        json_pack("{s:I, s:o, s:o, s:s, s:s, s:f, s:o}", "vm_id", (json_int_t)config->id, "uuid",
                  text_or_null(config->uuid), "name", text_or_null(config->name), "pool",
                  config->pool, "priority", config_priority_name(config->priority), "weight",
                  config->weight_hundredths / 100.0, "quarantine_reason",
                  config->quarantined ? text_or_null(config->quarantine_reason) : json_null());

    json_object_update(row, live);
    json_decref(live);
    return row;
}

json_t *status_head(struct mediator *mediator)
{
    const struct config *config = mediator->config;
    json_t *gpus = json_array(), *pools = json_array();

    for (unsigned i = 0; i < config->n_gpus; i++)
        json_array_append_new(gpus, gpu_json(mediator, &config->gpus[i]));
    for (unsigned i = 0; i < config->n_pools; i++)
        json_array_append_new(pools, pool_json(config, &config->pools[i]));
    return json_pack("{s:o, s:o, s:o}", "mediator", mediator_json(mediator), "gpus", gpus, "pools",
                     pools);
}

json_t *status_vms(struct mediator *mediator, uint32_t after_vm_id, unsigned limit)
{
    const struct config *config = mediator->config;
    json_t *vms = json_array();
    unsigned i = 0;

    while (i < config->n_vms && config->vms[i].id <= after_vm_id)
        i++;
    for (; i < config->n_vms && json_array_size(vms) < limit; i++)
        if (json_array_append_new(vms, vm_json(mediator, &config->vms[i])) < 0)
            break;
    return vms;
}

/* Returns a bit for its gpu_id; 0: it is not configured. */
static uint64_t take_gpu_sample(struct mediator *mediator, const json_t *gpu)
{
    const char *uuid = json_string_value(json_object_get(gpu, "uuid"));
    const struct config *config = mediator->config;
    uint64_t bits = 0;

    for (unsigned i = 0; uuid && config && i < config->n_gpus; i++) {
        uint32_t id = config->gpus[i].id;
        struct gpu_sample *sample = &mediator->samples[id];

        if (strcmp(config->gpus[i].uuid, uuid) != 0)
            continue;
        bits |= UINT64_C(1) << id;
        sample->known = true;
        mediator->sampled_ns = loop_now(mediator->loop);
        sample->memory_used_bytes =
            (uint64_t)json_integer_value(json_object_get(gpu, "memory_used_bytes"));
        monitor_take_facts(&sample->facts, gpu);
        checkup_take(mediator, id, gpu);
        memory_sampled(mediator, id, gpu);
        stray_sampled(mediator, id, gpu);
    }
    return bits;
}

void status_take_sample(struct mediator *mediator, const json_t *line)
{
    const json_t *gpus = json_object_get(json_object_get(line, "result"), "gpus"), *gpu;
    uint64_t shown = 0;
    size_t i;

    if (!json_is_array(gpus))
        return;
    json_array_foreach (gpus, i, gpu)
        shown |= take_gpu_sample(mediator, gpu);
    checkup_taken(mediator, shown);
    doubt_sampled(mediator);
}
