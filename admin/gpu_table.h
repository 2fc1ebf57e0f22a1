/* SPDX-License-Identifier: Apache-2.0 */
/* The table of GPUs, which list-gpus and scan-gpus print alike. */
#ifndef VGPU_ADMIN_GPU_TABLE_H
#define VGPU_ADMIN_GPU_TABLE_H

#include <jansson.h>

void gpu_table_print(const json_t *gpus);

#endif
