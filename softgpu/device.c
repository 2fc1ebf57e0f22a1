/* SPDX-License-Identifier: Apache-2.0 */
/* cuDevice*: what a device is. Its figures are those of a compute capability 9.0 device, with as
 * many multiprocessors as threads run kernels. */
#include <stdio.h>
#include <string.h>

#include "softgpu/gpu.h"
#include "softgpu/capability.h"

#define CLOCK_KHZ        1980000
#define MEMORY_CLOCK_KHZ 3201000
#define MEMORY_BUS_BITS  5120
#define L2_BYTES         (50 << 20)

/* Attributes that are the same for every device; those not listed are 0. */
static const struct {
    CUdevice_attribute attribute;
    int value;
} fixed[] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, LIMIT_BLOCK_THREADS},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, LIMIT_BLOCK_X},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, LIMIT_BLOCK_Y},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, LIMIT_BLOCK_Z},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, LIMIT_GRID_X},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, LIMIT_GRID_YZ},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, LIMIT_GRID_YZ},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, LIMIT_BLOCK_SHARED_BYTES},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, LIMIT_CONST_BYTES},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, LIMIT_WARP},
    {CU_DEVICE_ATTRIBUTE_MAX_PITCH, LIMIT_PITCH_BYTES},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, LIMIT_SM_REGISTERS},
    {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, CLOCK_KHZ},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, MEMORY_CLOCK_KHZ},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, MEMORY_BUS_BITS},
    {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, L2_BYTES},
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, LIMIT_SM_THREADS},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, 32},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, SOFTGPU_SM_MAJOR},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, SOFTGPU_SM_MINOR},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, LIMIT_SM_SHARED_BYTES},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, LIMIT_SM_REGISTERS},
    {CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, LIMIT_BLOCK_SHARED_OPTIN},
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, LIMIT_SM_BLOCKS},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, LIMIT_RESERVED_SHARED_BYTES},
    {CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT, 1},
    {CU_DEVICE_ATTRIBUTE_NUMA_ID, -1},
    {CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, -1},
};

CUresult cuDeviceGetCount(int *count)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = gpu.n_devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    if (!gpu_device(ordinal))
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

/* Enters; *ret_device is the device, or the scope has failed. */
static struct scope scope_device(CUdevice ordinal, const void *result, struct device **ret_device)
{
    struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope;
    *ret_device = gpu_device(ordinal);
    if (result && *ret_device)
        return scope;
    scope_leave(&scope);
    scope.result = result ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
    return scope;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, name, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)len, "%s", SOFTGPU_NAME);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, uuid, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    identity_uuid(device->index, (uint8_t *)uuid->bytes);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, bytes, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    *bytes = device->memory_bytes;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, pi, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if ((int)attrib < 1 || (int)attrib >= CUDA_DEVICE_ATTRIBUTE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = 0;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(fixed); i++) {
        if (fixed[i].attribute == attrib)
            *pi = fixed[i].value;
    }
    if (attrib == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        *pi = gpu.n_processors;
    else if (attrib == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)
        *pi = (int)identity_pci_bus(device->index);
    else if (attrib == CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID)
        *pi = (int)device->index;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, prop, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    *prop = (CUdevprop){
        .maxThreadsPerBlock = LIMIT_BLOCK_THREADS,
        .maxThreadsDim = {LIMIT_BLOCK_X, LIMIT_BLOCK_Y, LIMIT_BLOCK_Z},
        .maxGridSize = {LIMIT_GRID_X, LIMIT_GRID_YZ, LIMIT_GRID_YZ},
        .sharedMemPerBlock = LIMIT_BLOCK_SHARED_BYTES,
        .totalConstantMemory = LIMIT_CONST_BYTES,
        .SIMDWidth = LIMIT_WARP,
        .memPitch = LIMIT_PITCH_BYTES,
        .regsPerBlock = LIMIT_SM_REGISTERS,
        .clockRate = CLOCK_KHZ,
        .textureAlign = 512,
    };
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, major && minor ? major : NULL, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    *major = SOFTGPU_SM_MAJOR;
    *minor = SOFTGPU_SM_MINOR;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
    _scope_ struct scope scope = scope_gpu();
    int index;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dev || !pciBusId)
        return CUDA_ERROR_INVALID_VALUE;
    index = identity_find_pci(pciBusId, SOFTGPU_MAX_DEVICES);
    for (int i = 0; i < gpu.n_devices; i++) {
        if (index >= 0 && gpu.devices[i].index == (unsigned)index) {
            *dev = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
    char text[SOFTGPU_PCI_TEXT];
    struct device *device;
    _scope_ struct scope scope = scope_device(dev, pciBusId, &device);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    identity_pci_text(device->index, text);
    snprintf(pciBusId, (size_t)len, "%s", text);
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!canAccessPeer)
        return CUDA_ERROR_INVALID_VALUE;
    if (!gpu_device(dev) || !gpu_device(peerDev))
        return CUDA_ERROR_INVALID_DEVICE;
    *canAccessPeer = 0;
    return CUDA_SUCCESS;
}
