/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets of GPUs, which only an administrator asks for. Refused while a VM has a channel there; a
 * GPU that is being reset gets none, and its spare workers go first. The NVML helper does it where
 * its library can; else it lets go of NVML, and the launcher runs a program for it.
 * Called by admin.c, and by mediator.c for the launcher.
 */
#ifndef VGPU_MEDIATOR_RESET_H
#define VGPU_MEDIATOR_RESET_H

#include <stdint.h>

#include "common/err.h"

struct mediator;
struct vgpu_launch_reset_done;

/* err: NULL if the GPU was reset, and the audit log says so. */
typedef void reset_done_fn(void *context, const struct vgpu_err *err);

/* 0, or why it would not be reset now: -ENOENT, -EBUSY with who uses it, -EAGAIN without NVML. */
int reset_check(const struct mediator *mediator, uint32_t gpu_id, struct vgpu_err *err);
/*
 * Tells done of the outcome later, never from within this call; or -errno, as reset_check(). who is
 * for the audit log, which has the outcome first.
 */
int reset_start(struct mediator *mediator, uint32_t gpu_id, const char *who, reset_done_fn *done,
                void *context, struct vgpu_err *err);
/* The launcher's word, or its end. */
void reset_launcher_done(struct mediator *mediator, const struct vgpu_launch_reset_done *done);
void reset_launcher_lost(struct mediator *mediator);
/* Whoever asked is going away; the reset goes on. */
void reset_forget(struct mediator *mediator, void *context);
void reset_release(struct mediator *mediator);

#endif
