/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML as a monitoring program in a VM uses it, in C: loads libnvidia-ml.so.1 by its name and
 * prints what it says of the first device, as "key value" lines. tests/vm/test_vm_nvml.py runs it
 * in guests.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda/nvml_abi.h"

#define PROCESSES 16

static void *library;

/* A function of NVML, called; whatever fails ends the program. */
#define CALL(name, arguments, ...)                                                                 \
    do {                                                                                           \
        nvmlReturn_t(*call_) arguments;                                                            \
        nvmlReturn_t result_;                                                                      \
        *(void **)&call_ = dlsym(library, #name);                                                  \
        if (!call_ || (result_ = call_(__VA_ARGS__)) != NVML_SUCCESS) {                            \
            fprintf(stderr, "%s: %d\n", #name, call_ ? (int)result_ : -1);                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void show_device(nvmlDevice_t device)
{
    char name[NVML_DEVICE_NAME_BUFFER_SIZE], uuid[NVML_DEVICE_UUID_BUFFER_SIZE];
    nvmlProcessInfo_t processes[PROCESSES];
    unsigned count = PROCESSES;
    nvmlUtilization_t utilization;
    nvmlMemory_t memory;

    CALL(nvmlDeviceGetName, (nvmlDevice_t, char *, unsigned), device, name, sizeof(name));
    CALL(nvmlDeviceGetUUID, (nvmlDevice_t, char *, unsigned), device, uuid, sizeof(uuid));
    CALL(nvmlDeviceGetMemoryInfo, (nvmlDevice_t, nvmlMemory_t *), device, &memory);
    CALL(nvmlDeviceGetUtilizationRates, (nvmlDevice_t, nvmlUtilization_t *), device, &utilization);
    CALL(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t, unsigned *, nvmlProcessInfo_t *),
         device, &count, processes);
    printf("name %s\nuuid %s\ntotal %llu\nused %llu\nutilization %u\n", name, uuid, memory.total,
           memory.used, utilization.gpu);
    for (unsigned i = 0; i < count; i++)
        printf("process %u %llu\n", processes[i].pid, processes[i].usedGpuMemory);
}

int main(void)
{
    unsigned count = 0;
    nvmlDevice_t device;

    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    CALL(nvmlInit_v2, (void));
    CALL(nvmlDeviceGetCount_v2, (unsigned *), &count);
    printf("count %u\n", count);
    CALL(nvmlDeviceGetHandleByIndex_v2, (unsigned, nvmlDevice_t *), 0, &device);
    show_device(device);
    CALL(nvmlShutdown, (void));
    return 0;
}
