/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of VMs and the scheduling of pools, one table each: what a setting is called in the
 * database, in requests and in JSON, its unit, its range and what 0 stands for. The commands that
 * change them, their checks and what vgpu-admin takes and shows come from here.
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

#define SETTING_COMMAND_MAX 4

/* A command that sets some of them: `required` first ones must be given, the others stay. */
struct setting_command {
    const char *name; /* NULL ends a table */
    const char *settings[SETTING_COMMAND_MAX];
    size_t required;
};

extern const struct setting_command vm_setting_commands[];
extern const struct setting_command pool_setting_commands[];

/* NULL if there is none of that name. */
const struct setting *setting_find(const struct setting *settings, const char *name);

/* Reads one out of args and checks it. 1: it is there; 0: it is not, and need not be. */
int setting_take(const struct setting *setting, const json_t *args, bool required,
                 int64_t *ret_value, struct vgpu_err *err);

#define SETTING_SQL_BYTES 256

/*
 * Reads a command's settings out of args, which may have the arguments `naming` besides (a
 * NULL-terminated list), checks them, and writes what is to follow "SET" in an UPDATE into
 * ret_sql: "a = 1, b = 2", or nothing if the old row has those values.
 */
int setting_read(const struct setting *settings, const struct setting_command *command,
                 const char *const *naming, const json_t *args, const json_t *old,
                 char ret_sql[SETTING_SQL_BYTES], struct vgpu_err *err);

/* The command of that name in a table; the caller knows that it is there. */
const struct setting_command *setting_command_find(const struct setting_command *commands,
                                                   const char *name);

#endif
