/* SPDX-License-Identifier: Apache-2.0 */
/* Draining: that an administrator wants no new work on a GPU, and why; in the table gpus. */
#ifndef VGPU_STORE_GPU_DRAIN_H
#define VGPU_STORE_GPU_DRAIN_H

#include "store/database.h"

int gpu_drain_command_drain(struct store_call *call, struct vgpu_err *err);
int gpu_drain_command_resume(struct store_call *call, struct vgpu_err *err);

#endif
