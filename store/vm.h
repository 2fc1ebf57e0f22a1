/* SPDX-License-Identifier: Apache-2.0 */
/* The table vms: who may connect, in which pool, with what priority and weight. */
#ifndef VGPU_STORE_VM_H
#define VGPU_STORE_VM_H

#include "store/database.h"

struct vm_row {
    int64_t vm_id;
    const char *uuid; /* or NULL */
    const char *name; /* or NULL */
    const char *pool;
    const char *priority;
    int64_t weight_hundredths;
    int64_t created;
    int64_t updated;
};

/* "low", "medium", "high", NULL. */
extern const char *const vm_priorities[];

/* A weight within its limits as the table keeps it. */
int64_t vm_weight_hundredths(double weight);

/* One of which nothing but these is said. */
#define VM_ROW_NEW(id, its_pool, now)                                                              \
    {                                                                                              \
        .vm_id = (id), .pool = (its_pool), .priority = "medium",                                   \
        .weight_hundredths = (int64_t)(STORE_WEIGHT_DEFAULT * 100), .created = (now),              \
        .updated = (now)                                                                           \
    }

/* -ENOSPC if there is no room for so many more VMs. */
int vm_check_room(struct store *store, size_t more, struct vgpu_err *err);

/* Inserts a row whose values are checked already. */
int vm_insert(struct store *store, const struct vm_row *row, struct vgpu_err *err);

/* The rows as in the snapshot, of one pool or (NULL) of all. */
int vm_list(struct store *store, const char *pool, json_t **ret_vms, struct vgpu_err *err);

/* 1 and *ret_vm, the row as in the snapshot, or 0: there is none of that id. */
int vm_find(struct store *store, int64_t vm_id, json_t **ret_vm, struct vgpu_err *err);

/* Removes the VM, whose row this is. */
int vm_remove(struct store_call *call, json_t *vm, struct vgpu_err *err);

/* Finds the one VM that a request names. -ENOENT, -ENOTUNIQ with a text that helps. */
int vm_resolve(struct store_call *call, json_t **ret_vm, struct vgpu_err *err);

/*
 * Puts vm into the result, and the change from old to new, if it is one, into the audit log: where
 * one of them is NULL, their revisions differ, or the call is about history.
 */
int vm_give(struct store_call *call, json_t *vm, json_t *old, json_t *new, struct vgpu_err *err);

/* The arguments that name a VM; NULL ends it. */
extern const char *const vm_naming[];

int vm_command_register(struct store_call *call, struct vgpu_err *err);
int vm_command_remove(struct store_call *call, struct vgpu_err *err);
int vm_command_list(struct store_call *call, struct vgpu_err *err);
int vm_command_set_priority(struct store_call *call, struct vgpu_err *err);
int vm_command_set_weight(struct store_call *call, struct vgpu_err *err);
int vm_command_set_pool(struct store_call *call, struct vgpu_err *err);
/* All of vm_setting_commands. */
int vm_command_set(struct store_call *call, struct vgpu_err *err);

#endif
