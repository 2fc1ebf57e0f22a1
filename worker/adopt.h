/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a spare worker comes to its channel: it tells the launcher that its driver is up, waits, and
 * takes over the channel's descriptors and its VM's user. A worker that was started for a channel
 * by grants does the last step too. Called by main.c, once, before the sandbox closes and before
 * anything of a guest is read.
 *
 * Invariant: after adopt_user() there are no more rights, in any thread, than a worker has that was
 * started for a channel of memory objects; where that cannot be shown it fails.
 */
#ifndef VGPU_WORKER_ADOPT_H
#define VGPU_WORKER_ADOPT_H

#include <vgpu/launch.h>

#include "carrier/grant_ops.h"
#include "common/err.h"

/* While there is one thread: threads that come later cannot hand capabilities to a program. */
int adopt_prepare(struct vgpu_err *err);

/*
 * Waits for the launcher's word on sock, for as long as it takes, and puts the channel's
 * descriptors at first_fd and above. -ENOTCONN: the launcher is gone.
 */
int adopt_wait(int sock, int first_fd, struct vgpu_launch_adopt *ret_adopt, struct vgpu_err *err);

/*
 * Takes the VM's user on, if there is one. grants, where that is not NULL: `memory` is the device
 * of grants as the launcher has opened it, and is replaced by one that this process has opened: by
 * way of root, whose node it is, and by no path. Where that does not work, it stays what it was.
 */
int adopt_user(const struct vgpu_launch_adopt *adopt, const struct grant_ops *grants, int memory,
               struct vgpu_err *err);

#endif
