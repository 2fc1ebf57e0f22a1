/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a driver by path and makes a context current, for the programs of this folder. */
#ifndef VGPU_TESTS_CONFORMANCE_DRIVER_OPEN_H
#define VGPU_TESTS_CONFORMANCE_DRIVER_OPEN_H

#include "common/err.h"
#include "cuda/cuda_driver.h"

/* Device 0's primary context is retained and current afterwards. 0, -ENOENT, -ENODEV or -EIO. */
int driver_open(struct cuda_driver *cu, const char *path, struct vgpu_err *err);

/* The same with a driver that is there; path is for messages. */
int driver_start(struct cuda_driver *cu, const char *path, struct vgpu_err *err);

/* Releases what driver_open retained, once. */
void driver_close(struct cuda_driver *cu);

/* "CUDA_ERROR_..." or "unknown". */
const char *driver_error_name(const struct cuda_driver *cu, CUresult result);

#endif
