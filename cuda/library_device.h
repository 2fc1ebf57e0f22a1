/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A context to look at a library in: the current one if it is of the device that is asked about,
 * else the device's primary context, kept for the time being.
 */
#ifndef VGPU_CUDA_LIBRARY_DEVICE_H
#define VGPU_CUDA_LIBRARY_DEVICE_H

#include "cuda/library.h"

#define LIBRARY_ANY_DEVICE (-1)

struct library_device {
    bool borrowed; /* the primary context is retained and pushed */
    CUdevice device;
    unsigned long long context_id;
};

/* What each call reports before its arguments are looked at. */
CUresult library_enter(void);

CUresult library_device_enter(struct library_device *at, CUdevice device);

/* If the primary context ends with it, the library forgets what it had there. */
void library_device_leave(const struct library_device *at, struct library *library);

#endif
