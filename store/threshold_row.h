/* SPDX-License-Identifier: Apache-2.0 */
/* The table thresholds: those of threshold.h that an administrator has changed. */
#ifndef VGPU_STORE_THRESHOLD_ROW_H
#define VGPU_STORE_THRESHOLD_ROW_H

#include "store/database.h"

/* All thresholds as they are in force, in the order of threshold.h. */
int threshold_list(struct store *store, json_t **ret_thresholds, struct vgpu_err *err);

int threshold_command_list(struct store_call *call, struct vgpu_err *err);
int threshold_command_set(struct store_call *call, struct vgpu_err *err);

#endif
