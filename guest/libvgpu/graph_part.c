/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/graph_part.h"

#include <stdlib.h>
#include <string.h>

#include "guest/libvgpu/copy.h"
#include "guest/libvgpu/lookup.h"

static bool is_device(CUmemorytype type, CUdeviceptr address)
{
    if (type == CU_MEMORYTYPE_DEVICE)
        return true;
    return type == CU_MEMORYTYPE_UNIFIED && copy_side_unified(address).place == COPY_DEVICE;
}

bool graph_is_device_work(const struct graph_node *node)
{
    const CUDA_MEMCPY3D *copy;

    if (!node)
        return true;
    switch (node->params.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
    case CU_GRAPH_NODE_TYPE_MEMSET:
    case CU_GRAPH_NODE_TYPE_EMPTY:
        return true;
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        copy = &node->params.copy;
        return is_device(copy->srcMemoryType, copy->srcDevice) &&
               is_device(copy->dstMemoryType, copy->dstDevice);
    default:
        return false;
    }
}

/* Room for `bytes` more, padded to 8, as zeros; NULL without memory. */
static void *append(struct graph_buffer *buffer, size_t bytes)
{
    size_t padded = (bytes + 7) & ~(size_t)7;
    uint8_t *at;

    if (buffer->room - buffer->used < padded) {
        size_t room = (buffer->used + padded) * 2 + 4096;
        uint8_t *grown = realloc(buffer->bytes, room);

        if (!grown)
            return NULL;
        buffer->bytes = grown;
        buffer->room = room;
    }
    at = buffer->bytes + buffer->used;
    memset(at, 0, padded);
    buffer->used += padded;
    return at;
}

static CUresult add_kernel(struct graph_buffer *buffer, const struct graph_kernel *kernel)
{
    struct vgpu_graph_kernel *body = append(buffer, sizeof(*body));
    struct function_object function;
    CUresult result = lookup_function(kernel->function, &function);

    if (!body || result != CUDA_SUCCESS)
        return body ? result : CUDA_ERROR_OUT_OF_MEMORY;
    *body = (struct vgpu_graph_kernel){
        .function = function.head.handle,
        .grid = {kernel->grid[0], kernel->grid[1], kernel->grid[2]},
        .block = {kernel->block[0], kernel->block[1], kernel->block[2]},
        .shared_bytes = kernel->shared_bytes,
        .params_bytes = kernel->params_bytes,
        .attributes = kernel->attributes,
    };
    return CUDA_SUCCESS;
}

/* The first byte of one side; false if it lies beyond the end of the address space. */
static bool first_byte(uint64_t base, uint64_t x, uint64_t y, uint64_t z, uint64_t pitch,
                       uint64_t rows, uint64_t *ret_address)
{
    uint64_t row, bytes;

    return !__builtin_mul_overflow(z, rows, &row) && !__builtin_add_overflow(row, y, &row) &&
           !__builtin_mul_overflow(row, pitch, &bytes) &&
           !__builtin_add_overflow(bytes, x, &bytes) &&
           !__builtin_add_overflow(bytes, base, ret_address);
}

static CUresult add_copy(struct graph_buffer *buffer, const CUDA_MEMCPY3D *copy)
{
    struct vgpu_graph_copy *body = append(buffer, sizeof(*body));

    if (!body)
        return CUDA_ERROR_OUT_OF_MEMORY;
    body->width_bytes = copy->WidthInBytes;
    body->height = copy->Height;
    body->depth = copy->Depth;
    body->source_pitch = copy->srcPitch ? copy->srcPitch : copy->srcXInBytes + copy->WidthInBytes;
    body->target_pitch = copy->dstPitch ? copy->dstPitch : copy->dstXInBytes + copy->WidthInBytes;
    body->source_slice_rows = copy->srcHeight ? copy->srcHeight : copy->srcY + copy->Height;
    body->target_slice_rows = copy->dstHeight ? copy->dstHeight : copy->dstY + copy->Height;
    if (!first_byte(copy->srcDevice, copy->srcXInBytes, copy->srcY, copy->srcZ, body->source_pitch,
                    body->source_slice_rows, &body->source) ||
        !first_byte(copy->dstDevice, copy->dstXInBytes, copy->dstY, copy->dstZ, body->target_pitch,
                    body->target_slice_rows, &body->target))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult add_fill(struct graph_buffer *buffer, const CUDA_MEMSET_NODE_PARAMS *fill)
{
    struct vgpu_graph_fill *body = append(buffer, sizeof(*body));

    if (!body)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *body = (struct vgpu_graph_fill){
        .target = fill->dst,
        .pitch_bytes = fill->height > 1 ? fill->pitch : fill->width * fill->elementSize,
        .width = fill->width,
        .height = fill->height,
        .element_bytes = fill->elementSize,
        .value = fill->value,
    };
    return CUDA_SUCCESS;
}

static CUresult add_body(struct graph_buffer *buffer, const struct graph_node *node,
                         uint32_t *ret_type)
{
    *ret_type = VGPU_GRAPH_NODE_EMPTY;
    if (!node)
        return CUDA_SUCCESS;
    switch (node->params.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        *ret_type = VGPU_GRAPH_NODE_KERNEL;
        return add_kernel(buffer, &node->params.kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        *ret_type = VGPU_GRAPH_NODE_COPY;
        return add_copy(buffer, &node->params.copy);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        *ret_type = VGPU_GRAPH_NODE_FILL;
        return add_fill(buffer, &node->params.fill);
    default:
        return CUDA_SUCCESS;
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

CUresult graph_buffer_add(struct graph_buffer *buffer, const struct graph_node *node,
                          const uint32_t *needs, uint32_t need_count)
{
    size_t start = buffer->used;
    struct vgpu_graph_node *head = append(buffer, sizeof(*head));
    uint32_t *sorted, type;
    uint8_t *params;
    CUresult result;

    if (!head)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = add_body(buffer, node, &type);
    if (result != CUDA_SUCCESS)
        return result;
    sorted = append(buffer, need_count * sizeof(*needs));
    if (!sorted)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (need_count > 0) {
        memcpy(sorted, needs, need_count * sizeof(*needs));
        qsort(sorted, need_count, sizeof(*sorted), compare);
    }
    if (type == VGPU_GRAPH_NODE_KERNEL) {
        params = append(buffer, node->params.kernel.params_bytes);
        if (!params)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(params, node->params.kernel.params, node->params.kernel.params_bytes);
    }
    head = (struct vgpu_graph_node *)(void *)(buffer->bytes + start);
    *head = (struct vgpu_graph_node){
        .size_bytes = (uint32_t)(buffer->used - start),
        .type = type,
        .enabled = !node || type == VGPU_GRAPH_NODE_EMPTY || node->enabled,
        .need_count = need_count,
    };
    return CUDA_SUCCESS;
}
