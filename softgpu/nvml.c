/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML for softgpu devices: the library's life, and what a device is and does. Events are in
 * nvml_event.c. Loaded by whoever would load libnvidia-ml.so.1.
 */
#include "softgpu/nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "softgpu/nvml_api.h"

#define NVML_VERSION         "13." SOFTGPU_DRIVER_VERSION
#define PCI_DEVICE_ID        0x10f01af4u
#define SAMPLE_NS            (100 * VGPU_NS_PER_MS)
#define MAX_CLOCK_MHZ        1980
#define MAX_MEMORY_CLOCK_MHZ 3201

struct nvml nvml = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Which devices there are, and where: what changes later is found by the next nvmlInit. */
static void find_devices(void)
{
    nvml.n_present = 0;
    for (unsigned i = 0; i < SOFTGPU_MAX_DEVICES; i++) {
        struct nvmlDevice_st *device = &nvml.devices[i];
        struct health health;

        *device = (struct nvmlDevice_st){.index = i, .pci_bus = identity_pci_bus(i)};
        if (i >= nvml.config.devices)
            continue;
        health_read(&health, nvml.dir, i);
        if (health.pci_bus <= SOFTGPU_MAX_PCI_BUS)
            device->pci_bus = (unsigned)health.pci_bus;
        if (!health.absent)
            nvml.present[nvml.n_present++] = device;
    }
}

static nvmlReturn_t start(void)
{
    const char *dir = secure_getenv("SOFTGPU_STATE_DIR");

    if (identity_config(&nvml.config))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    nvml.dir = dir ? strdup(dir) : NULL;
    if (dir && !nvml.dir)
        return NVML_ERROR_MEMORY;
    nvml.usage = usage_open_reader(nvml.dir);
    find_devices();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    nvmlReturn_t result = NVML_SUCCESS;

    if (flags & ~(unsigned)(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH))
        return NVML_ERROR_INVALID_ARGUMENT;
    pthread_mutex_lock(&nvml.lock);
    if (nvml.users == 0)
        result = start();
    nvml.users += result == NVML_SUCCESS;
    pthread_mutex_unlock(&nvml.lock);
    return result;
}

nvmlReturn_t nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t result = nvml_enter();

    if (result != NVML_SUCCESS)
        return result;
    if (--nvml.users == 0) {
        usage_close(nvml.usage);
        free(nvml.dir);
        nvml.usage = NULL;
        nvml.dir = NULL;
    }
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvml_enter(void)
{
    pthread_mutex_lock(&nvml.lock);
    if (nvml.users > 0)
        return NVML_SUCCESS;
    pthread_mutex_unlock(&nvml.lock);
    return NVML_ERROR_UNINITIALIZED;
}

void nvml_leave(void)
{
    pthread_mutex_unlock(&nvml.lock);
}

static bool is_device(nvmlDevice_t device)
{
    for (unsigned i = 0; i < nvml.config.devices; i++) {
        if (device == &nvml.devices[i])
            return true;
    }
    return false;
}

nvmlReturn_t nvml_enter_any(nvmlDevice_t device)
{
    nvmlReturn_t status = nvml_enter();

    if (status == NVML_SUCCESS && !is_device(device)) {
        nvml_leave();
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return status;
}

static void delay(uint64_t milliseconds)
{
    struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};

    nanosleep(&time, NULL);
}

nvmlReturn_t nvml_enter_device(nvmlDevice_t device, const void *result, struct health *health)
{
    nvmlReturn_t status = nvml_enter_any(device);
    struct health local;

    if (status != NVML_SUCCESS)
        return status;
    if (!result) {
        nvml_leave();
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!health)
        health = &local;
    health_read(health, nvml.dir, device->index);
    if (health->delay_ms) {
        nvml_leave();
        delay(health->delay_ms);
        status = nvml_enter();
        if (status != NVML_SUCCESS)
            return status;
    }
    if (health->lost || health->reset_required) {
        nvml_leave();
        return health->lost ? NVML_ERROR_GPU_IS_LOST : NVML_ERROR_RESET_REQUIRED;
    }
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
#define RETURN_TEXT(name, value, text)                                                             \
    case name:                                                                                     \
        return text;
        NVML_RETURNS(RETURN_TEXT)
#undef RETURN_TEXT
    }
    return "Unknown Error";
}

