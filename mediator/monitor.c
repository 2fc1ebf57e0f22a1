/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/monitor.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "mediator/mediator.h"

/* How long guests are put off while NVML has not said a word yet: it may hang. */
#define FACTS_WAIT_NS (5 * VGPU_NS_PER_S)

/* What NVML says */

static void learned(void *context, json_t *reply)
{
    struct mediator *mediator = context;

    /* Also where it failed: what is not known is said to be unknown then. */
    mediator->facts_due_ns = 0;
}

static bool lacks_facts(const struct mediator *mediator)
{
    const struct config *config = mediator->config;

    for (unsigned i = 0; config && i < config->n_gpus; i++)
        if (config->gpus[i].present && !config->gpus[i].driverless &&
            !mediator->samples[config->gpus[i].id].known)
            return true;
    return false;
}

void monitor_learn(struct mediator *mediator)
{
    if (!mediator->has_nvml || mediator->facts_due_ns || !lacks_facts(mediator) ||
        helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), learned, mediator) < 0)
        return;
    mediator->facts_due_ns = loop_now(mediator->loop) + FACTS_WAIT_NS;
}

static bool take_number(const json_t *gpu, const char *key, json_int_t most, uint32_t *ret)
{
    const json_t *value = json_object_get(gpu, key);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || number > most)
        return false;
    *ret = (uint32_t)number;
    return true;
}

static bool take_text(const json_t *gpu, const char *key, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(gpu, key));

    if (!text || !text[0] || strlen(text) >= size)
        return false;
    strcpy(ret, text);
    return true;
}

void monitor_take_facts(struct gpu_facts *facts, const json_t *gpu)
{
    struct gpu_facts f = {.known = 0};

    if (take_text(gpu, "driver_version", f.driver, sizeof(f.driver)))
        f.known |= VGPU_MONITOR_DRIVER;
    if (take_number(gpu, "cuda_version", INT32_MAX, &f.cuda_version))
        f.known |= VGPU_MONITOR_CUDA;
    if (take_number(gpu, "compute_major", INT32_MAX, &f.compute_major) &&
        take_number(gpu, "compute_minor", INT32_MAX, &f.compute_minor))
        f.known |= VGPU_MONITOR_COMPUTE;
    if (take_text(gpu, "pci", f.pci, sizeof(f.pci)) &&
        take_number(gpu, "pci_device_id", UINT32_MAX, &f.pci_device_id) &&
        take_number(gpu, "pci_subsystem_id", UINT32_MAX, &f.pci_subsystem_id))
        f.known |= VGPU_MONITOR_PCI;
    if (take_number(gpu, "max_sm_mhz", INT32_MAX, &f.max_sm_mhz) &&
        take_number(gpu, "max_memory_mhz", INT32_MAX, &f.max_memory_mhz))
        f.known |= VGPU_MONITOR_CLOCKS;
    if (take_number(gpu, "ecc_mode", 1, &f.ecc_mode))
        f.known |= VGPU_MONITOR_ECC;
    *facts = f;
}

/* What a VM is told */

/* The n-th GPU of the VM's pool that is there; NULL beyond. *ret_gpus: how many there are. */
static const struct config_gpu *pool_gpu(const struct vm *vm, uint32_t n, uint32_t *ret_gpus)
{
    const struct config *config = vm->mediator->config;
    const struct config_pool *pool = config_pool(config, vm->config.pool);
    const struct config_gpu *found = NULL;

    *ret_gpus = 0;
    for (unsigned i = 0; pool && i < config->n_gpus; i++) {
        const struct config_gpu *gpu = &config->gpus[i];

        if (!gpu->present || !(pool->gpus >> gpu->id & 1))
            continue;
        if ((*ret_gpus)++ == n)
            found = gpu;
    }
    return found;
}

