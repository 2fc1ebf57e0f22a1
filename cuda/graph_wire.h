/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes apart the blob of graph_create and graph_set_node (struct vgpu_graph_node and what follows)
 * that a guest sent. The bytes are a private copy. What comes out is within its limits and points
 * into the blob; handles and addresses are not looked up here.
 */
#ifndef VGPU_CUDA_GRAPH_WIRE_H
#define VGPU_CUDA_GRAPH_WIRE_H

#include <stddef.h>
#include <vgpu/cuda.h>

struct graph_wire_node {
    const struct vgpu_graph_node *head;
    union {
        const struct vgpu_graph_kernel *kernel;
        const struct vgpu_graph_copy *copy;
        const struct vgpu_graph_fill *fill;
    };
    const uint32_t *needs;
    const uint8_t *params;
};

/* Where the next node begins, and what was seen so far; starts as zeros. */
struct graph_wire_cursor {
    size_t at;
    uint32_t nodes, edges;
};

/* 1: there is a node; 0: the blob is over; -EPROTO. */
int graph_wire_next(const void *blob, size_t bytes, struct graph_wire_cursor *cursor,
                    struct graph_wire_node *ret_node);

#endif
