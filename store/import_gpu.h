/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration that is imported says of GPUs: which pools they serve, and draining. */
#ifndef VGPU_STORE_IMPORT_GPU_H
#define VGPU_STORE_IMPORT_GPU_H

#include "store/import_row.h"

int import_gpu(struct import *import, const json_t *given, struct vgpu_err *err);

/* Takes GPUs that the list does not name from all pools, and resumes them. */
int import_gpu_prune(struct import *import, const json_t *named, struct vgpu_err *err);

#endif
