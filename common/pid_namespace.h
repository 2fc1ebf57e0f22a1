/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which numbers of processes are comparable: a process in a container has another number outside
 * of it. Used by guest/libvgpu, which tells its number, and guest/libnvml, which lists numbers.
 */
#ifndef VGPU_COMMON_PID_NAMESPACE_H
#define VGPU_COMMON_PID_NAMESPACE_H

#include <stdint.h>

/* The inode of this process's namespace of process numbers; 0 where there is no /proc. */
uint64_t vgpu_pid_namespace(void);

#endif
