/* SPDX-License-Identifier: Apache-2.0 */
/* cuGraph*: making graphs and asking about them; see graph_api.h. */
#include "cuda/graph_api.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/graph_table.h"

/* Recursive: what is asked of the driver API meanwhile may ask whether a stream captures. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* cuCtxGetCurrent fails where no call of the API may be made. */
struct graph_scope graph_enter(void)
{
    struct graph_scope scope = {.context = NULL};

    scope.result = cuCtxGetCurrent(&scope.context);
    if (scope.result == CUDA_SUCCESS)
        pthread_mutex_lock(&lock);
    return scope;
}

void graph_leave(struct graph_scope *scope)
{
    if (scope->result == CUDA_SUCCESS)
        pthread_mutex_unlock(&lock);
}

struct graph *graph_of(CUgraph handle)
{
    return graph_table_get(GRAPH_KIND_GRAPH, handle);
}

struct graph_node *graph_node_of(CUgraphNode handle)
{
    return graph_table_get(GRAPH_KIND_NODE, handle);
}

CUresult graph_nodes_of(const struct graph *graph, const CUgraphNode *handles, size_t count,
                        struct graph_node ***ret_nodes)
{
    struct graph_node **nodes;

    if (count > GRAPH_MAX_EDGES || (count > 0 && !handles))
        return CUDA_ERROR_INVALID_VALUE;
    nodes = calloc(count + 1, sizeof(struct graph_node *));
    if (!nodes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        nodes[i] = graph_node_of(handles[i]);
        if (!nodes[i] || nodes[i]->graph != graph) {
            free(nodes);
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    *ret_nodes = nodes;
    return CUDA_SUCCESS;
}

CUresult cuGraphCreate(CUgraph *phGraph, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph *graph;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!phGraph || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    graph = graph_new();
    if (!graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *phGraph = graph->handle;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph hGraph)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph *graph;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(hGraph);
    if (!graph || graph->owner)
        return CUDA_ERROR_INVALID_VALUE;
    if (graph->captured_into)
        return CUDA_ERROR_ILLEGAL_STATE;
    graph_free(graph);
    return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph *graph;
    struct graph *clone;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(originalGraph);
    if (!graph || !phGraphClone)
        return CUDA_ERROR_INVALID_VALUE;
    result = graph_clone(graph, &clone);
    if (result == CUDA_SUCCESS)
        *phGraphClone = clone->handle;
    return result;
}

CUresult cuGraphNodeFindInClone(CUgraphNode *phNode, CUgraphNode hOriginalNode,
                                CUgraph hClonedGraph)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_node *found;
    const struct graph *clone;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    clone = graph_of(hClonedGraph);
    if (!phNode || !clone || !hOriginalNode)
        return CUDA_ERROR_INVALID_VALUE;
    found = graph_find_source(clone, hOriginalNode);
    if (!found)
        return CUDA_ERROR_INVALID_VALUE;
    *phNode = found->handle;
    return CUDA_SUCCESS;
}

/* Adds a node with parameters that were just read; they are freed where it cannot be. */
static CUresult add(const struct graph_scope *scope, CUgraphNode *ret_node, CUgraph hGraph,
                    const CUgraphNode *dependencies, size_t count, CUresult read,
                    struct graph_params *params)
{
    struct graph *graph = graph_of(hGraph);
    struct graph_node *node, **needs;
    CUresult result = read;

    (void)scope;
    if (result != CUDA_SUCCESS)
        return result;
    result = ret_node && graph ? graph_nodes_of(graph, dependencies, count, &needs)
                               : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        result = graph_add(graph, params, needs, count, &node);
        free(needs);
    }
    if (result == CUDA_SUCCESS)
        *ret_node = node->handle;
    else
        graph_params_release(params);
    return result;
}

/* Puts parameters that were just read in the place of a node's. */
static CUresult replace(CUgraphNode hNode, CUresult read, struct graph_params *params)
{
    struct graph_node *node = graph_node_of(hNode);

    if (read != CUDA_SUCCESS)
        return read;
    if (!node || node->params.type != params->type) {
        graph_params_release(params);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (params->type == CU_GRAPH_NODE_TYPE_KERNEL)
        params->kernel.attributes = node->params.kernel.attributes;
    graph_params_release(&node->params);
    node->params = *params;
    return CUDA_SUCCESS;
}

/* A node of that type, or NULL. */
static const struct graph_params *params_of(CUgraphNode hNode, CUgraphNodeType type)
{
    const struct graph_node *node = graph_node_of(hNode);

    return node && node->params.type == type ? &node->params : NULL;
}

static void kernel_from_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *from, CUDA_KERNEL_NODE_PARAMS *to)
{
    memset(to, 0, sizeof(*to));
    memcpy(to, from, sizeof(*from));
}

