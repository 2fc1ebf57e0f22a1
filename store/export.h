/* SPDX-License-Identifier: Apache-2.0 */
/* The whole configuration as one object: what administrators want, without history and state. */
#ifndef VGPU_STORE_EXPORT_H
#define VGPU_STORE_EXPORT_H

#include "store/database.h"

/* The rows of the table, by name. */
int export_list_thresholds(struct store *store, json_t **ret_rows, struct vgpu_err *err);

int export_command(struct store_call *call, struct vgpu_err *err);

#endif