static nvmlReturn_t copy_text(const char *text, char *ret, unsigned length)
{
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(ret, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

static nvmlReturn_t system_text(const char *text, char *ret, unsigned length)
{
    nvmlReturn_t result = nvml_enter();

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    return ret ? copy_text(text, ret, length) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    return system_text(SOFTGPU_DRIVER_VERSION, version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    return system_text(NVML_VERSION, version, length);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = SOFTGPU_CUDA_VERSION;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    nvmlReturn_t result = nvml_enter();

    if (result != NVML_SUCCESS)
        return result;
    if (count)
        *count = nvml.n_present;
    nvml_leave();
    return count ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count)
{
    return nvmlDeviceGetCount_v2(count);
}

/* Leaves after giving a handle; NULL: there is none. */
static nvmlReturn_t give(nvmlDevice_t found, nvmlReturn_t otherwise, nvmlDevice_t *device)
{
    if (found)
        *device = found;
    nvml_leave();
    return found ? NVML_SUCCESS : otherwise;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    nvmlReturn_t result = device ? nvml_enter() : NVML_ERROR_INVALID_ARGUMENT;

    if (result != NVML_SUCCESS)
        return result;
    return give(index < nvml.n_present ? nvml.present[index] : NULL, NVML_ERROR_INVALID_ARGUMENT,
                device);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    nvmlReturn_t result = uuid && device ? nvml_enter() : NVML_ERROR_INVALID_ARGUMENT;
    char text[SOFTGPU_UUID_TEXT];
    nvmlDevice_t found = NULL;

    if (result != NVML_SUCCESS)
        return result;
    for (unsigned i = 0; i < nvml.n_present; i++) {
        identity_uuid_text(nvml.present[i]->index, text);
        if (strcasecmp(text, uuid) == 0)
            found = nvml.present[i];
    }
    return give(found, NVML_ERROR_NOT_FOUND, device);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pci_bus_id, nvmlDevice_t *device)
{
    nvmlReturn_t result = pci_bus_id && device ? nvml_enter() : NVML_ERROR_INVALID_ARGUMENT;
    nvmlDevice_t found = NULL;
    int bus;

    if (result != NVML_SUCCESS)
        return result;
    bus = identity_pci_parse(pci_bus_id);
    for (unsigned i = 0; i < nvml.n_present; i++)
        if (bus >= 0 && nvml.present[i]->pci_bus == (unsigned)bus)
            found = nvml.present[i];
    return give(found, NVML_ERROR_NOT_FOUND, device);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *pci_bus_id, nvmlDevice_t *device)
{
    return nvmlDeviceGetHandleByPciBusId_v2(pci_bus_id, device);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    nvmlReturn_t result = nvml_enter_device(device, name, NULL);

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    return copy_text(SOFTGPU_NAME, name, length);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    nvmlReturn_t result = nvml_enter_device(device, uuid, NULL);
    char text[SOFTGPU_UUID_TEXT];

    if (result != NVML_SUCCESS)
        return result;
    identity_uuid_text(device->index, text);
    nvml_leave();
    return copy_text(text, uuid, length);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    nvmlReturn_t result = nvml_enter_device(device, pci, NULL);

    if (result != NVML_SUCCESS)
        return result;
    *pci = (nvmlPciInfo_t){
        .bus = device->pci_bus,
        .pciDeviceId = PCI_DEVICE_ID,
        .pciSubSystemId = PCI_DEVICE_ID,
    };
    snprintf(pci->busIdLegacy, sizeof(pci->busIdLegacy), "0000:%02X:00.0", pci->bus & 0xff);
    snprintf(pci->busId, sizeof(pci->busId), "00000000:%02X:00.0", pci->bus & 0xff);
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_v2_t *pci)
{
    nvmlPciInfo_t newest;
    nvmlReturn_t result =
        pci ? nvmlDeviceGetPciInfo_v3(device, &newest) : NVML_ERROR_INVALID_ARGUMENT;

    if (result != NVML_SUCCESS)
        return result;
    *pci = (nvmlPciInfo_v2_t){
        .domain = newest.domain,
        .bus = newest.bus,
        .device = newest.device,
        .pciDeviceId = newest.pciDeviceId,
        .pciSubSystemId = newest.pciSubSystemId,
    };
    memcpy(pci->busId, newest.busIdLegacy, sizeof(pci->busId));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_v1_t *pci)
{
    nvmlPciInfo_v2_t newer;
    nvmlReturn_t result =
        pci ? nvmlDeviceGetPciInfo_v2(device, &newer) : NVML_ERROR_INVALID_ARGUMENT;

    if (result == NVML_SUCCESS)
        memcpy(pci, &newer, sizeof(*pci)); /* the newer one only has more at its end */
    return result;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    nvmlReturn_t result = nvml_enter_device(device, index, NULL);
    unsigned place = 0;

    if (result != NVML_SUCCESS)
        return result;
    while (place + 1 < nvml.n_present && nvml.present[place] != device)
        place++;
    *index = place;
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
    nvmlReturn_t result = nvml_enter_device(device, minor, NULL);

    if (result != NVML_SUCCESS)
        return result;
    *minor = device->index;
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    nvmlReturn_t result = nvml_enter_device(device, minor ? major : NULL, NULL);

    if (result != NVML_SUCCESS)
        return result;
    *major = SOFTGPU_SM_MAJOR;
    *minor = SOFTGPU_SM_MINOR;
    nvml_leave();
    return NVML_SUCCESS;
}

/* Memory in use: what the file says, or what all processes account for. Lock held. */
static uint64_t memory_used(nvmlDevice_t device, const struct health *health)
{
    uint64_t total = (uint64_t)nvml.config.memory_mb << 20;
    uint64_t used = health->memory_used_bytes;

    if (used == UINT64_MAX) {
        usage_sweep(nvml.usage);
        used = usage_of_others(nvml.usage, device->index);
    }
    return used < total ? used : total;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, memory, &health);

    if (result != NVML_SUCCESS)
        return result;
    memory->total = (uint64_t)nvml.config.memory_mb << 20;
    memory->used = memory_used(device, &health);
    memory->free = memory->total - memory->used;
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    nvmlMemory_t plain;
    nvmlReturn_t result;

    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != NVML_MEMORY_V2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    result = nvmlDeviceGetMemoryInfo(device, &plain);
    if (result != NVML_SUCCESS)
        return result;
    memory->total = plain.total;
    memory->reserved = 0;
    memory->free = plain.free;
    memory->used = plain.used;
    return NVML_SUCCESS;
}

/* Time in kernels since the last question, of the time that has passed. Lock held. */
static unsigned measured_utilization(nvmlDevice_t device)
{
    const struct usage_file *file = usage_contents(nvml.usage);
    uint64_t now_ns = vgpu_clock_ns();
    uint64_t busy_ns = 0;

    if (!file || now_ns - device->sampled_ns < SAMPLE_NS)
        return device->utilization_percent;
    busy_ns = __atomic_load_n(&file->ended_busy_ns[device->index], __ATOMIC_RELAXED);
    for (unsigned i = 0; i < USAGE_SLOTS; i++)
        busy_ns += __atomic_load_n(&file->slots[i].busy_ns[device->index], __ATOMIC_RELAXED);
    if (device->sampled_ns && busy_ns >= device->sampled_busy_ns) {
        uint64_t percent =
            (busy_ns - device->sampled_busy_ns) * 100 / (now_ns - device->sampled_ns);

        device->utilization_percent = percent < 100 ? (unsigned)percent : 100;
    }
    device->sampled_ns = now_ns;
    device->sampled_busy_ns = busy_ns;
    return device->utilization_percent;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, utilization, &health);

    if (result != NVML_SUCCESS)
        return result;
    utilization->gpu = health.utilization_percent == UINT64_MAX
                           ? measured_utilization(device)
                           : (unsigned)health.utilization_percent;
    utilization->memory = (unsigned)health.memory_utilization_percent;
    nvml_leave();
    return NVML_SUCCESS;
}

/* Answers one number of the device's state. */
#define NUMBER_OF(device, ret, field)                                                              \
    do {                                                                                           \
        struct health health_;                                                                     \
        nvmlReturn_t result_ = nvml_enter_device(device, ret, &health_);                           \
                                                                                                   \
        if (result_ != NVML_SUCCESS)                                                               \
            return result_;                                                                        \
        *(ret) = (__typeof__(*(ret)))health_.field;                                                \
        nvml_leave();                                                                              \
        return NVML_SUCCESS;                                                                       \
    } while (0)

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor,
                                      unsigned int *temperature)
{
    if (sensor != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    NUMBER_OF(device, temperature, temperature_celsius);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power)
{
    NUMBER_OF(device, power, power_milliwatts);
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *limit)
{
    NUMBER_OF(device, limit, power_limit_milliwatts);
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock)
{
    if ((unsigned)type > NVML_CLOCK_VIDEO)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (type == NVML_CLOCK_MEM)
        NUMBER_OF(device, clock, memory_clock_mhz);
    NUMBER_OF(device, clock, sm_clock_mhz);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type,
                                       unsigned int *clock)
{
    nvmlReturn_t result = nvmlDeviceGetClockInfo(device, type, clock);

    if (result == NVML_SUCCESS)
        *clock = type == NVML_CLOCK_MEM ? MAX_MEMORY_CLOCK_MHZ : MAX_CLOCK_MHZ;
    return result;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type,
                                         nvmlEccCounterType_t counter, unsigned long long *count)
{
    if ((unsigned)type > NVML_MEMORY_ERROR_UNCORRECTED || (unsigned)counter > NVML_AGGREGATE_ECC)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (counter == NVML_VOLATILE_ECC) {
        if (type == NVML_MEMORY_ERROR_CORRECTED)
            NUMBER_OF(device, count, ecc_corrected);
        NUMBER_OF(device, count, ecc_uncorrected);
    }
    if (type == NVML_MEMORY_ERROR_CORRECTED)
        NUMBER_OF(device, count, ecc_corrected_total);
    NUMBER_OF(device, count, ecc_uncorrected_total);
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current,
                                  nvmlEnableState_t *pending)
{
    nvmlReturn_t result = nvml_enter_device(device, pending ? current : NULL, NULL);

    if (result != NVML_SUCCESS)
        return result;
    *current = *pending = NVML_FEATURE_ENABLED;
    nvml_leave();
    return NVML_SUCCESS;
}

/* Addresses of retired pages are not known: only their number. */
nvmlReturn_t nvmlDeviceGetRetiredPages(nvmlDevice_t device, nvmlPageRetirementCause_t cause,
                                       unsigned int *count, unsigned long long *addresses)
{
    struct health health;
    nvmlReturn_t result;
    uint64_t n;

    if ((unsigned)cause > NVML_PAGE_RETIREMENT_DOUBLE_BIT)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = nvml_enter_device(device, count, &health);
    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    n = cause == NVML_PAGE_RETIREMENT_SINGLE_BIT ? health.retired_single_bit
                                                 : health.retired_double_bit;
    if (*count < n) {
        *count = (unsigned)n;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    *count = (unsigned)n;
    if (n > 0 && !addresses)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (uint64_t i = 0; i < n; i++)
        addresses[i] = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t device, nvmlEnableState_t *pending)
{
    NUMBER_OF(device, pending, retirement_pending != 0);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, pending ? current : NULL, &health);

    if (result != NVML_SUCCESS)
        return result;
    *current = *pending = health.mig_mode ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
    nvml_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t device, unsigned int *node)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, node, &health);

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    if (health.numa_node > INT32_MAX)
        return NVML_ERROR_NOT_SUPPORTED;
    *node = (unsigned)health.numa_node;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *mode)
{
    NUMBER_OF(device, mode, persistence_mode != 0);
}

