/* SPDX-License-Identifier: Apache-2.0 */
/* Runs `vgpu-nvml --scan`, for scans while no mediator runs. */
#ifndef VGPU_ADMIN_NVML_HELPER_H
#define VGPU_ADMIN_NVML_HELPER_H

#include <jansson.h>

#include "common/err.h"

/*
 * path: of the helper; NULL: it is looked for beside this program and in ../libexec/vgpu. *ret_gpus
 * is the array that it prints. -ENOENT: there is none; -ETIMEDOUT: the driver hangs.
 */
int nvml_helper_scan(const char *path, json_t **ret_gpus, struct vgpu_err *err);

#endif
