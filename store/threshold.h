/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thresholds of GPUs' health: what each is called, its unit, its range and what it is unless an
 * administrator says otherwise; and the table of those that he has changed. The mediator's health.c
 * compares samples with them.
 *
 * Reaching a threshold's value triggers its action. What must fall again by some way before that
 * ends (hysteresis) is not for configuration.
 */
#ifndef VGPU_STORE_THRESHOLD_H
#define VGPU_STORE_THRESHOLD_H

#include <jansson.h>

#include "common/err.h"

enum threshold_id {
    THRESHOLD_TEMPERATURE_WARM,
    THRESHOLD_TEMPERATURE_HOT,
    THRESHOLD_MEMORY_WARM,
    THRESHOLD_MEMORY_HOT,
    THRESHOLD_SLOWDOWN,
    THRESHOLD_ECC_CORRECTED,
    THRESHOLD_ECC_UNCORRECTED,
    THRESHOLD_REMAP_PENDING,
    THRESHOLD_REMAP_FAILURE,
    THRESHOLD_RECOVERY,
    THRESHOLD_XID_WARNING,
    THRESHOLD_XID_ERROR,
    THRESHOLD_N
};

/* From the mildest to the most severe. */
enum threshold_action {
    THRESHOLD_IGNORE,
    THRESHOLD_WARN,
    THRESHOLD_DRAIN, /* no new channels */
    THRESHOLD_STOP,  /* nor leases */
    THRESHOLD_N_ACTIONS
};

struct threshold_rule {
    double value;
    enum threshold_action action;
};

struct threshold {
    const char *name;
    const char *title; /* of what is compared: "temperature" */
    const char *unit;  /* "celsius" or "count"; counts are whole numbers */
    double least, most;
    double hysteresis;
    struct threshold_rule rule;
};

extern const struct threshold thresholds[THRESHOLD_N];

/* THRESHOLD_N, THRESHOLD_N_ACTIONS: there is none of that name, which may be NULL. */
enum threshold_id threshold_find(const char *name);
enum threshold_action threshold_action_find(const char *name);
const char *threshold_action_name(enum threshold_action action);

#endif
