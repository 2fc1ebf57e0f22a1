/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of an object's members an administrator decides: one table for each kind of object, which
 * export.c picks from and import.c checks by. The rest is found, counted or noted by the store.
 */
#ifndef VGPU_STORE_INTENT_H
#define VGPU_STORE_INTENT_H

#include "store/database.h"
#include "store/setting.h"

#define INTENT_FORMAT 1 /* of an exported configuration */

enum intent_type {
    INTENT_TEXT, /* 1 to max_bytes bytes without control characters */
    INTENT_LINE, /* the same, or empty */
    INTENT_WORD, /* one of the words */
    INTENT_UUID,
    INTENT_VM_ID,
    INTENT_WEIGHT,
    INTENT_NUMBER,
    INTENT_FLAG,
    INTENT_POOLS /* names of pools, in order, each once */
};

struct intent_member {
    const char *name; /* NULL ends a table */
    enum intent_type type;
    bool nullable;
    size_t max_bytes;
    const char *const *words;
};

struct intent {
    const char *list;                    /* what a configuration calls these objects together */
    const struct intent_member *members; /* the first says which object it is */
    const struct setting *settings;      /* or NULL */
    size_t most;                         /* so many objects */
};

extern const struct intent intent_pools, intent_vms, intent_gpus, intent_thresholds;

/* A new object of those members of the row, in the table's order; NULL: out of memory. */
json_t *intent_pick(const struct intent *intent, const json_t *row);

/*
 * Checks the members of given, and puts them into wanted as the store would give them. -EINVAL: a
 * member that there is not, of another type, or out of range.
 */
int intent_take(const struct intent *intent, const json_t *given, json_t *wanted,
                struct vgpu_err *err);

#endif
