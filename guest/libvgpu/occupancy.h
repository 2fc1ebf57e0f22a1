/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver says of launches in clusters; for cuOccupancy* and for launches. */
#ifndef VGPU_LIBVGPU_OCCUPANCY_H
#define VGPU_LIBVGPU_OCCUPANCY_H

#include "cuda/cuda_send.h"
#include "guest/libvgpu/objects.h"

/* largest: the most blocks in a cluster, instead of the most clusters at once. */
CUresult occupancy_ask_clusters(uint32_t function, const struct proved_launch *launch, bool largest,
                                struct cuda_out_occupancy_clusters *ret);

#endif
