/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: which devices there are, and what does not change about one. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "guest/libnvml/library.h"
#include "guest/libnvml/nvml_api.h"
#include "guest/libnvml/text.h"

/* A GPU's class as PCI has it: display controller, 3D. NVML asks for the GPU, not for vgpu-stub. */
#define GPU_BASE_CLASS 0x03u
#define GPU_SUB_CLASS  0x02u

/* Handles */

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    if (count)
        *count = library_count();
    library_leave();
    return count ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    if (!device || index >= library_count())
        status = NVML_ERROR_INVALID_ARGUMENT;
    else
        *device = library_device(index);
    library_leave();
    return status;
}

/* The first device that is the one asked for. Leaves. */
static nvmlReturn_t leave_with_match(bool (*matches)(nvmlDevice_t device, const void *asked),
                                     const void *asked, nvmlDevice_t *ret)
{
    nvmlReturn_t status = NVML_ERROR_NOT_FOUND;

    for (unsigned i = 0; status != NVML_SUCCESS && i < library_count(); i++) {
        if (!matches(library_device(i), asked))
            continue;
        *ret = library_device(i);
        status = NVML_SUCCESS;
    }
    library_leave();
    return status;
}

static bool has_uuid(nvmlDevice_t device, const void *asked)
{
    return strcasecmp(device->facts.uuid, asked) == 0;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    if (uuid && device)
        return leave_with_match(has_uuid, uuid, device);
    library_leave();
    return NVML_ERROR_INVALID_ARGUMENT;
}

static void write_uuid(const unsigned char bytes[NVML_DEVICE_UUID_BINARY_LEN],
                       char ret[NVML_DEVICE_UUID_ASCII_LEN])
{
    char *at = ret + sprintf(ret, "GPU-");

    for (unsigned i = 0; i < NVML_DEVICE_UUID_BINARY_LEN; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", bytes[i]);
}

nvmlReturn_t nvmlDeviceGetHandleByUUIDV(const nvmlUUID_t *uuid, nvmlDevice_t *device)
{
    nvmlReturn_t status = library_enter();
    char text[NVML_DEVICE_UUID_ASCII_LEN + 1] = "";

    if (status != NVML_SUCCESS)
        return status;
    if (!uuid || !device)
        status = NVML_ERROR_INVALID_ARGUMENT;
    else if (uuid->version != NVML_UUID_V1)
        status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    else if (uuid->type == NVML_UUID_TYPE_ASCII)
        memcpy(text, uuid->value.str, NVML_DEVICE_UUID_ASCII_LEN);
    else if (uuid->type == NVML_UUID_TYPE_BINARY)
        write_uuid(uuid->value.bytes, text);
    else
        status = NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        return leave_with_match(has_uuid, text, device);
    library_leave();
    return status;
}

struct pci_place {
    unsigned domain, bus, slot;
};

/* "domain:bus:device.function" in hex, of which domain and function may be missing. */
static bool read_place(const char *text, struct pci_place *ret)
{
    unsigned function = 0;
    int end = 0;

    *ret = (struct pci_place){.domain = 0};
    if (sscanf(text, "%8x:%2x:%2x%n", &ret->domain, &ret->bus, &ret->slot, &end) != 3) {
        ret->domain = 0;
        if (sscanf(text, "%2x:%2x%n", &ret->bus, &ret->slot, &end) != 2)
            return false;
    }
    if (text[end] == '.' && sscanf(text + end, ".%1x%n", &function, &(int){0}) != 1)
        return false;
    return function == 0 && (text[end] == '\0' || (text[end] == '.' && text[end + 2] == '\0'));
}

static bool has_place(nvmlDevice_t device, const void *asked)
{
    const struct pci_place *place = asked;

    return (device->facts.known & VGPU_MONITOR_PCI) && device->domain == place->domain &&
           device->bus == place->bus && device->slot == place->slot;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
    nvmlReturn_t status = library_enter();
    struct pci_place place;

    if (status != NVML_SUCCESS)
        return status;
    if (bus_id && device && read_place(bus_id, &place))
        return leave_with_match(has_place, &place, device);
    library_leave();
    return NVML_ERROR_INVALID_ARGUMENT;
}

/* Serial numbers are the host's: none is known here, so none is found. */
nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    return serial && device ? NVML_ERROR_NOT_FOUND : NVML_ERROR_INVALID_ARGUMENT;
}

/* Identity */

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    nvmlReturn_t status = library_enter_device(device, index);

    if (status != NVML_SUCCESS)
        return status;
    *index = device->index;
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    nvmlReturn_t status = library_enter_device(device, name);

    if (status != NVML_SUCCESS)
        return status;
    status = text_give(device->facts.name, name, length);
    library_leave();
    return status;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    nvmlReturn_t status = library_enter_device(device, uuid);

    if (status != NVML_SUCCESS)
        return status;
    status = text_give(device->facts.uuid, uuid, length);
    library_leave();
    return status;
}

/* The device inside, with that fact. Otherwise left. */
static nvmlReturn_t enter_fact(nvmlDevice_t device, const void *result, uint32_t bit)
{
    nvmlReturn_t status = library_enter_device(device, result);

    if (status != NVML_SUCCESS || (device->facts.known & bit))
        return status;
    library_leave();
    return NVML_ERROR_NOT_SUPPORTED;
}

static void write_bus_id(char *ret, size_t size, nvmlDevice_t device)
{
    snprintf(ret, size, "%08X:%02X:%02X.0", device->domain, device->bus & 0xff,
             device->slot & 0xff);
}

