/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/graph_wire.h"

#include <errno.h>

#include "cuda/launch_attributes.h"

static size_t padded(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

static size_t body_bytes(uint32_t type)
{
    switch (type) {
    case VGPU_GRAPH_NODE_KERNEL:
        return sizeof(struct vgpu_graph_kernel);
    case VGPU_GRAPH_NODE_COPY:
        return sizeof(struct vgpu_graph_copy);
    case VGPU_GRAPH_NODE_FILL:
        return sizeof(struct vgpu_graph_fill);
    default:
        return 0;
    }
}

static int check_kernel(const struct vgpu_graph_kernel *kernel)
{
    if (kernel->reserved || !launch_attributes_valid(&kernel->attributes) ||
        kernel->params_bytes > VGPU_LAUNCH_PARAM_BYTES)
        return -EPROTO;
    return 0;
}

static int check_copy(const struct vgpu_graph_copy *copy)
{
    return copy->width_bytes && copy->height && copy->depth ? 0 : -EPROTO;
}

static int check_fill(const struct vgpu_graph_fill *fill)
{
    if (!fill->width || !fill->height ||
        (fill->element_bytes != 1 && fill->element_bytes != 2 && fill->element_bytes != 4))
        return -EPROTO;
    return 0;
}

static int check_body(const struct graph_wire_node *node)
{
    switch (node->head->type) {
    case VGPU_GRAPH_NODE_KERNEL:
        return check_kernel(node->kernel);
    case VGPU_GRAPH_NODE_COPY:
        return check_copy(node->copy);
    case VGPU_GRAPH_NODE_FILL:
        return check_fill(node->fill);
    default:
        return node->head->type == VGPU_GRAPH_NODE_EMPTY && node->head->enabled ? 0 : -EPROTO;
    }
}

/* So that there is no cycle, and no edge twice: indices of earlier nodes, rising. */
static int check_needs(const struct graph_wire_node *node, uint32_t index)
{
    for (uint32_t i = 0; i < node->head->need_count; i++)
        if (node->needs[i] >= index || (i > 0 && node->needs[i] <= node->needs[i - 1]))
            return -EPROTO;
    return 0;
}

int graph_wire_next(const void *blob, size_t bytes, struct graph_wire_cursor *cursor,
                    struct graph_wire_node *ret_node)
{
    const uint8_t *start = (const uint8_t *)blob + cursor->at;
    size_t left = bytes - cursor->at;
    struct graph_wire_node node = {.head = (const void *)start};
    size_t body, needs, params = 0;

    if (left == 0)
        return 0;
    if (left < sizeof(*node.head) || cursor->nodes >= VGPU_GRAPH_MAX_NODES ||
        node.head->size_bytes > left || node.head->enabled > 1 ||
        node.head->need_count > VGPU_GRAPH_MAX_EDGES - cursor->edges)
        return -EPROTO;
    body = body_bytes(node.head->type);
    needs = padded(node.head->need_count * sizeof(uint32_t));
    if (node.head->size_bytes < sizeof(*node.head) + body + needs)
        return -EPROTO;
    node.kernel = (const void *)(start + sizeof(*node.head));
    node.needs = (const void *)(start + sizeof(*node.head) + body);
    node.params = start + sizeof(*node.head) + body + needs;
    if (check_body(&node) < 0 || check_needs(&node, cursor->nodes) < 0)
        return -EPROTO;
    if (node.head->type == VGPU_GRAPH_NODE_KERNEL)
        params = padded(node.kernel->params_bytes);
    if (node.head->size_bytes != sizeof(*node.head) + body + needs + params)
        return -EPROTO;
    cursor->at += node.head->size_bytes;
    cursor->nodes++;
    cursor->edges += node.head->need_count;
    *ret_node = node;
    return 1;
}
