# SPDX-License-Identifier: Apache-2.0
"""cuda.bindings.driver and NVRTC: compile, load, launch, streams, events, copies, queries."""
import ctypes
import sys

import numpy as np
from cuda.bindings import driver, nvrtc

SOURCE = b"""
extern "C" __global__ void saxpy(float a, const float *x, float *y, unsigned long long n)
{
    unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = a * x[i] + y[i];
}
"""


def must(answer):
    result, *values = answer
    if result.value:
        sys.exit('error %s' % result)
    return values[0] if len(values) == 1 else values


def compile_ptx(major, minor):
    program = must(nvrtc.nvrtcCreateProgram(SOURCE, b'saxpy.cu', 0, [], []))
    options = [b'--gpu-architecture=compute_%d%d' % (major, minor)]
    must(nvrtc.nvrtcCompileProgram(program, len(options), options))
    ptx = b' ' * must(nvrtc.nvrtcGetPTXSize(program))
    must(nvrtc.nvrtcGetPTX(program, ptx))
    return ptx


def attribute(device, name):
    return must(driver.cuDeviceGetAttribute(
        getattr(driver.CUdevice_attribute, 'CU_DEVICE_ATTRIBUTE_' + name), device))


def saxpy(kernel, stream, count):
    x = np.random.rand(count).astype(np.float32)
    y = np.random.rand(count).astype(np.float32)
    device_x, device_y = (must(driver.cuMemAlloc(x.nbytes)) for _ in range(2))
    must(driver.cuMemcpyHtoDAsync(device_x, x.ctypes.data, x.nbytes, stream))
    must(driver.cuMemcpyHtoDAsync(device_y, y.ctypes.data, y.nbytes, stream))
    must(driver.cuLaunchKernel(kernel, (count + 255) // 256, 1, 1, 256, 1, 1, 0, stream,
                               ((2.5, device_x, device_y, count),
                                (ctypes.c_float, None, None, ctypes.c_ulonglong)), 0))
    out = np.empty_like(y)
    must(driver.cuMemcpyDtoHAsync(out.ctypes.data, device_y, out.nbytes, stream))
    must(driver.cuStreamSynchronize(stream))
    assert np.allclose(out, 2.5 * x + y)
    for address in (device_x, device_y):
        must(driver.cuMemFree(address))


def main():
    must(driver.cuInit(0))
    device = must(driver.cuDeviceGet(0))
    context = must(driver.cuDevicePrimaryCtxRetain(device))
    must(driver.cuCtxSetCurrent(context))
    assert must(driver.cuDeviceGetName(64, device)).strip(b'\0')
    free, total = must(driver.cuMemGetInfo())
    assert 0 < free <= total
    ptx = compile_ptx(attribute(device, 'COMPUTE_CAPABILITY_MAJOR'),
                      attribute(device, 'COMPUTE_CAPABILITY_MINOR'))
    stream = must(driver.cuStreamCreate(0))
    module = must(driver.cuModuleLoadData(np.char.array(ptx).ctypes.data))
    saxpy(must(driver.cuModuleGetFunction(module, b'saxpy')), stream, 100003)
    library = must(driver.cuLibraryLoadData(np.char.array(ptx).ctypes.data, [], [], 0, [], [], 0))
    kernel = must(driver.cuLibraryGetKernel(library, b'saxpy'))
    saxpy(must(driver.cuKernelGetFunction(kernel)), stream, 777)
    must(driver.cuLibraryUnload(library))
    must(driver.cuModuleUnload(module))
    must(driver.cuStreamDestroy(stream))
    print('all right')


if __name__ == '__main__':
    main()
