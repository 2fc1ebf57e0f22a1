/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs of the driver double: nodes are only counted, a launch is one unit of work. */
#include <stdlib.h>

#include "worker/test_driver.h"

/* The driver's, until it is destroyed: a worker that ends leaves it there. */
struct CUgraph_st {
    struct CUgraph_st *next, **at;
    size_t nodes;
};

struct CUgraphExec_st {
    struct CUgraphExec_st *next, **at;
    size_t nodes;
};

static CUgraph graphs;
static CUgraphExec execs;

#define MAKE(list, ret)                                                                            \
    do {                                                                                           \
        *(ret) = calloc(1, sizeof(**(ret)));                                                       \
        (*(ret))->next = (list);                                                                   \
        (*(ret))->at = &(list);                                                                    \
        if (list)                                                                                  \
            (list)->at = &(*(ret))->next;                                                          \
        (list) = *(ret);                                                                           \
    } while (0)

#define UNMAKE(made)                                                                               \
    do {                                                                                           \
        if ((made)->next)                                                                          \
            (made)->next->at = (made)->at;                                                         \
        *(made)->at = (made)->next;                                                                \
        free(made);                                                                                \
    } while (0)

static CUresult graph_create(CUgraph *graph, unsigned int flags)
{
    MAKE(graphs, graph);
    return CUDA_SUCCESS;
}

static CUresult graph_destroy(CUgraph graph)
{
    UNMAKE(graph);
    return CUDA_SUCCESS;
}

/* Nodes are numbered from 1; those needed must be there. */
static CUresult add(CUgraphNode *node, CUgraph graph, const CUgraphNode *needs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!needs[i] || (size_t)needs[i] > graph->nodes)
            abort();
    *node = (CUgraphNode)(uintptr_t)++graph->nodes;
    return CUDA_SUCCESS;
}

static CUresult add_kernel(CUgraphNode *node, CUgraph graph, const CUgraphNode *needs, size_t count,
                           const CUDA_KERNEL_NODE_PARAMS *params)
{
    return params->gridDimX == 0 ? CUDA_ERROR_INVALID_VALUE : add(node, graph, needs, count);
}

static CUresult add_copy(CUgraphNode *node, CUgraph graph, const CUgraphNode *needs, size_t count,
                         const CUDA_MEMCPY3D *params, CUcontext context)
{
    return add(node, graph, needs, count);
}

static CUresult add_fill(CUgraphNode *node, CUgraph graph, const CUgraphNode *needs, size_t count,
                         const CUDA_MEMSET_NODE_PARAMS *params, CUcontext context)
{
    return add(node, graph, needs, count);
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    MAKE(execs, exec);
    (*exec)->nodes = graph->nodes;
    return CUDA_SUCCESS;
}

static CUresult exec_destroy(CUgraphExec exec)
{
    test_driver_note("destroy-graph");
    UNMAKE(exec);
    return CUDA_SUCCESS;
}

static CUresult graph_launch(CUgraphExec exec, CUstream stream)
{
    return test_driver_unit(stream, "graph");
}

static CUresult set_fill(CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params,
                         CUcontext context)
{
    if ((size_t)node > exec->nodes)
        abort();
    test_driver_note("set-fill");
    return CUDA_SUCCESS;
}

static CUresult set_enabled(CUgraphExec exec, CUgraphNode node, unsigned int enabled)
{
    test_driver_note(enabled ? "enable" : "disable");
    return CUDA_SUCCESS;
}

void test_driver_graphs(struct cuda_driver *driver)
{
    driver->cuGraphCreate = graph_create;
    driver->cuGraphDestroy = graph_destroy;
    driver->cuGraphAddEmptyNode = add;
    driver->cuGraphAddKernelNode = add_kernel;
    driver->cuGraphAddMemcpyNode = add_copy;
    driver->cuGraphAddMemsetNode = add_fill;
    driver->cuGraphInstantiateWithFlags = instantiate;
    driver->cuGraphExecDestroy = exec_destroy;
    driver->cuGraphLaunch = graph_launch;
    driver->cuGraphExecMemsetNodeSetParams = set_fill;
    driver->cuGraphNodeSetEnabled = set_enabled;
}
