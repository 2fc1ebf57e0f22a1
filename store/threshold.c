/* SPDX-License-Identifier: Apache-2.0 */
#include "store/threshold.h"

#include <string.h>

#define CELSIUS(limit, what)                                                                       \
    .unit = "celsius", .least = 1, .most = 200, .hysteresis = 3, .rule = {limit, what}
#define COUNT(limit, what) .unit = "count", .least = 1, .most = 1e9, .rule = {limit, what}

const struct threshold thresholds[THRESHOLD_N] = {
    [THRESHOLD_TEMPERATURE_WARM] = {"temperature-warm", "temperature", CELSIUS(85, THRESHOLD_WARN)},
    [THRESHOLD_TEMPERATURE_HOT] = {"temperature-hot", "temperature", CELSIUS(90, THRESHOLD_STOP)},
    [THRESHOLD_MEMORY_WARM] = {"memory-warm", "temperature of the memory",
                               CELSIUS(95, THRESHOLD_WARN)},
    [THRESHOLD_MEMORY_HOT] = {"memory-hot", "temperature of the memory",
                              CELSIUS(105, THRESHOLD_STOP)},
    [THRESHOLD_SLOWDOWN] = {"slowdown", "slowdowns that the hardware forces now",
                            COUNT(1, THRESHOLD_WARN)},
    [THRESHOLD_ECC_CORRECTED] = {"ecc-corrected", "corrected ECC errors",
                                 COUNT(1000, THRESHOLD_WARN)},
    [THRESHOLD_ECC_UNCORRECTED] = {"ecc-uncorrected", "uncorrected ECC errors",
                                   COUNT(1, THRESHOLD_DRAIN)},
    [THRESHOLD_REMAP_PENDING] = {"remap-pending", "remapped rows that wait for a reset",
                                 COUNT(1, THRESHOLD_WARN)},
    [THRESHOLD_REMAP_FAILURE] = {"remap-failure", "rows that could not be remapped",
                                 COUNT(1, THRESHOLD_DRAIN)},
    [THRESHOLD_RECOVERY] = {"recovery", "advice of NVML to drain the GPU",
                            COUNT(1, THRESHOLD_DRAIN)},
    [THRESHOLD_XID_WARNING] = {"xid-warning", "XID errors of the hardware that it recovers from",
                               COUNT(1, THRESHOLD_WARN)},
    [THRESHOLD_XID_ERROR] = {"xid-error", "XID errors of the hardware", COUNT(1, THRESHOLD_DRAIN)},
};

enum threshold_id threshold_find(const char *name)
{
    int id = 0;

    while (id < THRESHOLD_N && !(name && strcmp(thresholds[id].name, name) == 0))
        id++;
    return (enum threshold_id)id;
}

static const char *const action_names[THRESHOLD_N_ACTIONS] = {
    [THRESHOLD_IGNORE] = "ignore",
    [THRESHOLD_WARN] = "warn",
    [THRESHOLD_DRAIN] = "drain",
    [THRESHOLD_STOP] = "stop",
};

enum threshold_action threshold_action_find(const char *name)
{
    int action = 0;

    while (action < THRESHOLD_N_ACTIONS && !(name && strcmp(action_names[action], name) == 0))
        action++;
    return (enum threshold_action)action;
}

const char *threshold_action_name(enum threshold_action action)
{
    return action_names[action];
}
