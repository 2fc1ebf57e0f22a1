/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a CUDA driver library can be loaded, for vgpu-admin doctor: here, as that may hang. */
#ifndef VGPU_MEDIATOR_DRIVER_CHECK_H
#define VGPU_MEDIATOR_DRIVER_CHECK_H

#include <jansson.h>

#include "common/err.h"

/* {"path", "cuda_version": 13000}, or NULL with the reason. No device is touched. */
json_t *driver_check(const char *path, struct vgpu_err *err);

#endif
