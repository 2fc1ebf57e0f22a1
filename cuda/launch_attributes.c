/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/launch_attributes.h"

#include <string.h>

#define GIVEN(id) (1u << (id))

/* In the order in which the driver gets them. */
static const CUlaunchAttributeID carried[] = {
    CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
    CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
    CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION,
    CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
    CU_LAUNCH_ATTRIBUTE_PRIORITY,
    CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP,
    CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN,
    CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
};
_Static_assert(sizeof(carried) / sizeof(carried[0]) == LAUNCH_MAX_ATTRIBUTES, "each has its room");

static bool is_carried(CUlaunchAttributeID id)
{
    return (unsigned)id < 32 && (VGPU_LAUNCH_ATTRIBUTES & GIVEN(id));
}

static bool cluster_valid(const uint32_t cluster[3])
{
    return cluster[0] && cluster[1] && cluster[2];
}

static bool carveout_valid(int32_t carveout)
{
    return carveout >= -1 && carveout <= 100;
}

/* The value of a carried attribute, as it is. */
static void store(CUlaunchAttributeID id, const CUlaunchAttributeValue *value,
                  struct vgpu_launch_attributes *attributes)
{
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        attributes->cooperative = value->cooperative != 0;
        break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        memcpy(attributes->cluster, &value->clusterDim, sizeof(attributes->cluster));
        break;
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
        memcpy(attributes->preferred_cluster, &value->preferredClusterDim,
               sizeof(attributes->preferred_cluster));
        break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        attributes->cluster_policy = (uint32_t)value->clusterSchedulingPolicyPreference;
        break;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        attributes->serialization = value->programmaticStreamSerializationAllowed != 0;
        break;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        attributes->priority = value->priority;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        attributes->domain_default = value->memSyncDomainMap.default_;
        attributes->domain_remote = value->memSyncDomainMap.remote;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        attributes->domain = (uint32_t)value->memSyncDomain;
        break;
    default:
        attributes->carveout = (int32_t)value->sharedMemCarveout;
        break;
    }
    attributes->given |= GIVEN(id);
}

static bool is_zero(const uint32_t cluster[3])
{
    return !(cluster[0] | cluster[1] | cluster[2]);
}

/* What says no is as if it had not been set: as NVIDIA's driver takes it. */
static void drop_if_no(CUlaunchAttributeID id, struct vgpu_launch_attributes *attributes)
{
    if ((id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && !attributes->cooperative) ||
        (id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
         !attributes->serialization) ||
        (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && is_zero(attributes->cluster)) ||
        (id == CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION &&
         is_zero(attributes->preferred_cluster)))
        attributes->given &= ~GIVEN(id);
}

CUresult launch_attribute_read(CUlaunchAttributeID id, const CUlaunchAttributeValue *value,
                               struct vgpu_launch_attributes *attributes)
{
    struct vgpu_launch_attributes changed = *attributes;

    if (!is_carried(id)) {
        switch (id) {
        case CU_LAUNCH_ATTRIBUTE_IGNORE:
        case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
            return CUDA_SUCCESS;
        case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
        case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
        case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
            return LAUNCH_NOT_CARRIED;
        default:
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    store(id, value, &changed);
    drop_if_no(id, &changed);
    if (!launch_attributes_valid(&changed))
        return id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION ||
                       id == CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION
                   ? CUDA_ERROR_INVALID_CLUSTER_SIZE
                   : CUDA_ERROR_INVALID_VALUE;
    *attributes = changed;
    return CUDA_SUCCESS;
}

bool launch_attribute_value(const struct vgpu_launch_attributes *attributes, CUlaunchAttributeID id,
                            CUlaunchAttributeValue *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!is_carried(id) || !(attributes->given & GIVEN(id)))
        return false;
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        ret->cooperative = (int)attributes->cooperative;
        break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        memcpy(&ret->clusterDim, attributes->cluster, sizeof(attributes->cluster));
        break;
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
        memcpy(&ret->preferredClusterDim, attributes->preferred_cluster,
               sizeof(attributes->preferred_cluster));
        break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        ret->clusterSchedulingPolicyPreference =
            (CUclusterSchedulingPolicy)attributes->cluster_policy;
        break;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        ret->programmaticStreamSerializationAllowed = (int)attributes->serialization;
        break;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        ret->priority = attributes->priority;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        ret->memSyncDomainMap.default_ = (unsigned char)attributes->domain_default;
        ret->memSyncDomainMap.remote = (unsigned char)attributes->domain_remote;
        break;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        ret->memSyncDomain = (CUlaunchMemSyncDomain)attributes->domain;
        break;
    default:
        ret->sharedMemCarveout = (unsigned int)attributes->carveout;
        break;
    }
    return true;
}

unsigned int launch_attributes_write(const struct vgpu_launch_attributes *attributes,
                                     CUlaunchAttribute *ret)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < LAUNCH_MAX_ATTRIBUTES; i++) {
        if (!launch_attribute_value(attributes, carried[i], &ret[count].value))
            continue;
        memset(ret[count].pad, 0, sizeof(ret[count].pad));
        ret[count++].id = carried[i];
    }
    return count;
}

/* Values that belong to none of the given attributes are 0. */
static bool rest_is_zero(const struct vgpu_launch_attributes *attributes)
{
    struct vgpu_launch_attributes rest = *attributes;
    CUlaunchAttributeValue zero;

    memset(&zero, 0, sizeof(zero));
    for (unsigned int i = 0; i < LAUNCH_MAX_ATTRIBUTES; i++)
        if (attributes->given & GIVEN(carried[i]))
            store(carried[i], &zero, &rest);
    rest.given = 0;
    return memcmp(&rest, &(struct vgpu_launch_attributes){0}, sizeof(rest)) == 0;
}

bool launch_attributes_valid(const struct vgpu_launch_attributes *attributes)
{
    uint32_t given = attributes->given;

    if ((given & ~VGPU_LAUNCH_ATTRIBUTES) || !rest_is_zero(attributes))
        return false;
    if ((given & VGPU_LAUNCH_COOPERATIVE) && attributes->cooperative != 1)
        return false;
    if ((given & VGPU_LAUNCH_SERIALIZATION) && attributes->serialization != 1)
        return false;
    if ((given & VGPU_LAUNCH_CLUSTER) && !cluster_valid(attributes->cluster))
        return false;
    if ((given & VGPU_LAUNCH_PREFERRED_CLUSTER) && !cluster_valid(attributes->preferred_cluster))
        return false;
    return attributes->cluster_policy <= CU_CLUSTER_SCHEDULING_POLICY_LOAD_BALANCING &&
           attributes->domain <= CU_LAUNCH_MEM_SYNC_DOMAIN_REMOTE &&
           attributes->domain_default < 256 && attributes->domain_remote < 256 &&
           carveout_valid(attributes->carveout);
}

uint64_t launch_cluster_blocks(const struct vgpu_launch_attributes *attributes)
{
    uint64_t blocks = 1;

    if (!(attributes->given & VGPU_LAUNCH_CLUSTER))
        return 1;
    for (int i = 0; i < 3; i++)
        if (__builtin_mul_overflow(blocks, (uint64_t)attributes->cluster[i], &blocks))
            return UINT64_MAX;
    return blocks;
}
