/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client info: what this VM is to the host, and the device that it sees. */
#include <inttypes.h>
#include <stdio.h>

#include "guest/client/client.h"
#include "guest/client/output.h"

static const char *priority_name(uint32_t priority)
{
    static const char *const names[] = {"low", "medium", "high"};

    return priority < 3 ? names[priority] : "unknown";
}

static const char *carrier_name(const struct vgpu_identity *vm)
{
    if (vm->window)
        return "window";
    if (vm->granted)
        return "grant";
    return vm->relayed ? "relay" : "local";
}

struct device {
    char name[128];
    size_t memory_bytes;
    int major, minor, processors, driver_version;
};

static CUresult read_device(const struct cuda_driver *cu, struct device *device)
{
    CUresult result = cu->cuDeviceGetName(device->name, sizeof(device->name), 0);

    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceTotalMem(&device->memory_bytes, 0);
    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceGetAttribute(&device->major,
                                          CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0);
    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceGetAttribute(&device->minor,
                                          CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
    if (result == CUDA_SUCCESS)
        result = cu->cuDeviceGetAttribute(&device->processors,
                                          CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
    if (result == CUDA_SUCCESS)
        result = cu->cuDriverGetVersion(&device->driver_version);
    return result;
}

static void print_json(const struct vgpu_identity *vm, const struct device *device)
{
    _cleanup_json_ json_t *json =
        json_pack("{s:{s:I, s:s, s:s, s:s, s:f, s:b, s:I, s:s, s:I}, s:{s:s, s:I, s:s, s:i, s:i}}",
                  "vm", "id", (json_int_t)vm->vm_id, "name", vm->name, "pool", vm->pool, "priority",
                  priority_name(vm->priority), "weight", vm->weight_hundredths / 100.0,
                  "quarantined", (int)vm->quarantined, "channel", (json_int_t)vm->channel,
                  "carrier", carrier_name(vm), "data_bytes", (json_int_t)vm->data_bytes, "device",
                  "name", device->name, "memory_bytes", (json_int_t)device->memory_bytes,
                  "compute_capability", output_text("%d.%d", device->major, device->minor),
                  "multiprocessors", device->processors, "driver_version", device->driver_version);

    output_json(json);
}

static void print_text(const struct vgpu_identity *vm, const struct device *device)
{
    printf("VM:        %" PRIu32 " %s\n", vm->vm_id, vm->name);
    printf("pool:      %s\n", vm->pool);
    printf("priority:  %s, weight %.2f\n", priority_name(vm->priority),
           vm->weight_hundredths / 100.0);
    if (vm->quarantined)
        printf("           quarantined: no job runs until an administrator clears it\n");
    printf("channel:   %" PRIu32 ", %s, %.0f MiB data area\n", vm->channel, carrier_name(vm),
           (double)vm->data_bytes / (1 << 20));
    printf("device:    %s\n", device->name);
    printf("memory:    %.0f MiB\n", (double)device->memory_bytes / (1 << 20));
    printf("processors: %d, compute capability %d.%d\n", device->processors, device->major,
           device->minor);
    printf("CUDA:      %d.%d\n", device->driver_version / 1000, device->driver_version % 1000 / 10);
}

int client_info(struct client *client, int argc, char **argv)
{
    struct vgpu_identity vm = {0};
    struct device device = {0};
    CUresult result;
    int status = client_open(client);

    if (status != CLIENT_OK)
        return status;
    result = read_device(&client->cu, &device);
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(client, result, "cannot read the device");
    vgpu_get_identity(&vm);
    if (client->options->json)
        print_json(&vm, &device);
    else
        print_text(&vm, &device);
    return CLIENT_OK;
}