static void write_legacy_bus_id(char ret[NVML_DEVICE_PCI_BUS_ID_V1_SIZE], nvmlDevice_t device)
{
    snprintf(ret, NVML_DEVICE_PCI_BUS_ID_V1_SIZE, "%04X:%02X:%02X.0", device->domain & 0xffff,
             device->bus & 0xff, device->slot & 0xff);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    nvmlReturn_t status = enter_fact(device, pci, VGPU_MONITOR_PCI);

    if (status != NVML_SUCCESS)
        return status;
    *pci = (nvmlPciInfo_t){.domain = device->domain,
                           .bus = device->bus,
                           .device = device->slot,
                           .pciDeviceId = device->facts.pci_device_id,
                           .pciSubSystemId = device->facts.pci_subsystem_id};
    write_legacy_bus_id(pci->busIdLegacy, device);
    write_bus_id(pci->busId, sizeof(pci->busId), device);
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_v2_t *pci)
{
    nvmlReturn_t status = enter_fact(device, pci, VGPU_MONITOR_PCI);

    if (status != NVML_SUCCESS)
        return status;
    *pci = (nvmlPciInfo_v2_t){.domain = device->domain,
                              .bus = device->bus,
                              .device = device->slot,
                              .pciDeviceId = device->facts.pci_device_id,
                              .pciSubSystemId = device->facts.pci_subsystem_id};
    write_legacy_bus_id(pci->busId, device);
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_v1_t *pci)
{
    nvmlReturn_t status = enter_fact(device, pci, VGPU_MONITOR_PCI);

    if (status != NVML_SUCCESS)
        return status;
    *pci = (nvmlPciInfo_v1_t){.domain = device->domain,
                              .bus = device->bus,
                              .device = device->slot,
                              .pciDeviceId = device->facts.pci_device_id};
    write_legacy_bus_id(pci->busId, device);
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfoExt(nvmlDevice_t device, nvmlPciInfoExt_t *pci)
{
    nvmlReturn_t status = enter_fact(device, pci, VGPU_MONITOR_PCI);

    if (status != NVML_SUCCESS)
        return status;
    if (pci->version == NVML_PCI_INFO_EXT_V1) {
        *pci = (nvmlPciInfoExt_t){.version = pci->version,
                                  .domain = device->domain,
                                  .bus = device->bus,
                                  .device = device->slot,
                                  .pciDeviceId = device->facts.pci_device_id,
                                  .pciSubSystemId = device->facts.pci_subsystem_id,
                                  .baseClass = GPU_BASE_CLASS,
                                  .subClass = GPU_SUB_CLASS};
        write_bus_id(pci->busId, sizeof(pci->busId), device);
    } else {
        status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    library_leave();
    return status;
}

/* Facts */

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    nvmlReturn_t status = enter_fact(device, minor ? major : NULL, VGPU_MONITOR_COMPUTE);

    if (status != NVML_SUCCESS)
        return status;
    *major = (int)device->facts.compute_major;
    *minor = (int)device->facts.compute_minor;
    library_leave();
    return NVML_SUCCESS;
}

static unsigned architecture(unsigned major, unsigned minor)
{
    switch (major) {
    case 5:
        return NVML_DEVICE_ARCH_MAXWELL;
    case 6:
        return NVML_DEVICE_ARCH_PASCAL;
    case 7:
        return minor < 5 ? NVML_DEVICE_ARCH_VOLTA : NVML_DEVICE_ARCH_TURING;
    case 8:
        return minor < 9 ? NVML_DEVICE_ARCH_AMPERE : NVML_DEVICE_ARCH_ADA;
    case 9:
        return NVML_DEVICE_ARCH_HOPPER;
    case 10:
    case 12:
        return NVML_DEVICE_ARCH_BLACKWELL;
    default:
        return NVML_DEVICE_ARCH_UNKNOWN;
    }
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned int *arch)
{
    nvmlReturn_t status = enter_fact(device, arch, VGPU_MONITOR_COMPUTE);

    if (status != NVML_SUCCESS)
        return status;
    *arch = architecture(device->facts.compute_major, device->facts.compute_minor);
    library_leave();
    return NVML_SUCCESS;
}

/* The graphics clock of these GPUs is the multiprocessors'; the video clock is not carried. */
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type,
                                       unsigned int *clock)
{
    nvmlReturn_t status = enter_fact(device, clock, VGPU_MONITOR_CLOCKS);

    if (status != NVML_SUCCESS)
        return status;
    if (type == NVML_CLOCK_GRAPHICS || type == NVML_CLOCK_SM)
        *clock = device->facts.max_sm_mhz;
    else if (type == NVML_CLOCK_MEM)
        *clock = device->facts.max_memory_mhz;
    else
        status = type == NVML_CLOCK_VIDEO ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
    library_leave();
    return status;
}

/* What an administrator has asked for after the next reset is not the VM's to know. */
nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current,
                                  nvmlEnableState_t *pending)
{
    nvmlReturn_t status = enter_fact(device, pending ? current : NULL, VGPU_MONITOR_ECC);

    if (status != NVML_SUCCESS)
        return status;
    *current = *pending = device->facts.ecc_mode ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    library_leave();
    return NVML_SUCCESS;
}

/* Any number of the VM's processes may use it. */
nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, nvmlComputeMode_t *mode)
{
    nvmlReturn_t status = library_enter_device(device, mode);

    if (status != NVML_SUCCESS)
        return status;
    *mode = NVML_COMPUTEMODE_DEFAULT;
    library_leave();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig)
{
    nvmlReturn_t status = library_enter_device(device, is_mig);

    if (status != NVML_SUCCESS)
        return status;
    *is_mig = 0;
    library_leave();
    return NVML_SUCCESS;
}
