/* SPDX-License-Identifier: Apache-2.0 */
#include "store/setting.h"

#include <errno.h>
#include <string.h>

#include "store/args.h"
#include "store/store.h"

const struct setting vm_settings[] = {
    {"rate_per_s", "rate", SETTING_PER_S, 1, STORE_RATE_MAX, 0},
    {"burst", "burst", SETTING_COUNT, 1, STORE_BURST_MAX, 0},
    {"depth", "depth", SETTING_COUNT, 1, STORE_DEPTH_MAX, STORE_DEPTH_DEFAULT},
    {"bytes_in_flight", "bytes in flight", SETTING_BYTES, STORE_BYTES_MIN,
     STORE_BYTES_IN_FLIGHT_MAX, 0},
    {"job_timeout_ms", "job timeout", SETTING_MS, STORE_JOB_TIMEOUT_MIN_MS,
     STORE_JOB_TIMEOUT_MAX_MS, STORE_JOB_TIMEOUT_DEFAULT_MS},
    {"memory_bytes", "memory", SETTING_BYTES, STORE_BYTES_MIN, STORE_MEMORY_MAX, 0},
    {"process_memory_bytes", "memory of a process", SETTING_BYTES, STORE_BYTES_MIN,
     STORE_MEMORY_MAX, 0},
    {"fault_threshold", "fault threshold", SETTING_COUNT, 1, STORE_FAULT_THRESHOLD_MAX,
     STORE_FAULT_THRESHOLD_DEFAULT},
    {"fault_window_s", "fault window", SETTING_S, 1, STORE_FAULT_WINDOW_MAX_S,
     STORE_FAULT_WINDOW_DEFAULT_S},
    {.name = NULL},
};

/* What 0 stands for is the scheduler's to say (sched_config_default()). */
const struct setting pool_settings[] = {
    {"weight_hundredths", "weight", SETTING_HUNDREDTHS, 100, 10000, 0},
    {"slice_us", "slice", SETTING_US, STORE_SLICE_MIN_US, STORE_SLICE_MAX_US, 10000},
    {"grace_us", "grace", SETTING_US, 1, STORE_GRACE_MAX_US, 3000},
    {"max_wait_ms", "longest wait", SETTING_MS, 1, STORE_MAX_WAIT_MAX_MS, 10000},
    {"urgency_us", "urgency", SETTING_US, 1, STORE_URGENCY_MAX_US, 10000},
    {.name = NULL},
};

const struct setting *setting_find(const struct setting *settings, const char *name)
{
    for (; settings->name; settings++)
        if (strcmp(settings->name, name) == 0)
            return settings;
    return NULL;
}

int setting_read(const struct setting *setting, const json_t *args, bool required,
                 int64_t *ret_value, struct vgpu_err *err)
{
    int64_t value = 0;
    int rc = args_integer(args, setting->name, required, INT64_MIN, INT64_MAX, &value, err);

    if (rc < 0)
        return rc;
    if (!json_is_integer(json_object_get(args, setting->name)))
        return 0;
    if (value != 0 && (value < setting->least || value > setting->most))
        return vgpu_err_set(err, EINVAL, "%s %lld is out of range: %lld to %lld, or 0 for %s",
                            setting->name, (long long)value, (long long)setting->least,
                            (long long)setting->most, setting->fallback ? "the default" : "none");
    *ret_value = value;
    return 0;
}
