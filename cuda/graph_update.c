/* SPDX-License-Identifier: Apache-2.0 */
/* cuGraphExec*: new parameters for the nodes of an executable graph, for its later launches. */
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/graph_api.h"

/* Gives a node what was just read, or frees that. With the lock of all graphs. */
static CUresult change(struct graph_exec *exec, struct graph_node *node,
                       struct graph_params *params)
{
    struct graph_params before = node->params;
    CUresult result;

    pthread_mutex_lock(&exec->lock);
    node->params = *params;
    result = graph_body_update(exec, node);
    if (result != CUDA_SUCCESS)
        node->params = before;
    pthread_mutex_unlock(&exec->lock);
    graph_params_release(result == CUDA_SUCCESS ? &before : params);
    return result;
}

/* The executable graph's own node for one of the graph that it was made of. */
static struct graph_node *node_in(const struct graph_exec *exec, CUgraphNode handle)
{
    return exec && handle ? graph_find_source(exec->graph, handle) : NULL;
}

static CUresult set_params(CUgraphExec hGraphExec, CUgraphNode hNode, CUresult read,
                           struct graph_params *params)
{
    struct graph_exec *exec = graph_exec_of(hGraphExec);
    struct graph_node *node = node_in(exec, hNode);

    if (read != CUDA_SUCCESS)
        return read;
    if (node && node->params.type == params->type && params->type == CU_GRAPH_NODE_TYPE_KERNEL)
        params->kernel.attributes = node->params.kernel.attributes;
    if (!node || graph_params_may_become(&node->params, params) != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
        graph_params_release(params);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return change(exec, node, params);
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                           const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return set_params(hGraphExec, hNode, graph_read_kernel(scope.context, nodeParams, &params),
                      &params);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
    CUDA_KERNEL_NODE_PARAMS params = {0};

    if (!nodeParams)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&params, nodeParams, sizeof(*nodeParams));
    return cuGraphExecKernelNodeSetParams_v2(hGraphExec, hNode, &params);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return set_params(hGraphExec, hNode,
                      graph_read_copy(ctx ? ctx : scope.context, copyParams, &params), &params);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return set_params(hGraphExec, hNode,
                      graph_read_fill(ctx ? ctx : scope.context, memsetParams, &params), &params);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                      const CUDA_HOST_NODE_PARAMS *nodeParams)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return set_params(hGraphExec, hNode, graph_read_host(scope.context, nodeParams, &params),
                      &params);
}

