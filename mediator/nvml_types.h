/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few parts of NVML's binary interface that vgpu-nvml uses, declared here because the library
 * is loaded by path and its header may not be there. docs.nvidia.com/deploy/nvml-api has the whole.
 */
#ifndef VGPU_MEDIATOR_NVML_TYPES_H
#define VGPU_MEDIATOR_NVML_TYPES_H

#define NVML_SUCCESS         0
#define NVML_TEMPERATURE_GPU 0u
#define NVML_UUID_BYTES      96u
#define NVML_NAME_BYTES      96u
#define NVML_VERSION_BYTES   80u

typedef struct nvmlDevice_st *nvmlDevice_t;

typedef struct {
    unsigned long long total, free, used; /* bytes */
} nvmlMemory_t;

typedef struct {
    unsigned int gpu, memory; /* per cent */
} nvmlUtilization_t;

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

/* X(result, name, arguments) */
#define NVML_CALLS(X)                                                                              \
    X(int, nvmlInit_v2, (void))                                                                    \
    X(const char *, nvmlErrorString, (int result))                                                 \
    X(int, nvmlSystemGetDriverVersion, (char *version, unsigned int length))                       \
    X(int, nvmlDeviceGetCount_v2, (unsigned int *count))                                           \
    X(int, nvmlDeviceGetHandleByIndex_v2, (unsigned int index, nvmlDevice_t *device))              \
    X(int, nvmlDeviceGetUUID, (nvmlDevice_t device, char *uuid, unsigned int length))              \
    X(int, nvmlDeviceGetName, (nvmlDevice_t device, char *name, unsigned int length))              \
    X(int, nvmlDeviceGetPciInfo_v3, (nvmlDevice_t device, nvmlPciInfo_t * pci))                    \
    X(int, nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t * memory))                  \
    X(int, nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, nvmlUtilization_t * utilization))  \
    X(int, nvmlDeviceGetTemperature,                                                               \
      (nvmlDevice_t device, unsigned int sensor, unsigned int *temperature))

#endif
