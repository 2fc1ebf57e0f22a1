/* SPDX-License-Identifier: Apache-2.0 */
/* The table pool_gpus: which GPUs serve which pools, several to several. */
#ifndef VGPU_STORE_POOL_GPU_H
#define VGPU_STORE_POOL_GPU_H

#include "store/database.h"

/* [{"pool": "A", "gpu_id": 0}], ordered by pool. */
int pool_gpu_list(struct store *store, json_t **ret_rows, struct vgpu_err *err);

/* Adds "gpus" and "vms", the ids, to a pool's object. */
int pool_gpu_add_members(struct store *store, json_t *pool, struct vgpu_err *err);

/* Adds "pools", the names, to a GPU's object. */
int pool_gpu_add_pools(struct store *store, json_t *gpu, struct vgpu_err *err);

/* Lets a GPU serve a pool that it does not serve yet, and takes it from one that it does. */
int pool_gpu_add(struct store_call *call, const char *pool, int64_t gpu_id, struct vgpu_err *err);
int pool_gpu_remove(struct store_call *call, const char *pool, int64_t gpu_id,
                    struct vgpu_err *err);

/* Takes all GPUs from the pool. */
int pool_gpu_remove_pool(struct store_call *call, const char *pool, struct vgpu_err *err);

int pool_gpu_command_assign(struct store_call *call, struct vgpu_err *err);
int pool_gpu_command_unassign(struct store_call *call, struct vgpu_err *err);

#endif
