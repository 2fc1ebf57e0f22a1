/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs of GPU work, as data: nodes, edges, parameters, order, copies. Shared by softgpu and
 * libvgpu, whose cuGraph* functions (graph_api.c, graph_exec.c) are written once on top of it. No
 * I/O and no driver call here; the caller holds the one lock that guards all graphs.
 *
 * What a program holds is a handle from graph_table.h, never an address. Every graph and node has
 * one. Each size has a named maximum, and passing it answers CUDA_ERROR_OUT_OF_MEMORY.
 */
#ifndef VGPU_CUDA_GRAPH_H
#define VGPU_CUDA_GRAPH_H

#include <stdbool.h>

#include "cuda/launch_attributes.h"

#define GRAPH_MAX_NODES 16384u /* in one graph, those of its children included */
#define GRAPH_MAX_EDGES 65536u
#define GRAPH_MAX_DEPTH 8u /* of child graphs within each other */

struct graph;
struct graph_node;

/* A kernel's parameters lie packed in `bytes`; pointers[i] is where parameter i begins. */
struct graph_kernel {
    CUfunction function;
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    struct vgpu_launch_attributes attributes;
    uint32_t params_bytes, params_count;
    uint8_t *params; /* from malloc */
    void **pointers; /* from malloc */
};

struct graph_params {
    CUgraphNodeType type;
    CUcontext context; /* in which the node runs */
    union {
        struct graph_kernel kernel;
        CUDA_MEMCPY3D copy;
        CUDA_MEMSET_NODE_PARAMS fill;
        CUDA_HOST_NODE_PARAMS host;
        CUevent event;
        struct graph *child; /* the node's own */
    };
};

/* Nodes before or behind a node. */
struct graph_links {
    struct graph_node **nodes;
    size_t count, room;
};

struct graph_node {
    void *handle;
    struct graph *graph;
    struct graph_node *next, *previous; /* in the order in which they were added */
    struct graph_params params;
    struct graph_links needs, feeds;
    void *source;            /* handle of the node that this is a copy of, or NULL */
    bool enabled;            /* meaningful in an executable graph */
    struct graph_node *twin; /* for graph_clone */
    uint32_t unmet;          /* for graph_order */
    uint32_t flat;           /* for graph_flatten: what others wait for */
    uint32_t part, index;    /* the library's own: where an executable graph has put it */
};

/* A reference to something of the program's that lives as long as the graph. */
struct graph_user {
    struct graph_user *next;
    struct user_object *object;
    unsigned count;
};

struct graph {
    void *handle;
    struct graph_node *first, *last;
    size_t node_count, edge_count;
    size_t total_nodes; /* with those of child graphs */
    unsigned depth;
    struct graph_node *owner; /* the child graph node whose graph this is, or NULL */
    void *source;             /* handle of the graph that this is a copy of, or NULL */
    bool captured_into;       /* a capture adds to it */
    struct graph_user *users;
};

struct user_object {
    void *handle;
    void *pointer;
    CUhostFn destroy;
    size_t refs;
};

/* NULL without memory, or without a free handle. */
struct graph *graph_new(void);
void graph_free(struct graph *graph);

/* Adds a node; what params owns is the node's then, on failure the caller's still. */
CUresult graph_add(struct graph *graph, const struct graph_params *params,
                   struct graph_node *const *needs, size_t needs_count,
                   struct graph_node **ret_node);
void graph_remove(struct graph_node *node);

/* INVALID_VALUE if the edge is there already (or not there), or leaves the graph. */
CUresult graph_connect(struct graph_node *from, struct graph_node *to);
CUresult graph_disconnect(struct graph_node *from, struct graph_node *to);
bool graph_connected(const struct graph_node *from, const struct graph_node *to);

/* A deep copy; each node names its source. */
CUresult graph_clone(const struct graph *graph, struct graph **ret_clone);

/* The copy in `graph` of the node with that handle, in child graphs too; NULL: none. */
struct graph_node *graph_find_source(const struct graph *graph, const void *source);

/* True if a graph or one of its children has a node that `matches`. */
bool graph_any(const struct graph *graph, bool (*matches)(const struct graph_node *node));

/* All nodes so that each comes after those it needs; INVALID_VALUE for a cycle. From malloc. */
CUresult graph_order(struct graph *graph, struct graph_node ***ret_nodes);

/*
 * A graph with its children spread out, in an order in which it may run. An entry whose node is
 * NULL only joins others. `needs` are indices of earlier entries.
 */
struct graph_flat_entry {
    struct graph_node *node;
    uint32_t first_need, need_count;
};

struct graph_flat {
    struct graph_flat_entry *entries;
    uint32_t *needs;
    size_t count, need_count;
    size_t entry_room, need_room;
};

CUresult graph_flatten(struct graph *graph, struct graph_flat *ret_flat);
void graph_flat_release(struct graph_flat *flat);

/* Copies what it owns too, a child graph as well. CUDA_ERROR_OUT_OF_MEMORY leaves *ret alone. */
CUresult graph_params_copy(const struct graph_params *params, struct graph_params *ret);
void graph_params_release(struct graph_params *params);

/*
 * Whether an executable node with `before` may get `after`: same type, same context, and for copies
 * the same kinds of memory and the same dimensions.
 */
CUgraphExecUpdateResult graph_params_may_become(const struct graph_params *before,
                                                const struct graph_params *after);

/* Objects of the program's. */
struct user_object *user_object_new(void *pointer, CUhostFn destroy, size_t refs);
void user_object_unref(struct user_object *object, size_t count);
CUresult graph_hold_user(struct graph *graph, struct user_object *object, unsigned count);
CUresult graph_drop_user(struct graph *graph, struct user_object *object, unsigned count);

#endif
