/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A launch's parameters as one buffer, as `extra` names it. Used by both libraries of the driver
 * API, for launches and for kernel nodes. Pure: no state, no I/O.
 */
#ifndef VGPU_CUDA_LAUNCH_EXTRA_H
#define VGPU_CUDA_LAUNCH_EXTRA_H

#include <stddef.h>
#include <vgpu/cuda.h>

#include "cuda/cuda_abi.h"

/*
 * The buffer that `extra` names before its END, and its size, at most VGPU_LAUNCH_PARAM_BYTES; it
 * stays the program's. With neither of the two named, or a size of 0, *ret_bytes is 0: whether the
 * function has parameters is for the caller to say. INVALID_VALUE for one without the other, a
 * larger buffer, unknown entries, and more than two of them.
 */
CUresult launch_extra_read(void *const *extra, const void **ret_buffer, size_t *ret_bytes);

#endif
