/* SPDX-License-Identifier: Apache-2.0 */
#include "store/setting.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/store.h"

#define NAMING_MAX 4

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

const struct setting_command vm_setting_commands[] = {
    {"set-bytes", {"bytes_in_flight"}, 1},
    {"set-depth", {"depth"}, 1},
    {"set-faults", {"fault_threshold", "fault_window_s"}, 1},
    {"set-memory", {"memory_bytes", "process_memory_bytes"}, 1},
    {"set-rate", {"rate_per_s", "burst"}, 1},
    {"set-timeout", {"job_timeout_ms"}, 1},
    {.name = NULL},
};

const struct setting_command pool_setting_commands[] = {
    {"set-max-vms", {"max_vms"}, 1},
    {"set-pool-weight", {"weight_hundredths"}, 1},
    {"set-slice", {"slice_us", "grace_us", "max_wait_ms", "urgency_us"}, 1},
    {.name = NULL},
};

/* What 0 stands for is the scheduler's to say (sched_config_default()). */
const struct setting pool_settings[] = {
    {"weight_hundredths", "weight", SETTING_HUNDREDTHS, 100, 10000, 0},
    {"slice_us", "slice", SETTING_US, STORE_SLICE_MIN_US, STORE_SLICE_MAX_US, 10000},
    {"grace_us", "grace", SETTING_US, 1, STORE_GRACE_MAX_US, 3000},
    {"max_wait_ms", "longest wait", SETTING_MS, 1, STORE_MAX_WAIT_MAX_MS, 10000},
    {"urgency_us", "urgency", SETTING_US, 1, STORE_URGENCY_MAX_US, 10000},
    {"max_vms", "most VMs", SETTING_COUNT, 1, STORE_VMS_MAX, 0},
    {.name = NULL},
};

const struct setting *setting_find(const struct setting *settings, const char *name)
{
    for (; settings->name; settings++)
        if (strcmp(settings->name, name) == 0)
            return settings;
    return NULL;
}

const struct setting_command *setting_command_find(const struct setting_command *commands,
                                                   const char *name)
{
    while (strcmp(commands->name, name) != 0)
        commands++;
    return commands;
}

static int check_known(const struct setting_command *command, const char *const *naming,
                       const json_t *args, struct vgpu_err *err)
{
    const char *known[NAMING_MAX + SETTING_COMMAND_MAX + 1] = {NULL};
    size_t n = 0;

    while (n < NAMING_MAX && naming[n]) {
        known[n] = naming[n];
        n++;
    }
    for (size_t i = 0; i < SETTING_COMMAND_MAX && command->settings[i]; i++)
        known[n++] = command->settings[i];
    return args_known(args, known, err);
}

int setting_take(const struct setting *setting, const json_t *args, bool required,
                 int64_t *ret_value, struct vgpu_err *err)
{
    const json_t *given = json_object_get(args, setting->name);
    int64_t value = 0;
    int rc = args_integer(args, setting->name, required, INT64_MIN, INT64_MAX, &value, err);

    if (rc < 0 || !given || json_is_null(given))
        return rc;
    if (value != 0 && (value < setting->least || value > setting->most))
        return vgpu_err_set(err, EINVAL, "%s %lld is out of range: %lld to %lld, or 0 for %s",
                            setting->name, (long long)value, (long long)setting->least,
                            (long long)setting->most, setting->fallback ? "the default" : "none");
    *ret_value = value;
    return 1;
}

/* Burst goes with the rate: as many as a second has, unless it is given, and none without one. */
static int complete_rate(int64_t rate, bool given, int64_t *burst, struct vgpu_err *err)
{
    if (!given)
        *burst = rate;
    if (rate == 0 && *burst != 0)
        return vgpu_err_set(err, EINVAL, "a burst of %lld needs a rate; rate_per_s is 0, no limit",
                            (long long)*burst);
    if (rate != 0 && *burst == 0)
        return vgpu_err_set(err, EINVAL,
                            "a burst of 0 would let no job in; leave it out for that of the rate");
    return 0;
}

static int read_values(const struct setting *settings, const struct setting_command *command,
                       const json_t *args, const json_t *old, int64_t values[SETTING_COMMAND_MAX],
                       struct vgpu_err *err)
{
    int given = 0;

    for (size_t i = 0; i < SETTING_COMMAND_MAX && command->settings[i]; i++) {
        const struct setting *setting = setting_find(settings, command->settings[i]);

        assert(setting);
        values[i] = json_integer_value(json_object_get(old, setting->name));
        given = setting_take(setting, args, i < command->required, &values[i], err);
        if (given < 0)
            return given;
    }
    if (strcmp(command->settings[0], "rate_per_s") == 0)
        return complete_rate(values[0], given, &values[1], err);
    return 0;
}

int setting_read(const struct setting *settings, const struct setting_command *command,
                 const char *const *naming, const json_t *args, const json_t *old,
                 char ret_sql[SETTING_SQL_BYTES], struct vgpu_err *err)
{
    int64_t values[SETTING_COMMAND_MAX];
    bool differs = false;
    size_t used = 0;
    int rc = check_known(command, naming, args, err);

    if (rc < 0 || (rc = read_values(settings, command, args, old, values, err)) < 0)
        return rc;
    ret_sql[0] = '\0';
    for (size_t i = 0; i < SETTING_COMMAND_MAX && command->settings[i]; i++) {
        const char *name = command->settings[i];

        differs |= json_integer_value(json_object_get(old, name)) != values[i];
        used += (size_t)snprintf(ret_sql + used, SETTING_SQL_BYTES - used, "%s%s = %lld",
                                 i ? ", " : "", name, (long long)values[i]);
    }
    if (!differs)
        ret_sql[0] = '\0';
    return 0;
}
