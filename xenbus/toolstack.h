/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a toolstack does for a device: its keys made, and taken away. `vgpu-xenbus attach` and
 * `detach`, for toolstacks that know no such devices.
 */
#ifndef VGPU_XENBUS_TOOLSTACK_H
#define VGPU_XENBUS_TOOLSTACK_H

#include "common/err.h"
#include "xenbus/device.h"

/* -EEXIST: there is one. */
int toolstack_attach(const struct backend *backend, uint32_t domid, uint32_t devid, const char *vm,
                     struct vgpu_err *err);
/*
 * Asks for the end, waits for it up to wait_ms, unless the domain is dead, and removes the keys;
 * those of the guest alone where the backend's have gone with its domain.
 * -ETIMEDOUT: they are there.
 */
int toolstack_detach(const struct backend *backend, uint32_t domid, uint32_t devid, int wait_ms,
                     struct vgpu_err *err);

#endif
