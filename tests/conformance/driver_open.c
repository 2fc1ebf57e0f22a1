/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/driver_open.h"

#include <errno.h>

const char *driver_error_name(const struct cuda_driver *cu, CUresult result)
{
    const char *name = NULL;

    return cu->cuGetErrorName(result, &name) == CUDA_SUCCESS && name ? name : "unknown";
}

int driver_open(struct cuda_driver *cu, const char *path, struct vgpu_err *err)
{
    int r = cuda_driver_load(cu, path, err);

    return r < 0 ? r : driver_start(cu, path, err);
}

int driver_start(struct cuda_driver *cu, const char *path, struct vgpu_err *err)
{
    CUcontext context;
    CUdevice device;
    CUresult result = cu->cuInit(0);

    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceGet(&device, 0);
    if (result != CUDA_SUCCESS)
        return vgpu_err_set(err, ENODEV, "'%s' has no device: %s", path,
                            driver_error_name(cu, result));
    result = cu->cuDevicePrimaryCtxRetain(&context, device);
    if (result == CUDA_SUCCESS)
        result = cu->cuCtxSetCurrent(context);
    if (result != CUDA_SUCCESS)
        return vgpu_err_set(err, EIO, "'%s' gives no context: %s", path,
                            driver_error_name(cu, result));
    return 0;
}

void driver_close(struct cuda_driver *cu)
{
    CUdevice device;

    if (cu->cuDeviceGet(&device, 0) == CUDA_SUCCESS)
        cu->cuDevicePrimaryCtxRelease(device);
}
