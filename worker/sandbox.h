/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker may still do once its driver has opened what it needs: no new privileges, no
 * capabilities, no files but the GPU's (Landlock, where the kernel has it), and an allow-list of
 * system calls. There are two lists: one for a driver that holds GPU device files, and a shorter
 * one for a driver that computes on the CPU and opens nothing.
 */
#ifndef VGPU_WORKER_SANDBOX_H
#define VGPU_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

enum sandbox_mode {
    SANDBOX_OFF,
    SANDBOX_LOG, /* a call that is not listed is printed and answers ENOSYS */
    SANDBOX_ON   /* a call that is not listed kills the process */
};

/* Closes all descriptors from first_fd on; before the driver is loaded. */
void sandbox_close_from(int first_fd);

/*
 * For good, for all threads. notify_request: the one ioctl that is needed, which wakes a guest; 0:
 * none is. *ret_applied: a static text for the log.
 */
int sandbox_enter(enum sandbox_mode mode, unsigned long notify_request, const char **ret_applied,
                  struct vgpu_err *err);

#endif
