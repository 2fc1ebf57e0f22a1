/* SPDX-License-Identifier: Apache-2.0 */
/* Takes files away from the process, where the kernel has Landlock (5.13 and later). */
#ifndef VGPU_WORKER_LANDLOCK_H
#define VGPU_WORKER_LANDLOCK_H

#include <stdbool.h>

/*
 * No file can be opened any more; with a device, only those that NVIDIA's driver opens late. The
 * calling thread must have no_new_privs. Returns 0, or -errno if nothing was restricted.
 */
int landlock_restrict(bool device);

#endif
