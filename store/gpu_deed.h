/* SPDX-License-Identifier: Apache-2.0 */
/* What the audit log says of a GPU that was reset, or whose errors were accepted: no configuration.
 */
#ifndef VGPU_STORE_GPU_DEED_H
#define VGPU_STORE_GPU_DEED_H

#include "store/database.h"

int gpu_deed_command_record(struct store_call *call, struct vgpu_err *err);

#endif
