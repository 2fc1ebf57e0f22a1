/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job window of vgpu-stub (docs/spec/device.md): small explicit jobs without any driver, by the
 * registers in the device's BAR 0 as sysfs shows them. For root, and one process at a time.
 */
#ifndef VGPU_GUEST_CLIENT_JOB_WINDOW_H
#define VGPU_GUEST_CLIENT_JOB_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/libvgpu/vgpu.h"

#define JOB_WINDOW_DEVICES "/sys/bus/pci/devices"

struct job_window {
    int fd;
    volatile uint32_t *registers;
    uint64_t limit_ns; /* how long a job is waited for */
};

/* The folder of the first vgpu-stub below `devices`; false if there is none. */
bool job_window_find(const char *devices, char *ret_path, size_t size);

/* Takes the device for this process. VGPU_OK, or why not in *failure. */
enum vgpu_status job_window_open(struct job_window *window, const char *path,
                                 struct vgpu_failure *failure);
void job_window_close(struct job_window *window);

/* sum[i] = a[i] + b[i] with wrap-around, for 1 to VGPU_JOB_ELEMENTS elements. */
enum vgpu_status job_window_vector_add(struct job_window *window, const int32_t *a,
                                       const int32_t *b, int32_t *sum, uint32_t count,
                                       struct vgpu_failure *failure);

#endif
