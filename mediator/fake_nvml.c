/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVML for the mediator's tests: two GPUs, the second of which knows no utilization. Processes
 * of the first are the lines "PID BYTES" of the file that FAKE_NVML_PROCESSES names. The first is
 * lost while there is a file of the name FAKE_NVML_LOST, and for the one look that finds a file of
 * the name FAKE_NVML_LOST_ONCE, and removes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mediator/nvml_calls.h"

#define EXPORT                           __attribute__((visibility("default")))
#define DECLARE(result, name, arguments) EXPORT result name arguments;
NVML_CALLS(DECLARE)

struct nvmlDevice_st {
    unsigned int index;
};

static struct nvmlDevice_st devices[2] = {{0}, {1}};

nvmlReturn_t nvmlInit_v2(void)
{
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlShutdown(void)
{
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    return "not supported";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    snprintf(version, length, "1.0");
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = 2;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    if (index > 1)
        return NVML_ERROR_NOT_SUPPORTED;
    *device = &devices[index];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-00000000000%u", device->index);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    snprintf(name, length, "Test GPU");
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    *pci = (nvmlPciInfo_t){.bus = device->index};
    snprintf(pci->busId, sizeof(pci->busId), "00000000:0%u:00.0", device->index);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    *memory = (nvmlMemory_t){1ull << 34, (1ull << 34) - 1000, 1000};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *infos)
{
    const char *path = getenv("FAKE_NVML_PROCESSES");
    FILE *file = path && device->index == 0 ? fopen(path, "re") : NULL;
    unsigned int room = *count;
    unsigned int pid;
    unsigned long long bytes;

    *count = 0;
    while (file && *count < room && fscanf(file, "%u %llu", &pid, &bytes) == 2)
        infos[(*count)++] = (nvmlProcessInfo_t){.pid = pid, .usedGpuMemory = bytes};
    if (file)
        fclose(file);
    return NVML_SUCCESS;
}

/* The lines "PID PERCENT" of the file that FAKE_NVML_UTILIZATION names, each time anew. */
EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                                    nvmlProcessUtilizationSample_t *samples,
                                                    unsigned int *count, unsigned long long since);

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                             nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long since)
{
    const char *path = getenv("FAKE_NVML_UTILIZATION");
    FILE *file = path && device->index == 0 ? fopen(path, "re") : NULL;
    unsigned int room = *count, pid, percent;

    *count = 0;
    while (file && *count < room && fscanf(file, "%u %u", &pid, &percent) == 2)
        samples[(*count)++] =
            (nvmlProcessUtilizationSample_t){.pid = pid, .timeStamp = since + 1, .smUtil = percent};
    if (file)
        fclose(file);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    if (device->index == 1)
        return NVML_ERROR_NOT_SUPPORTED;
    *utilization = (nvmlUtilization_t){42, 7};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor,
                                      unsigned int *temperature)
{
    const char *lost = getenv("FAKE_NVML_LOST"), *once = getenv("FAKE_NVML_LOST_ONCE");

    *temperature = 55;
    if (device->index != 0)
        return NVML_SUCCESS;
    return (once && unlink(once) == 0) || (lost && access(lost, F_OK) == 0) ? NVML_ERROR_GPU_IS_LOST
                                                                            : NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = 13000;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    *major = 9;
    *minor = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type,
                                       unsigned int *clock)
{
    *clock = type == NVML_CLOCK_MEM ? 2000 : 1000;
    return device->index == 1 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current,
                                  nvmlEnableState_t *pending)
{
    *current = *pending = NVML_FEATURE_ENABLED;
    return device->index == 1 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}
