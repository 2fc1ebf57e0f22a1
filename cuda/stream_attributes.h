/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stream was told of itself, and tells again: the same in both libraries of the driver API.
 * The priority belongs to the stream itself. Pure: no state, no I/O.
 */
#ifndef VGPU_CUDA_STREAM_ATTRIBUTES_H
#define VGPU_CUDA_STREAM_ATTRIBUTES_H

#include "cuda/cuda_abi.h"

struct stream_attributes {
    CUaccessPolicyWindow window;
    CUsynchronizationPolicy policy; /* 0: not set */
    CUlaunchMemSyncDomain domain;
    CUlaunchMemSyncDomainMap map;
    unsigned char has_map;
};

/*
 * Takes a value in. INVALID_VALUE if streams have no such attribute, or it no such value;
 * CU_LAUNCH_ATTRIBUTE_PRIORITY is for the caller to keep.
 */
CUresult stream_attribute_set(struct stream_attributes *attributes, CUstreamAttrID id,
                              const CUstreamAttrValue *value);

/* The value, or what CUDA has before any is set; priority: the stream's. */
CUresult stream_attribute_get(const struct stream_attributes *attributes, int priority,
                              CUstreamAttrID id, CUstreamAttrValue *ret);

#endif
