/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of VMs and the scheduling of pools, one table each: what a setting is called in the
 * database, in requests and in JSON, its unit, its range and what 0 stands for. The commands that
 * change them (setting_change.c), their checks and what vgpu-admin takes and shows come from here.
 *
 * Each is an integer; 0 is always allowed and means no limit, or the default. The CHECK constraints
 * of migration.c repeat the ranges, and test_settings.c compares the two.
 */
#ifndef VGPU_STORE_SETTING_H
#define VGPU_STORE_SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

enum setting_unit {
    SETTING_COUNT,
    SETTING_PER_S,
    SETTING_BYTES,
    SETTING_US,
    SETTING_MS,
    SETTING_S,
    SETTING_HUNDREDTHS
};

struct setting {
    const char *name;  /* column, argument and JSON member; NULL ends a table */
    const char *title; /* "job timeout" */
    enum setting_unit unit;
    int64_t least, most; /* of what is not 0 */
    int64_t fallback;    /* what 0 stands for; 0: no limit, or none */
};

extern const struct setting vm_settings[];
extern const struct setting pool_settings[];

/* NULL if there is none of that name. */
const struct setting *setting_find(const struct setting *settings, const char *name);

/* Takes the setting out of a request's args as args_integer() does, and checks it. */
int setting_read(const struct setting *setting, const json_t *args, bool required,
                 int64_t *ret_value, struct vgpu_err *err);

#endif
