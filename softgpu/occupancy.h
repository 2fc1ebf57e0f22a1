/* SPDX-License-Identifier: Apache-2.0 */
/* How many blocks of a kernel a multiprocessor holds, by the rules of compute capability 9.0. */
#ifndef SOFTGPU_OCCUPANCY_H
#define SOFTGPU_OCCUPANCY_H

#include "softgpu/module.h"

/* Blocks per multiprocessor; 0 if not even one fits. block_threads > 0. */
int occupancy_blocks(const struct function *function, unsigned block_threads,
                     uint64_t dynamic_shared_bytes);

#endif
