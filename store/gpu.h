/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table gpus: every GPU that a scan ever found, keyed by UUID. A gpu_id stays with its UUID and
 * is never given to another card; a card that is gone stays, as missing.
 */
#ifndef VGPU_STORE_GPU_H
#define VGPU_STORE_GPU_H

#include "store/database.h"

/* -ENOENT, and a text that says which GPUs there are, if there is none of that id. */
int gpu_load(struct store *store, int64_t gpu_id, json_t **ret_gpu, struct vgpu_err *err);

/* *ret_gpu is left alone if there is none of that UUID. */
int gpu_find_uuid(struct store *store, const char *uuid, json_t **ret_gpu, struct vgpu_err *err);

/* -EINVAL if it is one that no pool can have: only PCI knows of it, as no driver that we use has
 * it. */
int gpu_check_usable(struct store *store, int64_t gpu_id, struct vgpu_err *err);

/* The rows as in the snapshot; with_pools adds "pools" to each. */
int gpu_list(struct store *store, bool with_pools, json_t **ret_gpus, struct vgpu_err *err);

/* The result gets "gpus", with pools, and "affected_pools". */
int gpu_give_list(struct store_call *call, struct vgpu_err *err);

int gpu_command_record(struct store_call *call, struct vgpu_err *err);
int gpu_command_list(struct store_call *call, struct vgpu_err *err);

#endif
