/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * Structures inside the blobs of cuda.spec's records and answers. The records themselves are
 * generated from cuda.spec (cuda/cuda_ops.h).
 */
#ifndef VGPU_CUDA_H
#define VGPU_CUDA_H

#include "types.h"
#include "version.h"

#define VGPU_DEVICE_ATTRIBUTES   160
#define VGPU_FUNCTION_ATTRIBUTES 16
#define VGPU_FUNCTION_MAX_PARAMS 480
#define VGPU_LAUNCH_PARAM_BYTES  32764

/* Handles: (kind << 28) | (generation << 16) | index. Streams have three values of their own. */
#define VGPU_HANDLE_KIND(handle)       ((handle) >> 28)
#define VGPU_HANDLE_GENERATION(handle) (((handle) >> 16) & 0xfffu)
#define VGPU_HANDLE_INDEX(handle)      ((handle)&0xffffu)
#define VGPU_HANDLE(kind, generation, index)                                                       \
    (((uint32_t)(kind) << 28) | (((uint32_t)(generation)&0xfffu) << 16) | ((uint32_t)(index)))
#define VGPU_STREAM_DEFAULT    0u /* the legacy default stream, as CUDA's NULL */
#define VGPU_STREAM_LEGACY     1u
#define VGPU_STREAM_PER_THREAD 2u /* the default stream of the record's thread */

/* Answer to device_info. Attributes that the driver refused are VGPU_ATTRIBUTE_UNKNOWN. */
#define VGPU_ATTRIBUTE_UNKNOWN INT32_MIN
struct cuda_device_info {
    int32_t driver_version;
    uint32_t attribute_count;
    uint64_t total_memory_bytes;
    int32_t least_priority;
    int32_t greatest_priority;
    uint32_t module_loading_mode;
    uint32_t primary_flags;
    uint8_t uuid[16];
    char name[128];
    char pci_bus_id[32];
    int32_t attributes[VGPU_DEVICE_ATTRIBUTES]; /* [n]: CUdevice_attribute n */
};
VGPU_ASSERT_SIZE(struct cuda_device_info, 848);

/* One JIT option of module_load or link_create; log buffers and outputs are not sent. */
struct cuda_jit_option {
    uint32_t option; /* CUjit_option */
    uint32_t reserved;
    uint64_t value;
};
VGPU_ASSERT_SIZE(struct cuda_jit_option, 16);
#define VGPU_JIT_MAX_OPTIONS 64

/* Answer to module_get_function and function_set_attribute. */
struct cuda_function_info {
    int32_t attributes[VGPU_FUNCTION_ATTRIBUTES]; /* [n]: CUfunction_attribute n */
    uint32_t param_count;
    uint32_t param_bytes; /* size of the packed buffer; 0 and count 0: none or unknown */
    uint32_t params_known;
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct cuda_function_info, 80);

struct cuda_param_info {
    uint32_t offset;
    uint32_t size;
};
VGPU_ASSERT_SIZE(struct cuda_param_info, 8);

/*
 * How a kernel is to be launched beyond its shape, of launch_ex and of graphs' kernels. given: 1 <<
 * CUlaunchAttributeID for each attribute that is set; what is not set is 0.
 */
#define VGPU_LAUNCH_COOPERATIVE       (1u << 2)
#define VGPU_LAUNCH_CLUSTER           (1u << 4)
#define VGPU_LAUNCH_CLUSTER_POLICY    (1u << 5)
#define VGPU_LAUNCH_SERIALIZATION     (1u << 6)
#define VGPU_LAUNCH_PRIORITY          (1u << 8)
#define VGPU_LAUNCH_DOMAIN_MAP        (1u << 9)
#define VGPU_LAUNCH_DOMAIN            (1u << 10)
#define VGPU_LAUNCH_PREFERRED_CLUSTER (1u << 11)
#define VGPU_LAUNCH_CARVEOUT          (1u << 14)
#define VGPU_LAUNCH_ATTRIBUTES        0x4f74u /* all of these */
struct vgpu_launch_attributes {
    uint32_t given;
    uint32_t cooperative; /* 1 */
    int32_t priority;
    uint32_t cluster[3], preferred_cluster[3]; /* blocks; at least 1 each */
    uint32_t cluster_policy;                   /* CUclusterSchedulingPolicy */
    uint32_t serialization;                    /* 1: programmatic stream serialization */
    uint32_t domain;                           /* CUlaunchMemSyncDomain */
    uint32_t domain_default, domain_remote;    /* the map of domains: below 256 */
    int32_t carveout;                          /* per cent, or -1 */
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_launch_attributes, 64);

/* Of tensor_map_encode: what cuTensorMapEncode* takes; what its kind does not use is 0. */
#define VGPU_TENSOR_TILED       0
#define VGPU_TENSOR_IM2COL      1
#define VGPU_TENSOR_IM2COL_WIDE 2
#define VGPU_TENSOR_MAX_RANK    5
struct vgpu_tensor {
    uint32_t kind, data_type, rank;
    uint32_t interleave, swizzle, l2_promotion, oob_fill;
    uint32_t mode; /* of IM2COL_WIDE */
    uint64_t address;
    uint64_t dims[VGPU_TENSOR_MAX_RANK];
    uint64_t strides[VGPU_TENSOR_MAX_RANK - 1];
    uint32_t box[VGPU_TENSOR_MAX_RANK]; /* of TILED */
    uint32_t element_strides[VGPU_TENSOR_MAX_RANK];
    int32_t lower[3], upper[3]; /* corners; of IM2COL_WIDE the first of each */
    uint32_t channels, pixels;
};
VGPU_ASSERT_SIZE(struct vgpu_tensor, 184);

/*
 * The nodes of graph_create, one behind the other, each at a multiple of 8: this head, the body of
 * its type, need_count u32 indices of earlier nodes, for kernels the packed parameters; each part
 * padded to a multiple of 8 with zeros. graph_set_node carries one node without needs.
 */
#define VGPU_GRAPH_MAX_NODES   16384
#define VGPU_GRAPH_MAX_EDGES   65536
#define VGPU_GRAPH_NODE_EMPTY  0
#define VGPU_GRAPH_NODE_KERNEL 1
#define VGPU_GRAPH_NODE_COPY   2
#define VGPU_GRAPH_NODE_FILL   3
struct vgpu_graph_node {
    uint32_t size_bytes; /* of all of it */
    uint32_t type;
    uint32_t enabled; /* 0 or 1; EMPTY: 1 */
    uint32_t need_count;
};
VGPU_ASSERT_SIZE(struct vgpu_graph_node, 16);

struct vgpu_graph_kernel {
    uint32_t function; /* a handle */
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    uint32_t params_bytes;
    uint32_t reserved;
    struct vgpu_launch_attributes attributes;
};
VGPU_ASSERT_SIZE(struct vgpu_graph_kernel, 104);

/* From device memory to device memory; as copy_3d. */
struct vgpu_graph_copy {
    uint64_t target, source;
    uint64_t target_pitch, source_pitch;
    uint64_t target_slice_rows, source_slice_rows;
    uint64_t width_bytes, height, depth;
};
VGPU_ASSERT_SIZE(struct vgpu_graph_copy, 72);

struct vgpu_graph_fill {
    uint64_t target, pitch_bytes, width, height;
    uint32_t element_bytes, value;
};
VGPU_ASSERT_SIZE(struct vgpu_graph_fill, 40);

#endif
