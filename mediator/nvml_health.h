/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vgpu-nvml tells of a GPU's health, and its reset. Called by nvml_main.c; one thread.
 *
 * Each call of NVML here is optional: a library that lacks it, and a GPU that cannot tell, give
 * null. XID errors come by NVML's events, which are taken without waiting, and are told once.
 */
#ifndef VGPU_MEDIATOR_NVML_HEALTH_H
#define VGPU_MEDIATOR_NVML_HEALTH_H

#include <stdbool.h>

#include <jansson.h>

#include "common/err.h"
#include "cuda/nvml_abi.h"

#define NVML_GPUS_MAX 64u
#define NVML_XIDS_MAX 16u /* of a GPU, told at once; of more the first are told */

/* X(result, name, arguments) */
#define NVML_HEALTH_CALLS(X)                                                                       \
    X(nvmlReturn_t, nvmlDeviceGetFieldValues,                                                      \
      (nvmlDevice_t device, int count, nvmlFieldValue_t *values))                                  \
    X(nvmlReturn_t, nvmlDeviceGetPowerUsage, (nvmlDevice_t device, unsigned int *milliwatts))      \
    X(nvmlReturn_t, nvmlDeviceGetEnforcedPowerLimit,                                               \
      (nvmlDevice_t device, unsigned int *milliwatts))                                             \
    X(nvmlReturn_t, nvmlDeviceGetClockInfo,                                                        \
      (nvmlDevice_t device, nvmlClockType_t type, unsigned int *mhz))                              \
    X(nvmlReturn_t, nvmlDeviceGetCurrentClocksEventReasons,                                        \
      (nvmlDevice_t device, unsigned long long *reasons))                                          \
    X(nvmlReturn_t, nvmlDeviceGetCurrentClocksThrottleReasons,                                     \
      (nvmlDevice_t device, unsigned long long *reasons))                                          \
    X(nvmlReturn_t, nvmlDeviceGetTotalEccErrors,                                                   \
      (nvmlDevice_t device, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter,              \
       unsigned long long *count))                                                                 \
    X(nvmlReturn_t, nvmlDeviceGetRemappedRows,                                                     \
      (nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,                    \
       unsigned int *pending, unsigned int *failure))                                              \
    X(nvmlReturn_t, nvmlEventSetCreate, (nvmlEventSet_t * set))                                    \
    X(nvmlReturn_t, nvmlEventSetFree, (nvmlEventSet_t set))                                        \
    X(nvmlReturn_t, nvmlDeviceRegisterEvents,                                                      \
      (nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set))                         \
    X(nvmlReturn_t, nvmlEventSetWait_v2,                                                           \
      (nvmlEventSet_t set, nvmlEventData_t * data, unsigned int timeout_ms))                       \
    X(nvmlReturn_t, softgpuDeviceReset, (nvmlDevice_t device))

struct nvml_health {
#define NVML_HEALTH_MEMBER(result, name, arguments) result(*name) arguments;
    NVML_HEALTH_CALLS(NVML_HEALTH_MEMBER)
#undef NVML_HEALTH_MEMBER
    nvmlEventSet_t events; /* NULL: there are none */
    struct nvml_watched {
        nvmlDevice_t device; /* NULL: its events do not come */
        unsigned int n_xids;
        unsigned int xids[NVML_XIDS_MAX];
    } watched[NVML_GPUS_MAX];
};

/* library: of dlopen(). */
void nvml_health_load(struct nvml_health *health, void *library);

/* Before NVML is shut down: takes in the events that are there; they stay to be told. */
void nvml_health_pause(struct nvml_health *health);

/* NVML has been initialised. same: the GPUs have the indices that they had before, if they did. */
void nvml_health_resume(struct nvml_health *health, bool same);

/* Takes in the events that are there. Before a round over the GPUs. */
void nvml_health_poll(struct nvml_health *health);

/*
 * Adds to the object of a GPU, in the order of docs/spec: temperature_memory, power_w,
 * power_limit_w, clock_sm_mhz, clock_memory_mhz, throttle, ecc_corrected, ecc_uncorrected,
 * remapped_rows, remap_pending, remap_failure, recovery and xids. device NULL: it is not to be had.
 */
void nvml_health_add(struct nvml_health *health, nvmlDevice_t device, unsigned int index,
                     json_t *gpu);

/* -EOPNOTSUPP where the library has no call for it, -EBUSY while the GPU is in use. */
int nvml_health_reset(struct nvml_health *health, nvmlDevice_t device, struct vgpu_err *err);

#endif
