/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/stream_attributes.h"

#include <string.h>

static CUresult set_window(struct stream_attributes *attributes, const CUaccessPolicyWindow *window)
{
    if (!(window->hitRatio >= 0.0f && window->hitRatio <= 1.0f) ||
        (unsigned)window->hitProp > CU_ACCESS_PROPERTY_PERSISTING ||
        (unsigned)window->missProp > CU_ACCESS_PROPERTY_STREAMING)
        return CUDA_ERROR_INVALID_VALUE;
    attributes->window = *window;
    return CUDA_SUCCESS;
}

CUresult stream_attribute_set(struct stream_attributes *attributes, CUstreamAttrID id,
                              const CUstreamAttrValue *value)
{
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        return set_window(attributes, &value->accessPolicyWindow);
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
        if ((unsigned)value->syncPolicy < CU_SYNC_POLICY_AUTO ||
            (unsigned)value->syncPolicy > CU_SYNC_POLICY_BLOCKING_SYNC)
            return CUDA_ERROR_INVALID_VALUE;
        attributes->policy = value->syncPolicy;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        attributes->map = value->memSyncDomainMap;
        attributes->has_map = 1;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        if ((unsigned)value->memSyncDomain > CU_LAUNCH_MEM_SYNC_DOMAIN_REMOTE)
            return CUDA_ERROR_INVALID_VALUE;
        attributes->domain = value->memSyncDomain;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult stream_attribute_get(const struct stream_attributes *attributes, int priority,
                              CUstreamAttrID id, CUstreamAttrValue *ret)
{
    CUstreamAttrValue value;

    memset(&value, 0, sizeof(value));
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        value.accessPolicyWindow = attributes->window;
        break;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
        value.syncPolicy = attributes->policy ? attributes->policy : CU_SYNC_POLICY_AUTO;
        break;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        value.priority = priority;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        value.memSyncDomainMap = attributes->map;
        if (!attributes->has_map)
            value.memSyncDomainMap.remote = 1;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        value.memSyncDomain = attributes->domain;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    *ret = value;
    return CUDA_SUCCESS;
}
