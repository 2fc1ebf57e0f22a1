/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch attributes between the three forms that they have: the program's (CUlaunchAttribute), the
 * wire's and the graph model's (struct vgpu_launch_attributes), and the driver's again. Used by
 * both libraries of the driver API and by the worker. Pure: no state, no I/O.
 */
#ifndef VGPU_CUDA_LAUNCH_ATTRIBUTES_H
#define VGPU_CUDA_LAUNCH_ATTRIBUTES_H

#include <stdbool.h>
#include <vgpu/cuda.h>

#include "cuda/cuda_abi.h"

#define LAUNCH_MAX_ATTRIBUTES 9u

/* What the two libraries and the model say of an attribute that is known and not carried. */
#define LAUNCH_NOT_CARRIED CUDA_ERROR_NOT_SUPPORTED

/*
 * Takes one attribute in. INVALID_VALUE for what CUDA does not know or allow in a launch,
 * INVALID_CLUSTER_SIZE for a cluster without blocks,
 * LAUNCH_NOT_CARRIED for those with a meaning that would be lost; hints are taken without effect.
 */
CUresult launch_attribute_read(CUlaunchAttributeID id, const CUlaunchAttributeValue *value,
                               struct vgpu_launch_attributes *attributes);

/* The value that was taken in; false if the attribute has none, with *ret cleared. */
bool launch_attribute_value(const struct vgpu_launch_attributes *attributes, CUlaunchAttributeID id,
                            CUlaunchAttributeValue *ret);

/* As the driver takes them; room for LAUNCH_MAX_ATTRIBUTES. Returns how many. */
unsigned int launch_attributes_write(const struct vgpu_launch_attributes *attributes,
                                     CUlaunchAttribute *ret);

/* True if each value is one that launch_attribute_read gives: for what comes over the wire. */
bool launch_attributes_valid(const struct vgpu_launch_attributes *attributes);

/* Blocks in a cluster; 1 without clusters. */
uint64_t launch_cluster_blocks(const struct vgpu_launch_attributes *attributes);

#endif
