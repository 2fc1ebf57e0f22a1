/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML: how a device is used, by this VM. What others do with it shows in none of these numbers, so
 * that memory counted as free may be taken, and utilisation is this VM's part of the GPU's time.
 */
#include "common/clock.h"
#include "common/pid_namespace.h"
#include "guest/libnvml/library.h"
#include "guest/libnvml/nvml_api.h"

/* Between two questions closer than the first, the last answer stands; after the second it is old.
 */
#define MEASURE_LEAST_NS (100 * VGPU_NS_PER_MS)
#define MEASURE_MOST_NS  (10 * VGPU_NS_PER_S)

/* A VM's channels are fewer. */
#define PROCESSES_MOST 256u

/* Enters, and asks. Left again on failure. */
static nvmlReturn_t enter_and_ask(nvmlDevice_t device, const void *result, unsigned first,
                                  struct vgpu_monitor *ret)
{
    nvmlReturn_t status = library_enter_device(device, result);

    if (status != NVML_SUCCESS)
        return status;
    status = library_ask(device, first, ret);
    if (status != NVML_SUCCESS)
        library_leave();
    return status;
}

/* Memory */

/* Total and used; NVML_ERROR_NOT_SUPPORTED where the host does not know the size. */
static nvmlReturn_t read_memory(nvmlDevice_t device, const void *result, nvmlMemory_t *ret)
{
    struct vgpu_monitor m;
    nvmlReturn_t status = enter_and_ask(device, result, 0, &m);
    uint64_t total;

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    total = m.memory_total_bytes;
    if (m.memory_quota_bytes && (!total || m.memory_quota_bytes < total))
        total = m.memory_quota_bytes;
    if (total == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    ret->total = total;
    ret->used = m.memory_used_bytes < total ? m.memory_used_bytes : total;
    ret->free = ret->total - ret->used;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    nvmlMemory_t found;
    nvmlReturn_t status = read_memory(device, memory, &found);

    if (status == NVML_SUCCESS)
        *memory = found;
    return status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    nvmlMemory_t found;
    nvmlReturn_t status = library_enter_device(device, memory);

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    if (memory->version != NVML_MEMORY_V2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    status = read_memory(device, memory, &found);
    if (status == NVML_SUCCESS)
        *memory = (nvmlMemory_v2_t){.version = NVML_MEMORY_V2,
                                    .total = found.total,
                                    .free = found.free,
                                    .used = found.used};
    return status;
}

/* Utilisation */

static unsigned percent_of(uint64_t part, uint64_t whole)
{
    if (part >= whole)
        return whole ? 100 : 0;
    return (unsigned)((double)part * 100.0 / (double)whole + 0.5);
}

/* Since the last question, if that tells something; otherwise in the host's window. */
static void measure(nvmlDevice_t device, const struct vgpu_monitor *m)
{
    uint64_t now_ns = vgpu_clock_ns(), passed_ns = now_ns - device->measured_ns;
    bool measured = device->measured_ns != 0;

    if (measured && passed_ns < MEASURE_LEAST_NS)
        return;
    if (measured && passed_ns <= MEASURE_MOST_NS && m->busy_ns >= device->busy_ns)
        device->percent = percent_of(m->busy_ns - device->busy_ns, passed_ns);
    else
        device->percent = percent_of(m->busy_window_ns, m->window_ns);
    device->busy_ns = m->busy_ns;
    device->measured_ns = now_ns;
}

/* Of the memory's time nothing is metered by VM. */
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    struct vgpu_monitor m;
    nvmlReturn_t status = enter_and_ask(device, utilization, 0, &m);

    if (status != NVML_SUCCESS)
        return status;
    measure(device, &m);
    *utilization = (nvmlUtilization_t){.gpu = device->percent};
    library_leave();
    return NVML_SUCCESS;
}

/* Processes */

/* Writes one; either array may be NULL. */
static void give_process(const struct vgpu_monitor_process *process, unsigned at,
                         nvmlProcessInfo_t *infos, nvmlProcessInfo_v1_t *infos_v1)
{
    if (infos)
        infos[at] = (nvmlProcessInfo_t){.pid = process->pid,
                                        .usedGpuMemory = process->memory_bytes,
                                        .gpuInstanceId = NVML_NO_INSTANCE,
                                        .computeInstanceId = NVML_NO_INSTANCE};
    if (infos_v1)
        infos_v1[at] =
            (nvmlProcessInfo_v1_t){.pid = process->pid, .usedGpuMemory = process->memory_bytes};
}

/* Processes of other containers have numbers that mean nothing here: they are not listed. */
static nvmlReturn_t list_processes(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos,
                                   nvmlProcessInfo_v1_t *infos_v1)
{
    uint64_t here = vgpu_pid_namespace();
    unsigned room = infos || infos_v1 ? *count : 0, found = 0;
    struct vgpu_monitor m = {.processes = 1};

    for (unsigned first = 0; first < m.processes && first < PROCESSES_MOST;
         first += VGPU_MONITOR_PROCESSES) {
        nvmlReturn_t status = library_ask(device, first, &m);

        if (status != NVML_SUCCESS)
            return status;
        for (unsigned i = 0; i < VGPU_MONITOR_PROCESSES && first + i < m.processes; i++) {
            if (m.process[i].pid == 0 || m.process[i].pid_namespace != here)
                continue;
            if (found < room)
                give_process(&m.process[i], found, infos, infos_v1);
            found++;
        }
    }
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *infos)
{
    nvmlReturn_t status = library_enter_device(device, count);

    if (status != NVML_SUCCESS)
        return status;
    status = list_processes(device, count, infos, NULL);
    library_leave();
    return status;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                  nvmlProcessInfo_v1_t *infos)
{
    nvmlReturn_t status = library_enter_device(device, count);

    if (status != NVML_SUCCESS)
        return status;
    status = list_processes(device, count, NULL, infos);
    library_leave();
    return status;
}

/* There is no graphics here, and no MPS. */
static nvmlReturn_t give_no_process(nvmlDevice_t device, unsigned int *count)
{
    nvmlReturn_t status = library_enter_device(device, count);

    if (status != NVML_SUCCESS)
        return status;
    *count = 0;
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *infos)
{
    return give_no_process(device, count);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                   nvmlProcessInfo_v1_t *infos)
{
    return give_no_process(device, count);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                        nvmlProcessInfo_t *infos)
{
    return give_no_process(device, count);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_v1_t *infos)
{
    return give_no_process(device, count);
}
