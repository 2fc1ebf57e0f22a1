/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind the cuGraph* functions share, and what a library that takes them (softgpu,
 * libvgpu) provides. One lock guards all graphs; it is taken before any lock of the library, whose
 * own functions (cuFuncGetParamInfo, cuLaunchKernelEx ...) are called through the driver API.
 */
#ifndef VGPU_CUDA_GRAPH_API_H
#define VGPU_CUDA_GRAPH_API_H

#include <pthread.h>

#include "common/cleanup.h"
#include "cuda/graph.h"

/* An executable graph. The library's part is `body`; exec->lock is held while it is used. */
struct graph_exec {
    void *handle;
    size_t refs;         /* under the lock of all graphs */
    struct graph *graph; /* a copy of its own; nodes name their sources */
    CUcontext context;
    unsigned long long flags;
    pthread_mutex_t lock;
    void *body;
};

/* --- Provided by the library. --- */

/* Makes exec->body from exec->graph. */
CUresult graph_body_new(struct graph_exec *exec);
void graph_body_free(struct graph_exec *exec);
CUresult graph_body_launch(struct graph_exec *exec, CUstream stream);

/* A node of exec->graph has new parameters, or was enabled or disabled. */
CUresult graph_body_update(struct graph_exec *exec, struct graph_node *node);

/* --- Shared. --- */

/* A call of the API: until it ends, the lock is held if result is CUDA_SUCCESS. */
struct graph_scope {
    CUresult result;
    CUcontext context; /* the current one, or NULL */
};

struct graph_scope graph_enter(void);
void graph_leave(struct graph_scope *scope);
#define _graph_scope_ _cleanup_(graph_leave)

struct graph *graph_of(CUgraph handle);
struct graph_node *graph_node_of(CUgraphNode handle);
struct graph_exec *graph_exec_of(CUgraphExec handle);

/* Nodes of one graph; from malloc. INVALID_VALUE if any is none of its. */
CUresult graph_nodes_of(const struct graph *graph, const CUgraphNode *handles, size_t count,
                        struct graph_node ***ret_nodes);

/* From the program's form to struct graph_params, which owns copies; checks what CUDA does then. */
CUresult graph_read_kernel(CUcontext context, const CUDA_KERNEL_NODE_PARAMS *from,
                           struct graph_params *ret);
CUresult graph_read_copy(CUcontext context, const CUDA_MEMCPY3D *from, struct graph_params *ret);
CUresult graph_read_fill(CUcontext context, const CUDA_MEMSET_NODE_PARAMS *from,
                         struct graph_params *ret);
CUresult graph_read_host(CUcontext context, const CUDA_HOST_NODE_PARAMS *from,
                         struct graph_params *ret);
CUresult graph_read_event(CUcontext context, CUgraphNodeType type, CUevent event,
                          struct graph_params *ret);
CUresult graph_read_child(CUcontext context, CUgraph child, struct graph_params *ret);
CUresult graph_read_node(CUcontext context, const CUgraphNodeParams *from,
                         struct graph_params *ret);
/* cuEventQuery, also where a capture forbids it to the program: asks whether there is one. */
CUresult graph_query_event(CUevent event);

/* Of a kernel node: whether CUDA has the attribute there; taking one in. */
bool graph_attribute_known(CUkernelNodeAttrID id);
CUresult graph_read_attribute(CUkernelNodeAttrID id, const CUkernelNodeAttrValue *value,
                              struct graph_kernel *kernel);

/* Does in the stream what a node says, by the library's own functions. */
CUresult graph_run_node(const struct graph_node *node, CUstream stream);

/* Makes an executable graph. */
CUresult graph_instantiate(struct graph *graph, unsigned long long flags, CUgraphExec *ret_exec);

#endif
