/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From settings as they are to settings as they should be: the commands of the store that lead
 * there, to be executed as one (`batch`). The settings are tables; pool.c and vm.c have theirs.
 *
 * A table's group is one command with its arguments. A member that the wanted settings leave out,
 * or that is null in them, gets its default.
 */
#ifndef VGPU_AGENT_PLAN_H
#define VGPU_AGENT_PLAN_H

#include <stdbool.h>

#include <jansson.h>

#define PLAN_MEMBERS_MAX 4

struct plan_member {
    const char *name;
    const char *preset;   /* the default, as JSON; NULL: there is none, it must be given */
    const char *argument; /* the command's name for it; NULL: the same */
};

struct plan_group {
    const char *command; /* NULL ends the table */
    bool at_birth;       /* the command that makes the object takes its members */
    struct plan_member members[PLAN_MEMBERS_MAX];
};

/* All settings of the table, with defaults where wanted has none. NULL: out of memory. */
json_t *plan_complete(const struct plan_group *groups, const json_t *wanted);

/*
 * Appends to `commands` what changes `current` (NULL: the object is new; its members at birth are
 * left to the caller) to `wanted`, which is complete. naming: the arguments that name the object.
 */
int plan_settings(const struct plan_group *groups, json_t *naming, const json_t *current,
                  const json_t *wanted, json_t *commands);

/* {"command": ..., "args": ...} to the end of commands; takes args. */
int plan_add(json_t *commands, const char *command, json_t *args);

/* Of `object` what is a setting. NULL: out of memory. */
json_t *plan_settings_of(const struct plan_group *groups, const json_t *object);

#endif
