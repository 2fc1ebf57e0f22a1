/* SPDX-License-Identifier: Apache-2.0 */
/* The one mapping from a status of the wire to what a CUDA program sees. */
#ifndef VGPU_LIBVGPU_STATUS_RESULT_H
#define VGPU_LIBVGPU_STATUS_RESULT_H

#include <vgpu/status.h>

#include "cuda/cuda_abi.h"

CUresult status_result(uint32_t status);

#endif
