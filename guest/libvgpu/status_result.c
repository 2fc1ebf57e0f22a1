/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/status_result.h"

CUresult status_result(uint32_t status)
{
    switch ((enum vgpu_status)status) {
    case VGPU_OK:
        return CUDA_SUCCESS;
    case VGPU_BUSY:
    case VGPU_STARTING:
    case VGPU_DRIVER:
        return CUDA_ERROR_SYSTEM_NOT_READY;
    case VGPU_QUARANTINED:
        return CUDA_ERROR_NOT_PERMITTED;
    case VGPU_GONE:
    case VGPU_KILLED:
    case VGPU_REMOVED:
        return CUDA_ERROR_DEVICE_UNAVAILABLE;
    case VGPU_NO_GPU:
    case VGPU_NOT_CONFIGURED:
        return CUDA_ERROR_NO_DEVICE;
    case VGPU_VERSION:
        return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
    case VGPU_FAILED:
        return CUDA_ERROR_LAUNCH_FAILED;
    case VGPU_TIMEOUT:
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    case VGPU_NO_MEMORY:
    case VGPU_LIMIT:
        return CUDA_ERROR_OUT_OF_MEMORY;
    default:
        return CUDA_ERROR_UNKNOWN;
    }
}
