/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managed memory is page-locked memory of the data area, under its one address (unified.h). Called
 * by api_managed.c and cuMemFree.
 */
#ifndef VGPU_LIBVGPU_HOST_H
#define VGPU_LIBVGPU_HOST_H

#include "guest/libvgpu/guest.h"

/* The context is the calling thread's current one. */
CUresult host_alloc_managed(uint32_t context, uint64_t bytes, CUdeviceptr *ret);

/* False if no managed memory starts at address. */
bool host_free_managed(CUdeviceptr address, CUresult *ret_result);

#endif
