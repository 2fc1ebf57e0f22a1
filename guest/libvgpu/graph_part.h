/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire's form of nodes that are the device's alone: struct vgpu_graph_node and what follows,
 * one behind the other in a buffer.
 */
#ifndef VGPU_LIBVGPU_GRAPH_PART_H
#define VGPU_LIBVGPU_GRAPH_PART_H

#include "cuda/graph.h"

struct graph_buffer {
    uint8_t *bytes; /* from malloc */
    size_t used, room;
};

/* True if the worker can run it: kernels, fills, copies within the device, and joins (NULL). */
bool graph_is_device_work(const struct graph_node *node);

/* Appends a node; `needs` are indices in the buffer. */
CUresult graph_buffer_add(struct graph_buffer *buffer, const struct graph_node *node,
                          const uint32_t *needs, uint32_t need_count);

#endif