static CUresult set_event(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraphNodeType type,
                          CUevent event)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return set_params(hGraphExec, hNode, graph_read_event(scope.context, type, event, &params),
                      &params);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
                                            CUevent event)
{
    return set_event(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event)
{
    return set_event(hGraphExec, hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

/* The first difference that an update cannot make good. */
struct difference {
    CUgraphExecUpdateResult result;
    CUgraphNode node, from;
};

static bool differ(struct difference *difference, CUgraphExecUpdateResult result,
                   const struct graph_node *node, const struct graph_node *from)
{
    difference->result = result;
    difference->node = node ? node->handle : NULL;
    difference->from = from ? from->handle : NULL;
    return true;
}

/* Nodes answer to each other in the order in which they were added; pairs them by `twin`. */
static bool pair_differs(struct graph *old, struct graph *new, struct difference *difference)
{
    struct graph_node *before = old->first;

    if (old->node_count != new->node_count || old->edge_count != new->edge_count)
        return differ(difference, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, NULL, NULL);
    for (struct graph_node *after = new->first; after; after = after->next) {
        after->twin = before;
        before = before->next;
    }
    for (struct graph_node *after = new->first; after; after = after->next) {
        CUgraphExecUpdateResult result;

        for (size_t i = 0; i < after->needs.count; i++)
            if (!graph_connected(after->needs.nodes[i]->twin, after->twin))
                return differ(difference, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, after,
                              after->needs.nodes[i]);
        result = graph_params_may_become(&after->twin->params, &after->params);
        if (result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
            return differ(difference, result, after, NULL);
        if (after->params.type == CU_GRAPH_NODE_TYPE_GRAPH &&
            pair_differs(after->twin->params.child, after->params.child, difference))
            return true;
    }
    return false;
}

static CUresult apply(struct graph_exec *exec, const struct graph *new)
{
    CUresult result = CUDA_SUCCESS;

    for (const struct graph_node *after = new->first; after &&result == CUDA_SUCCESS;
         after = after->next) {
        struct graph_params params;

        if (after->params.type == CU_GRAPH_NODE_TYPE_GRAPH) {
            result = apply(exec, after->params.child);
            continue;
        }
        result = graph_params_copy(&after->params, &params);
        if (result == CUDA_SUCCESS)
            result = change(exec, after->twin, &params);
    }
    return result;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                              CUgraphExecUpdateResultInfo *resultInfo)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct difference difference = {.result = CU_GRAPH_EXEC_UPDATE_SUCCESS};
    struct graph_exec *exec;
    struct graph *graph;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(hGraphExec);
    graph = graph_of(hGraph);
    if (!exec || !graph || !resultInfo)
        return CUDA_ERROR_INVALID_VALUE;
    if (pair_differs(exec->graph, graph, &difference)) {
        result = CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    } else {
        result = apply(exec, graph);
        if (result != CUDA_SUCCESS)
            difference.result = CU_GRAPH_EXEC_UPDATE_ERROR;
    }
    *resultInfo =
        (CUgraphExecUpdateResultInfo){difference.result, difference.node, difference.from};
    return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out,
                           CUgraphExecUpdateResult *updateResult_out)
{
    CUgraphExecUpdateResultInfo info = {CU_GRAPH_EXEC_UPDATE_ERROR, NULL, NULL};
    CUresult result = cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);

    if (hErrorNode_out)
        *hErrorNode_out = info.errorNode;
    if (updateResult_out)
        *updateResult_out = info.result;
    return result;
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                            CUgraph childGraph)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct difference difference;
    struct graph_exec *exec;
    struct graph_node *node;
    struct graph *child;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(hGraphExec);
    node = node_in(exec, hNode);
    child = graph_of(childGraph);
    if (!node || !child || node->params.type != CU_GRAPH_NODE_TYPE_GRAPH ||
        pair_differs(node->params.child, child, &difference))
        return CUDA_ERROR_INVALID_VALUE;
    return apply(exec, child);
}

CUresult cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                  CUgraphNodeParams *nodeParams)
{
    struct graph_params params;

    if (nodeParams && nodeParams->type == CU_GRAPH_NODE_TYPE_GRAPH)
        return cuGraphExecChildGraphNodeSetParams(hGraphExec, hNode, nodeParams->graph.graph);
    {
        _graph_scope_ struct graph_scope scope = graph_enter();

        if (scope.result != CUDA_SUCCESS)
            return scope.result;
        return set_params(hGraphExec, hNode, graph_read_node(scope.context, nodeParams, &params),
                          &params);
    }
}

static bool can_be_disabled(const struct graph_node *node)
{
    return node && (node->params.type == CU_GRAPH_NODE_TYPE_KERNEL ||
                    node->params.type == CU_GRAPH_NODE_TYPE_MEMCPY ||
                    node->params.type == CU_GRAPH_NODE_TYPE_MEMSET);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_exec *exec;
    struct graph_node *node;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(hGraphExec);
    node = node_in(exec, hNode);
    if (!can_be_disabled(node))
        return CUDA_ERROR_INVALID_VALUE;
    if (node->enabled == (isEnabled != 0))
        return CUDA_SUCCESS;
    pthread_mutex_lock(&exec->lock);
    node->enabled = isEnabled != 0;
    result = graph_body_update(exec, node);
    if (result != CUDA_SUCCESS)
        node->enabled = !node->enabled;
    pthread_mutex_unlock(&exec->lock);
    return result;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int *isEnabled)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_node *node;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    node = node_in(graph_exec_of(hGraphExec), hNode);
    if (!can_be_disabled(node) || !isEnabled)
        return CUDA_ERROR_INVALID_VALUE;
    *isEnabled = node->enabled;
    return CUDA_SUCCESS;
}
