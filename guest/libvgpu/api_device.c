/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: devices. All answers come from the snapshot. A VM sees one device. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "guest/libvgpu/lookup.h"

/* What each call on a device checks first. */
static CUresult enter_device(const void *out, CUdevice dev)
{
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    return out ? lookup_device(dev) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult result = enter_device(device, ordinal);

    if (result == CUDA_SUCCESS)
        *device = ordinal;
    return result;
}

CUresult cuDeviceGetCount(int *count)
{
    CUresult result = enter_device(count, 0);

    if (result == CUDA_SUCCESS)
        *count = 1;
    return result;
}

static CUresult put_text(char *target, int bytes, const char *text)
{
    if (bytes <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(target, (size_t)bytes, "%s", text);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    CUresult result = enter_device(name, dev);

    return result == CUDA_SUCCESS ? put_text(name, len, guest_device()->name) : result;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    CUresult result = enter_device(uuid, dev);

    if (result == CUDA_SUCCESS)
        memcpy(uuid->bytes, guest_device()->uuid, sizeof(uuid->bytes));
    return result;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    CUresult result = enter_device(bytes, dev);

    if (result == CUDA_SUCCESS)
        *bytes = guest_device()->total_memory_bytes;
    return result;
}

CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
    CUresult result = enter_device(pi, dev);
    int value;

    if (result != CUDA_SUCCESS)
        return result;
    value = guest_attribute(attrib);
    if (value == VGPU_ATTRIBUTE_UNKNOWN)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = value;
    return CUDA_SUCCESS;
}

/* 0 for what the driver does not know. */
static int attribute(CUdevice_attribute name)
{
    int value = guest_attribute(name);

    return value == VGPU_ATTRIBUTE_UNKNOWN ? 0 : value;
}

CUresult cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
    CUresult result = enter_device(prop, dev);

    if (result != CUDA_SUCCESS)
        return result;
    *prop = (CUdevprop){
        .maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
        .maxThreadsDim = {attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X),
                          attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y),
                          attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)},
        .maxGridSize = {attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X),
                        attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y),
                        attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)},
        .sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
        .totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY),
        .SIMDWidth = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE),
        .memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH),
        .regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK),
        .clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        .textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT),
    };
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    CUresult result = enter_device(major && minor ? major : NULL, dev);

    if (result != CUDA_SUCCESS)
        return result;
    *major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    *minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    return CUDA_SUCCESS;
}

/* Domain:bus:device.function in hex; domain and function may be missing. */
static bool same_bus_id(const char *asked)
{
    unsigned want[4] = {0}, have[4] = {0};
    const char *own = guest_device()->pci_bus_id;

    if (sscanf(own, "%x:%x:%x.%x", &have[0], &have[1], &have[2], &have[3]) < 3)
        return strcasecmp(asked, own) == 0;
    if (sscanf(asked, "%x:%x:%x.%x", &want[0], &want[1], &want[2], &want[3]) >= 3)
        return memcmp(want, have, sizeof(want)) == 0;
    memset(want, 0, sizeof(want));
    return sscanf(asked, "%x:%x.%x", &want[1], &want[2], &want[3]) >= 2 &&
           memcmp(want, have, sizeof(want)) == 0;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
    CUresult result = enter_device(dev && pciBusId ? dev : NULL, 0);

    if (result != CUDA_SUCCESS)
        return result;
    if (!same_bus_id(pciBusId))
        return CUDA_ERROR_INVALID_DEVICE;
    *dev = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
    CUresult result = enter_device(pciBusId, dev);

    return result == CUDA_SUCCESS ? put_text(pciBusId, len, guest_device()->pci_bus_id) : result;
}

CUresult cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
    CUresult result = enter_device(canAccessPeer, dev);

    if (result == CUDA_SUCCESS)
        result = lookup_device(peerDev);
    if (result == CUDA_SUCCESS)
        *canAccessPeer = 0;
    return result;
}