static void add_facts(struct vgpu_monitor *m, const struct config_gpu *gpu,
                      const struct gpu_facts *facts)
{
    m->known = facts->known;
    m->cuda_version = facts->cuda_version;
    m->compute_major = facts->compute_major;
    m->compute_minor = facts->compute_minor;
    m->pci_device_id = facts->pci_device_id;
    m->pci_subsystem_id = facts->pci_subsystem_id;
    m->max_sm_mhz = facts->max_sm_mhz;
    m->max_memory_mhz = facts->max_memory_mhz;
    m->ecc_mode = facts->ecc_mode;
    m->memory_total_bytes = gpu->memory_bytes;
    snprintf(m->uuid, sizeof(m->uuid), "%s", gpu->uuid);
    snprintf(m->name, sizeof(m->name), "%s", gpu->model);
    memcpy(m->driver, facts->driver, sizeof(m->driver));
    memcpy(m->pci, facts->pci, sizeof(m->pci));
}

/* Its number and what it holds are the worker's words, so they are only ever told to its own VM. */
static void add_process(struct vgpu_monitor *m, const struct channel_report *report)
{
    uint64_t place = (uint64_t)m->processes - m->first;

    if (report->guest_process == 0 || report->guest_process > INT32_MAX)
        return;
    if (m->processes >= m->first && place < VGPU_MONITOR_PROCESSES)
        m->process[place] = (struct vgpu_monitor_process){
            .pid = (uint32_t)report->guest_process,
            .pid_namespace = report->guest_pid_namespace,
            .memory_bytes = memory_held(report),
        };
    m->processes++;
}

static void add_channel(struct vgpu_monitor *m, const struct channel *channel)
{
    struct channel_report report;
    uint64_t bytes;

    if (!channel_has_worker(channel))
        return;
    channel_report(channel, &report);
    bytes = memory_held(&report);
    if (__builtin_add_overflow(m->memory_used_bytes, bytes, &m->memory_used_bytes))
        m->memory_used_bytes = UINT64_MAX;
    add_process(m, &report);
}

static void add_use(struct vgpu_monitor *m, const struct vm *vm, uint32_t gpu_id)
{
    struct gpu *gpu = vm->mediator->gpus[gpu_id];
    struct seat *seat = gpu ? gpu_find_seat(gpu, vm->config.id) : NULL;
    struct sched_vm_stats stats;

    m->window_ns = SCHED_WINDOW_BUCKETS * SCHED_WINDOW_BUCKET_NS;
    if (!seat)
        return;
    seat_charge(seat);
    if (sched_vm_stats(gpu->sched, seat->handle, loop_now(vm->mediator->loop), &stats) == 0) {
        m->busy_ns = stats.charged_ns;
        m->busy_window_ns = stats.window_ns;
    }
    for (const struct channel *c = seat->channels; c; c = c->seat_next)
        add_channel(m, c);
}

void monitor_answer(struct connection *connection, const struct vgpu_msg_monitor *ask)
{
    struct vm *vm = connection->vm;
    struct mediator *mediator = vm->mediator;
    struct vgpu_msg_monitored answer = {
        .head = {sizeof(answer), VGPU_MSG_MONITORED, 0, ask->head.tag, 0},
        .monitor = {.gpu = ask->gpu, .first = ask->first},
    };
    const struct config_gpu *gpu = pool_gpu(vm, ask->gpu, &answer.monitor.gpus);

    monitor_learn(mediator);
    if (loop_now(mediator->loop) < mediator->facts_due_ns) {
        connection_refuse(connection, ask->head.tag, VGPU_STARTING,
                          "the host is still asking what its GPUs are");
        return;
    }
    if (gpu) {
        answer.monitor.memory_quota_bytes = memory_quota(vm);
        add_facts(&answer.monitor, gpu, &mediator->samples[gpu->id].facts);
        add_use(&answer.monitor, vm, gpu->id);
    }
    connection_send(connection, &answer, sizeof(answer), NULL, 0);
}
