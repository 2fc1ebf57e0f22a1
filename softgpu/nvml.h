/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of softgpu's NVML share: its state, from nvmlInit on. The lock guards all of it;
 * it is not held while a call waits for events or is delayed on purpose.
 */
#ifndef SOFTGPU_NVML_H
#define SOFTGPU_NVML_H

#include <pthread.h>
#include <stdbool.h>

#include "softgpu/health.h"
#include "softgpu/identity.h"
#include "cuda/nvml_abi.h"
#include "softgpu/usage.h"

#define NVML_API __attribute__((visibility("default")))

struct nvmlDevice_st {
    unsigned index; /* softgpu's; NVML's is the place in nvml.present */
    unsigned pci_bus;
    uint64_t sampled_ns, sampled_busy_ns; /* when utilisation was last asked for */
    unsigned utilization_percent;
};

struct nvml {
    pthread_mutex_t lock;
    unsigned users; /* nvmlInit less nvmlShutdown */
    struct identity_config config;
    char *dir;           /* SOFTGPU_STATE_DIR, or NULL */
    struct usage *usage; /* NULL without it */
    struct nvmlDevice_st devices[SOFTGPU_MAX_DEVICES];
    struct nvmlDevice_st *present[SOFTGPU_MAX_DEVICES]; /* what nvmlInit found */
    unsigned n_present;
};

extern struct nvml nvml;

/* SUCCESS with the lock held, or UNINITIALIZED. */
nvmlReturn_t nvml_enter(void);
void nvml_leave(void);

/* The same for a call on a device: also INVALID_ARGUMENT for a handle or pointer that is none,
 * GPU_IS_LOST and RESET_REQUIRED. health may be NULL. */
nvmlReturn_t nvml_enter_device(nvmlDevice_t device, const void *result, struct health *health);

/* SUCCESS with the lock held if the handle is one of a device, whatever its state. */
nvmlReturn_t nvml_enter_any(nvmlDevice_t device);

#endif
