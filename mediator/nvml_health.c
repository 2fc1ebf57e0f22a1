/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/nvml_health.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/* Events taken at once: what comes faster is taken the next time. */
#define EVENTS_MAX 256

void nvml_health_load(struct nvml_health *health, void *library)
{
    *health = (struct nvml_health){.events = NULL};
#define NVML_HEALTH_LOOKUP(type, name, arguments) *(void **)&health->name = dlsym(library, #name);
    NVML_HEALTH_CALLS(NVML_HEALTH_LOOKUP)
#undef NVML_HEALTH_LOOKUP
}

void nvml_health_pause(struct nvml_health *health)
{
    nvml_health_poll(health);
    if (health->events && health->nvmlEventSetFree)
        health->nvmlEventSetFree(health->events);
    health->events = NULL;
}

void nvml_health_resume(struct nvml_health *health, bool same)
{
    for (unsigned int i = 0; i < NVML_GPUS_MAX; i++) {
        health->watched[i].device = NULL;
        if (!same)
            health->watched[i].n_xids = 0;
    }
    if (!health->nvmlEventSetCreate || !health->nvmlDeviceRegisterEvents ||
        !health->nvmlEventSetWait_v2 || health->nvmlEventSetCreate(&health->events) != NVML_SUCCESS)
        health->events = NULL;
}

/* XID errors */

static void watch(struct nvml_health *health, nvmlDevice_t device, struct nvml_watched *watched)
{
    if (health->events && device && !watched->device &&
        health->nvmlDeviceRegisterEvents(device, NVML_EVENT_XID_CRITICAL, health->events) ==
            NVML_SUCCESS)
        watched->device = device;
}

static void note(struct nvml_health *health, const nvmlEventData_t *data)
{
    for (unsigned int i = 0; i < NVML_GPUS_MAX; i++) {
        struct nvml_watched *watched = &health->watched[i];

        if (!watched->device || watched->device != data->device ||
            data->eventType != NVML_EVENT_XID_CRITICAL || data->eventData > INT32_MAX)
            continue;
        if (watched->n_xids < NVML_XIDS_MAX)
            watched->xids[watched->n_xids++] = (unsigned int)data->eventData;
    }
}

void nvml_health_poll(struct nvml_health *health)
{
    nvmlEventData_t data;

    for (int i = 0; health->events && i < EVENTS_MAX; i++) {
        if (health->nvmlEventSetWait_v2(health->events, &data, 0) != NVML_SUCCESS)
            return;
        note(health, &data);
    }
}

static json_t *take_xids(struct nvml_watched *watched)
{
    json_t *xids = json_array();

    if (!watched->device) {
        json_decref(xids);
        return json_null();
    }
    for (unsigned int i = 0; i < watched->n_xids; i++)
        json_array_append_new(xids, json_integer(watched->xids[i]));
    watched->n_xids = 0;
    return xids;
}

/* Numbers */

static json_t *integer(bool known, unsigned long long number)
{
    return known && number <= INT64_MAX ? json_integer((json_int_t)number) : json_null();
}

static json_t *watts(nvmlReturn_t (*call)(nvmlDevice_t, unsigned int *), nvmlDevice_t device)
{
    unsigned int milliwatts = 0;
    bool known = call && call(device, &milliwatts) == NVML_SUCCESS;

    return known ? json_real(milliwatts / 1000.0) : json_null();
}

static json_t *clock_mhz(const struct nvml_health *health, nvmlDevice_t device,
                         nvmlClockType_t type)
{
    unsigned int mhz = 0;
    bool known = health->nvmlDeviceGetClockInfo &&
                 health->nvmlDeviceGetClockInfo(device, type, &mhz) == NVML_SUCCESS;

    return integer(known, mhz);
}

static json_t *ecc_errors(const struct nvml_health *health, nvmlDevice_t device,
                          nvmlMemoryErrorType_t type)
{
    unsigned long long count = 0;
    bool known = health->nvmlDeviceGetTotalEccErrors &&
                 health->nvmlDeviceGetTotalEccErrors(device, type, NVML_VOLATILE_ECC, &count) ==
                     NVML_SUCCESS;

    return integer(known, count);
}

static void add_rows(const struct nvml_health *health, nvmlDevice_t device, json_t *gpu)
{
    unsigned int corrected = 0, uncorrected = 0, pending = 0, failure = 0;
    bool known = health->nvmlDeviceGetRemappedRows &&
                 health->nvmlDeviceGetRemappedRows(device, &corrected, &uncorrected, &pending,
                                                   &failure) == NVML_SUCCESS;

    json_object_set_new(gpu, "remapped_rows",
                        integer(known, (unsigned long long)corrected + uncorrected));
    json_object_set_new(gpu, "remap_pending", known ? json_boolean(pending) : json_null());
    json_object_set_new(gpu, "remap_failure", known ? json_boolean(failure) : json_null());
}

