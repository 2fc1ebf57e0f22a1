/* SPDX-License-Identifier: Apache-2.0 */
/* What the audit log says of a reset of a GPU, which is no configuration. */
#ifndef VGPU_STORE_GPU_RESET_H
#define VGPU_STORE_GPU_RESET_H

#include "store/database.h"

int gpu_reset_command_record(struct store_call *call, struct vgpu_err *err);

#endif