/* Collects processes from the shared account and from the file. Lock held. */
static unsigned collect_processes(nvmlDevice_t device, const struct health *health,
                                  nvmlProcessInfo_t *list)
{
    const struct usage_file *file;
    unsigned n = 0;

    usage_sweep(nvml.usage);
    file = usage_contents(nvml.usage);
    for (unsigned i = 0; file && i < USAGE_SLOTS; i++) {
        uint32_t pid = __atomic_load_n(&file->slots[i].pid, __ATOMIC_ACQUIRE);
        uint64_t bytes =
            __atomic_load_n(&file->slots[i].memory_bytes[device->index], __ATOMIC_RELAXED);

        if (pid && bytes)
            list[n++] = (nvmlProcessInfo_t){pid, bytes, NVML_NO_INSTANCE, NVML_NO_INSTANCE};
    }
    for (size_t i = 0; i < health->n_processes; i++) {
        list[n++] = (nvmlProcessInfo_t){(unsigned)health->processes[i].pid,
                                        health->processes[i].memory_bytes, NVML_NO_INSTANCE,
                                        NVML_NO_INSTANCE};
    }
    return n;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *infos)
{
    nvmlProcessInfo_t list[USAGE_SLOTS + HEALTH_MAX_PROCESSES];
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, count, &health);
    unsigned n, room;

    if (result != NVML_SUCCESS)
        return result;
    n = collect_processes(device, &health, list);
    nvml_leave();
    room = *count;
    *count = n;
    if (room < n)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    if (n > 0 && !infos)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < n; i++)
        infos[i] = list[i];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *infos)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, infos);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                  nvmlProcessInfo_v1_t *infos)
{
    nvmlProcessInfo_t list[USAGE_SLOTS + HEALTH_MAX_PROCESSES];
    unsigned room = VGPU_ARRAY_SIZE(list), asked;
    nvmlReturn_t result;

    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = nvmlDeviceGetComputeRunningProcesses_v3(device, &room, list);
    if (result != NVML_SUCCESS)
        return result;
    asked = *count;
    *count = room;
    if (asked < room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    if (room > 0 && !infos)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < room; i++)
        infos[i] = (nvmlProcessInfo_v1_t){list[i].pid, list[i].usedGpuMemory};
    return NVML_SUCCESS;
}
