/* SPDX-License-Identifier: Apache-2.0 */
/* Runs vgpu-nvml, for scans while no mediator runs, and for doctor. */
#ifndef VGPU_ADMIN_NVML_HELPER_H
#define VGPU_ADMIN_NVML_HELPER_H

#include <jansson.h>

#include "common/err.h"

/*
 * path: of the helper; NULL: it is looked for beside this program and in ../libexec/vgpu.
 * *ret_found is the object that it prints (man/vgpu-nvml.8). -ENOENT: there is none; -ETIMEDOUT:
 * the driver hangs.
 */
int nvml_helper_scan(const char *path, json_t **ret_found, struct vgpu_err *err);

/* The same with "--check-driver driver". */
int nvml_helper_check_driver(const char *path, const char *driver, json_t **ret_found,
                             struct vgpu_err *err);

#endif
