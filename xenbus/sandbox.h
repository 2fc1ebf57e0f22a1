/* SPDX-License-Identifier: Apache-2.0 */
/* What vgpu-xenbus may still do once it has opened what it needs. main.c enters it. */
#ifndef VGPU_XENBUS_SANDBOX_H
#define VGPU_XENBUS_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"

/* Becomes this user and group, without any right of the one before. */
int sandbox_become(uid_t uid, gid_t gid, struct vgpu_err *err);
/* An allow-list of system calls, for all threads and for good: any other one kills. */
int sandbox_enter(struct vgpu_err *err);

#endif
