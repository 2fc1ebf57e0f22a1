/* SPDX-License-Identifier: Apache-2.0 */
/* The table thresholds: those of threshold.h that an administrator has changed. */
#ifndef VGPU_STORE_THRESHOLD_ROW_H
#define VGPU_STORE_THRESHOLD_ROW_H

#include "store/database.h"

/* All thresholds as they are in force, in the order of threshold.h. */
int threshold_list(struct store *store, json_t **ret_thresholds, struct vgpu_err *err);

/*
 * Sets the threshold that args name to the value and the action that are there, and logs the
 * change, if it is one. *ret_rule, unless ret_rule is NULL: as it is now.
 */
int threshold_set(struct store_call *call, const json_t *args, json_t **ret_rule,
                  struct vgpu_err *err);

/* The threshold that args name, with its revision. */
int threshold_load(struct store *store, const json_t *args, json_t **ret_threshold,
                   struct vgpu_err *err);

int threshold_command_list(struct store_call *call, struct vgpu_err *err);
int threshold_command_set(struct store_call *call, struct vgpu_err *err);

#endif
