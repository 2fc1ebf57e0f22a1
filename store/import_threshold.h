/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration that is imported says of thresholds. */
#ifndef VGPU_STORE_IMPORT_THRESHOLD_H
#define VGPU_STORE_IMPORT_THRESHOLD_H

#include "store/import_row.h"

int import_threshold(struct import *import, const json_t *given, struct vgpu_err *err);

/* Returns those that the list does not name to their defaults. */
int import_threshold_prune(struct import *import, const json_t *named, struct vgpu_err *err);

#endif
