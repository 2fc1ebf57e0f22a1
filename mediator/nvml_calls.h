/* SPDX-License-Identifier: Apache-2.0 */
/* The NVML functions that vgpu-nvml loads by name, one table for it and for its test double. */
#ifndef VGPU_MEDIATOR_NVML_CALLS_H
#define VGPU_MEDIATOR_NVML_CALLS_H

#include "cuda/nvml_abi.h"

/* X(result, name, arguments) */
#define NVML_CALLS(X)                                                                              \
    X(nvmlReturn_t, nvmlInit_v2, (void))                                                           \
    X(nvmlReturn_t, nvmlShutdown, (void))                                                          \
    X(const char *, nvmlErrorString, (nvmlReturn_t result))                                        \
    X(nvmlReturn_t, nvmlSystemGetDriverVersion, (char *version, unsigned int length))              \
    X(nvmlReturn_t, nvmlDeviceGetCount_v2, (unsigned int *count))                                  \
    X(nvmlReturn_t, nvmlDeviceGetHandleByIndex_v2, (unsigned int index, nvmlDevice_t *device))     \
    X(nvmlReturn_t, nvmlDeviceGetUUID, (nvmlDevice_t device, char *uuid, unsigned int length))     \
    X(nvmlReturn_t, nvmlDeviceGetName, (nvmlDevice_t device, char *name, unsigned int length))     \
    X(nvmlReturn_t, nvmlDeviceGetPciInfo_v3, (nvmlDevice_t device, nvmlPciInfo_t * pci))           \
    X(nvmlReturn_t, nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t * memory))         \
    X(nvmlReturn_t, nvmlDeviceGetComputeRunningProcesses_v3,                                       \
      (nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos))                        \
    X(nvmlReturn_t, nvmlDeviceGetUtilizationRates,                                                 \
      (nvmlDevice_t device, nvmlUtilization_t * utilization))                                      \
    X(nvmlReturn_t, nvmlDeviceGetTemperature,                                                      \
      (nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *temperature))           \
    X(nvmlReturn_t, nvmlSystemGetCudaDriverVersion_v2, (int *version))                             \
    X(nvmlReturn_t, nvmlDeviceGetCudaComputeCapability,                                            \
      (nvmlDevice_t device, int *major, int *minor))                                               \
    X(nvmlReturn_t, nvmlDeviceGetMaxClockInfo,                                                     \
      (nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock))                            \
    X(nvmlReturn_t, nvmlDeviceGetEccMode,                                                          \
      (nvmlDevice_t device, nvmlEnableState_t * current, nvmlEnableState_t * pending))

/* Those that a library may lack: an old one, or the tests' own. */
#define NVML_OPTIONAL_CALLS(X)                                                                     \
    X(nvmlReturn_t, nvmlDeviceGetProcessUtilization,                                               \
      (nvmlDevice_t device, nvmlProcessUtilizationSample_t * samples, unsigned int *count,         \
       unsigned long long since))                                                                  \
    X(nvmlReturn_t, nvmlDeviceGetMigMode,                                                          \
      (nvmlDevice_t device, unsigned int *current, unsigned int *pending))                         \
    X(nvmlReturn_t, nvmlDeviceGetNumaNodeId, (nvmlDevice_t device, unsigned int *node))            \
    X(nvmlReturn_t, nvmlDeviceGetPersistenceMode, (nvmlDevice_t device, nvmlEnableState_t * mode))

#endif
