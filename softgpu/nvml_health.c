/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML for softgpu devices: what monitoring asks for beside the first things of nvml.c. Why clocks
 * are low, rows that were remapped, fields by number, and a reset. All comes from health.h's file.
 */
#include "softgpu/nvml_api.h"

#define FIELDS_MAX 256

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected,
                                       unsigned int *uncorrected, unsigned int *pending,
                                       unsigned int *failure)
{
    bool all = corrected && uncorrected && pending && failure;
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, all ? corrected : NULL, &health);

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    *corrected = (unsigned)health.remapped_corrected;
    *uncorrected = (unsigned)health.remapped_uncorrected;
    *pending = health.remap_pending != 0;
    *failure = health.remap_failure != 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device,
                                                    unsigned long long *reasons)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, reasons, &health);

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    *reasons = health.throttle_reasons;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                       unsigned long long *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

static void answer_field(nvmlFieldValue_t *value, const struct health *health)
{
    value->nvmlReturn = NVML_SUCCESS;
    value->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (value->fieldId == NVML_FI_DEV_MEMORY_TEMP)
        value->value.uiVal = (unsigned)health->memory_temperature_celsius;
    else if (value->fieldId == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)
        value->value.uiVal = (unsigned)health->recovery_action;
    else
        value->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
    struct health health;
    nvmlReturn_t result = nvml_enter_device(device, values, &health);

    if (result != NVML_SUCCESS)
        return result;
    nvml_leave();
    if (count < 0 || count > FIELDS_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < count; i++)
        answer_field(&values[i], &health);
    return NVML_SUCCESS;
}

static bool is_in_use(nvmlDevice_t device)
{
    const struct usage_file *file;

    usage_sweep(nvml.usage);
    file = usage_contents(nvml.usage);
    for (unsigned i = 0; file && i < USAGE_SLOTS; i++)
        if (__atomic_load_n(&file->slots[i].pid, __ATOMIC_ACQUIRE) &&
            __atomic_load_n(&file->slots[i].memory_bytes[device->index], __ATOMIC_RELAXED))
            return true;
    return false;
}

nvmlReturn_t softgpuDeviceReset(nvmlDevice_t device)
{
    nvmlReturn_t result = nvml_enter_any(device);

    if (result != NVML_SUCCESS)
        return result;
    if (!nvml.dir)
        result = NVML_ERROR_NOT_SUPPORTED;
    else if (is_in_use(device))
        result = NVML_ERROR_IN_USE;
    else if (health_reset(nvml.dir, device->index) < 0)
        result = NVML_ERROR_UNKNOWN;
    nvml_leave();
    return result;
}
