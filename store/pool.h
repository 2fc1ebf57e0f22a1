/* SPDX-License-Identifier: Apache-2.0 */
/* The table pools: groups of VMs that are served by the same GPUs under one policy. */
#ifndef VGPU_STORE_POOL_H
#define VGPU_STORE_POOL_H

#include "store/database.h"

struct pool_row {
    const char *pool;
    const char *policy;
    const char *description;
    int64_t created;
    int64_t updated;
};

/* "wfq", "strict", NULL. */
extern const char *const pool_policies[];

/* Inserts a row whose texts are checked already. */
int pool_insert(struct store *store, const struct pool_row *row, struct vgpu_err *err);

/* Checks name and description. */
int pool_check(const struct pool_row *row, struct vgpu_err *err);

/* -ENOENT, and a text that says which pools there are, if there is none of that name. */
int pool_load(struct store *store, const char *pool, json_t **ret_pool, struct vgpu_err *err);

/* The same for those who need no more. */
int pool_exists(struct store *store, const char *pool, struct vgpu_err *err);

/* 1 and *ret_pool, or 0: there is none of that name. */
int pool_find(struct store *store, const char *pool, json_t **ret_pool, struct vgpu_err *err);

/* -ENOSPC if the pool, which exists, has more VMs than its max_vms allows: what made it so must be
 * taken back. */
int pool_check_most(struct store *store, const char *pool, struct vgpu_err *err);

/* Removes it, off its GPUs; -EBUSY if it has VMs. */
int pool_remove(struct store_call *call, const char *pool, struct vgpu_err *err);

/* The rows as in the snapshot; with_members adds "gpus" and "vms" to each. */
int pool_list(struct store *store, bool with_members, json_t **ret_pools, struct vgpu_err *err);

int pool_command_create(struct store_call *call, struct vgpu_err *err);
int pool_command_remove(struct store_call *call, struct vgpu_err *err);
int pool_command_list(struct store_call *call, struct vgpu_err *err);
int pool_command_set_policy(struct store_call *call, struct vgpu_err *err);
/* All of pool_setting_commands. */
int pool_command_set(struct store_call *call, struct vgpu_err *err);

#endif
