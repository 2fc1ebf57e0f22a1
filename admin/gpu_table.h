/* SPDX-License-Identifier: Apache-2.0 */
/* The table of GPUs, and which pools suffer, as list-gpus and scan-gpus print them alike. */
#ifndef VGPU_ADMIN_GPU_TABLE_H
#define VGPU_ADMIN_GPU_TABLE_H

#include <jansson.h>

/* result: of one of the two. */
void gpu_table_print(const json_t *result);

#endif
