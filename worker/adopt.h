/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a spare worker comes to its channel: it tells the launcher that its driver is up, waits, and
 * takes over the channel's descriptors and its VM's user. Called by main.c, once, before the
 * sandbox closes and before anything of a guest is read.
 *
 * Invariant: after adopt_user() a spare has no more rights, in any of its threads, than a worker
 * that was started for the channel; where that cannot be shown it fails.
 */
#ifndef VGPU_WORKER_ADOPT_H
#define VGPU_WORKER_ADOPT_H

#include <vgpu/launch.h>

#include "common/err.h"

/* While there is one thread: threads that come later cannot hand capabilities to a program. */
int adopt_prepare(struct vgpu_err *err);

/*
 * Waits for the launcher's word on sock, for as long as it takes, and puts the channel's
 * descriptors at first_fd and above. -ENOTCONN: the launcher is gone.
 */
int adopt_wait(int sock, int first_fd, struct vgpu_launch_adopt *ret_adopt, struct vgpu_err *err);

int adopt_user(const struct vgpu_launch_adopt *adopt, struct vgpu_err *err);

#endif