static json_t *throttle(const struct nvml_health *health, nvmlDevice_t device)
{
    static const struct {
        unsigned long long bit;
        const char *name;
    } names[] = {
        {NVML_CLOCKS_GPU_IDLE, "idle"},
        {NVML_CLOCKS_APPLICATIONS_SETTING, "applications-setting"},
        {NVML_CLOCKS_SW_POWER_CAP, "power-cap"},
        {NVML_CLOCKS_HW_SLOWDOWN, "hardware-slowdown"},
        {NVML_CLOCKS_SYNC_BOOST, "sync-boost"},
        {NVML_CLOCKS_SW_THERMAL, "thermal"},
        {NVML_CLOCKS_HW_THERMAL, "hardware-thermal"},
        {NVML_CLOCKS_HW_POWER_BRAKE, "power-brake"},
        {NVML_CLOCKS_DISPLAY_SETTING, "display-setting"},
    };
    nvmlReturn_t (*call)(nvmlDevice_t, unsigned long long *) =
        health->nvmlDeviceGetCurrentClocksEventReasons
            ? health->nvmlDeviceGetCurrentClocksEventReasons
            : health->nvmlDeviceGetCurrentClocksThrottleReasons;
    unsigned long long reasons = 0;
    json_t *list;

    if (!call || call(device, &reasons) != NVML_SUCCESS)
        return json_null();
    list = json_array();
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(names); i++)
        if (reasons & names[i].bit)
            json_array_append_new(list, json_string(names[i].name));
    return list;
}

/* A field of NVML that is an unsigned number. */
static bool field(const struct nvml_health *health, nvmlDevice_t device, unsigned int id,
                  unsigned long long *ret)
{
    nvmlFieldValue_t value = {.fieldId = id};

    if (!health->nvmlDeviceGetFieldValues ||
        health->nvmlDeviceGetFieldValues(device, 1, &value) != NVML_SUCCESS ||
        value.nvmlReturn != NVML_SUCCESS)
        return false;
    if (value.valueType == NVML_VALUE_TYPE_UNSIGNED_INT)
        *ret = value.value.uiVal;
    else if (value.valueType == NVML_VALUE_TYPE_UNSIGNED_LONG_LONG)
        *ret = value.value.ullVal;
    else
        return false;
    return true;
}

static json_t *recovery(const struct nvml_health *health, nvmlDevice_t device)
{
    static const char *const names[] = {
        [NVML_GPU_RECOVERY_ACTION_NONE] = "none",
        [NVML_GPU_RECOVERY_ACTION_GPU_RESET] = "reset",
        [NVML_GPU_RECOVERY_ACTION_NODE_REBOOT] = "reboot",
        [NVML_GPU_RECOVERY_ACTION_DRAIN_P2P] = "drain-p2p",
        [NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET] = "drain-and-reset",
    };
    unsigned long long action = 0;
    bool known = field(health, device, NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, &action);

    return known && action < VGPU_ARRAY_SIZE(names) ? json_string(names[action]) : json_null();
}

void nvml_health_add(struct nvml_health *health, nvmlDevice_t device, unsigned int index,
                     json_t *gpu)
{
    unsigned long long celsius = 0;
    bool known = field(health, device, NVML_FI_DEV_MEMORY_TEMP, &celsius);

    watch(health, device, &health->watched[index]);
    /* Those without a sensor there answer 0. */
    json_object_set_new(gpu, "temperature_memory", integer(known && celsius > 0, celsius));
    json_object_set_new(gpu, "power_w", watts(health->nvmlDeviceGetPowerUsage, device));
    json_object_set_new(gpu, "power_limit_w",
                        watts(health->nvmlDeviceGetEnforcedPowerLimit, device));
    json_object_set_new(gpu, "clock_sm_mhz", clock_mhz(health, device, NVML_CLOCK_SM));
    json_object_set_new(gpu, "clock_memory_mhz", clock_mhz(health, device, NVML_CLOCK_MEM));
    json_object_set_new(gpu, "throttle", throttle(health, device));
    json_object_set_new(gpu, "ecc_corrected",
                        ecc_errors(health, device, NVML_MEMORY_ERROR_CORRECTED));
    json_object_set_new(gpu, "ecc_uncorrected",
                        ecc_errors(health, device, NVML_MEMORY_ERROR_UNCORRECTED));
    add_rows(health, device, gpu);
    json_object_set_new(gpu, "recovery", recovery(health, device));
    json_object_set_new(gpu, "xids", take_xids(&health->watched[index]));
}

int nvml_health_reset(struct nvml_health *health, nvmlDevice_t device, struct vgpu_err *err)
{
    nvmlReturn_t result;

    if (!health->softgpuDeviceReset)
        return vgpu_err_set(err, EOPNOTSUPP, "NVML has no call that resets a GPU");
    result = health->softgpuDeviceReset(device);
    if (result == NVML_ERROR_IN_USE)
        return vgpu_err_set(err, EBUSY, "a process has memory on the GPU");
    if (result != NVML_SUCCESS)
        return vgpu_err_set(err, EIO, "the GPU could not be reset");
    return 0;
}
