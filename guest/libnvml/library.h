/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML for a guest without an NVIDIA driver: what its functions share. library.c keeps the count of
 * nvmlInit, the devices, and the way to the host; system.c, device.c and usage.c are the functions
 * that nvml.spec calls `api`; those that it calls otherwise are generated.
 *
 * Each function enters first and leaves last, so one thread at a time is inside. Nothing here makes
 * a channel or a CUDA context. The devices are those of nvmlInit until the last nvmlShutdown; their
 * handles stay valid pointers for the life of the process.
 */
#ifndef VGPU_LIBNVML_LIBRARY_H
#define VGPU_LIBNVML_LIBRARY_H

#include <stdbool.h>
#include <vgpu/monitor.h>

#include "cuda/nvml_abi.h"

struct nvmlDevice_st {
    unsigned index;             /* NVML's */
    struct vgpu_monitor facts;  /* as nvmlInit found it; only identity and facts are used */
    unsigned domain, bus, slot; /* of facts.pci */

    /* usage.c: the last measurement */
    uint64_t busy_ns, measured_ns; /* measured_ns 0: none yet */
    unsigned percent;
};

/* NVML_ERROR_UNINITIALIZED, or inside: library_leave() must follow. */
nvmlReturn_t library_enter(void);
void library_leave(void);

/* The same, and the device and the place for the result are there, or NVML_ERROR_INVALID_ARGUMENT.
 */
nvmlReturn_t library_enter_device(nvmlDevice_t device, const void *result);

/* Inside. */
unsigned library_count(void);
nvmlDevice_t library_device(unsigned index);

/* Inside: the device as the host knows it now, with the processes from `first` on. */
nvmlReturn_t library_ask(nvmlDevice_t device, unsigned first, struct vgpu_monitor *ret);

/* What an unsupported function answers. */
nvmlReturn_t library_unsupported(void);

/* Where the host is met: path.c. */
const char *library_path(void);

#endif