static void write_kernel(const struct graph_params *params, CUDA_KERNEL_NODE_PARAMS_v1 *to)
{
    const struct graph_kernel *kernel = &params->kernel;

    *to = (CUDA_KERNEL_NODE_PARAMS_v1){
        .func = kernel->function,
        .gridDimX = kernel->grid[0],
        .gridDimY = kernel->grid[1],
        .gridDimZ = kernel->grid[2],
        .blockDimX = kernel->block[0],
        .blockDimY = kernel->block[1],
        .blockDimZ = kernel->block[2],
        .sharedMemBytes = kernel->shared_bytes,
        .kernelParams = kernel->pointers,
    };
}

/* What a program passes for a node of that type, by address; a child graph and an event too. */
static CUresult read_params(CUcontext context, CUgraphNodeType type, const void *from,
                            struct graph_params *ret)
{
    switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return graph_read_kernel(context, from, ret);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return graph_read_copy(context, from, ret);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return graph_read_fill(context, from, ret);
    case CU_GRAPH_NODE_TYPE_HOST:
        return graph_read_host(context, from, ret);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return graph_read_child(context, *(const CUgraph *)from, ret);
    default:
        return graph_read_event(context, type, *(const CUevent *)from, ret);
    }
}

/* The other way; the parameters of a kernel in their first version. */
static void write_params(const struct graph_params *params, void *to)
{
    switch (params->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        write_kernel(params, to);
        break;
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        *(CUDA_MEMCPY3D *)to = params->copy;
        break;
    case CU_GRAPH_NODE_TYPE_MEMSET:
        *(CUDA_MEMSET_NODE_PARAMS *)to = params->fill;
        break;
    case CU_GRAPH_NODE_TYPE_HOST:
        *(CUDA_HOST_NODE_PARAMS *)to = params->host;
        break;
    case CU_GRAPH_NODE_TYPE_GRAPH:
        *(CUgraph *)to = params->child->handle;
        break;
    default:
        *(CUevent *)to = params->event;
        break;
    }
}

/* A context of NULL is the current one. */
static CUresult add_node(CUgraphNode *node, CUgraph graph, const CUgraphNode *needs, size_t count,
                         CUgraphNodeType type, const void *from, CUcontext context)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return add(&scope, node, graph, needs, count,
               read_params(context ? context : scope.context, type, from, &params), &params);
}

static CUresult get_params(CUgraphNode node, CUgraphNodeType type, void *to)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_params *params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    params = params_of(node, type);
    if (!params || !to)
        return CUDA_ERROR_INVALID_VALUE;
    write_params(params, to);
    return CUDA_SUCCESS;
}

static CUresult set_params(CUgraphNode node, CUgraphNodeType type, const void *from)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return replace(node, read_params(scope.context, type, from, &params), &params);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
                                 const CUgraphNode *dependencies, size_t numDependencies,
                                 const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies, CU_GRAPH_NODE_TYPE_KERNEL,
                    nodeParams, NULL);
}

CUresult cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                              const CUgraphNode *dependencies, size_t numDependencies,
                              const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
    CUDA_KERNEL_NODE_PARAMS params;

    if (nodeParams)
        kernel_from_v1(nodeParams, &params);
    return cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies,
                                   nodeParams ? &params : NULL);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_KERNEL, nodeParams);
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
    CUDA_KERNEL_NODE_PARAMS params;

    if (nodeParams)
        kernel_from_v1(nodeParams, &params);
    return cuGraphKernelNodeSetParams_v2(hNode, nodeParams ? &params : NULL);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_KERNEL, nodeParams);
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
    CUDA_KERNEL_NODE_PARAMS_v1 params;
    CUresult result = cuGraphKernelNodeGetParams(hNode, nodeParams ? &params : NULL);

    if (result == CUDA_SUCCESS)
        kernel_from_v1(&params, nodeParams);
    return result;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_params *from;
    struct graph_node *to;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    from = params_of(src, CU_GRAPH_NODE_TYPE_KERNEL);
    to = graph_node_of(dst);
    if (!from || !to || to->params.type != CU_GRAPH_NODE_TYPE_KERNEL)
        return CUDA_ERROR_INVALID_VALUE;
    to->params.kernel.attributes = from->kernel.attributes;
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       CUkernelNodeAttrValue *value_out)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_params *params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    params = params_of(hNode, CU_GRAPH_NODE_TYPE_KERNEL);
    if (!params || !value_out)
        return CUDA_ERROR_INVALID_VALUE;
    if (attr != CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW && !graph_attribute_known(attr))
        return CUDA_ERROR_INVALID_VALUE;
    launch_attribute_value(&params->kernel.attributes, attr, value_out);
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       const CUkernelNodeAttrValue *value)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_node *node;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    node = graph_node_of(hNode);
    if (!node || node->params.type != CU_GRAPH_NODE_TYPE_KERNEL || !value)
        return CUDA_ERROR_INVALID_VALUE;
    return graph_read_attribute(attr, value, &node->params.kernel);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                              const CUgraphNode *dependencies, size_t numDependencies,
                              const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies, CU_GRAPH_NODE_TYPE_MEMCPY,
                    copyParams, ctx);
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D *nodeParams)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_MEMCPY, nodeParams);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D *nodeParams)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_MEMCPY, nodeParams);
}

CUresult cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                              const CUgraphNode *dependencies, size_t numDependencies,
                              const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies, CU_GRAPH_NODE_TYPE_MEMSET,
                    memsetParams, ctx);
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_MEMSET, nodeParams);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_MEMSET, nodeParams);
}

CUresult cuGraphAddHostNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                            const CUgraphNode *dependencies, size_t numDependencies,
                            const CUDA_HOST_NODE_PARAMS *nodeParams)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies, CU_GRAPH_NODE_TYPE_HOST,
                    nodeParams, NULL);
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS *nodeParams)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_HOST, nodeParams);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_HOST, nodeParams);
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                  const CUgraphNode *dependencies, size_t numDependencies,
                                  CUgraph childGraph)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies, CU_GRAPH_NODE_TYPE_GRAPH,
                    &childGraph, NULL);
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph *phGraph)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_GRAPH, phGraph);
}

CUresult cuGraphAddEmptyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                             const CUgraphNode *dependencies, size_t numDependencies)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_EMPTY, .context = scope.context};

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return add(&scope, phGraphNode, hGraph, dependencies, numDependencies, CUDA_SUCCESS, &params);
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                   const CUgraphNode *dependencies, size_t numDependencies,
                                   CUevent event)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies,
                    CU_GRAPH_NODE_TYPE_EVENT_RECORD, &event, NULL);
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event_out);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, &event);
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                 const CUgraphNode *dependencies, size_t numDependencies,
                                 CUevent event)
{
    return add_node(phGraphNode, hGraph, dependencies, numDependencies,
                    CU_GRAPH_NODE_TYPE_WAIT_EVENT, &event, NULL);
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
    return get_params(hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event_out);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event)
{
    return set_params(hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, &event);
}

CUresult cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies,
                        size_t numDependencies, CUgraphNodeParams *nodeParams)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return add(&scope, phGraphNode, hGraph, dependencies, numDependencies,
               graph_read_node(scope.context, nodeParams, &params), &params);
}

/* Only edges that wait for the whole of a node are carried. */
static CUresult check_edges(const CUgraphEdgeData *edges, size_t count)
{
    for (size_t i = 0; edges && i < count; i++)
        if (edges[i].from_port || edges[i].to_port || edges[i].type)
            return cuda_unsupported("a programmatic edge of a graph");
    return CUDA_SUCCESS;
}

CUresult cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
                           const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                           size_t numDependencies, CUgraphNodeParams *nodeParams)
{
    CUresult result = check_edges(dependencyData, numDependencies);

    return result == CUDA_SUCCESS
               ? cuGraphAddNode(phGraphNode, hGraph, dependencies, numDependencies, nodeParams)
               : result;
}

CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_params params;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return replace(hNode, graph_read_node(scope.context, nodeParams, &params), &params);
}
