/* SPDX-License-Identifier: Apache-2.0 */
/* cuGraph*: what a graph consists of, its edges, and the program's objects that it keeps. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/graph_api.h"
#include "cuda/graph_table.h"

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType *type)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_node *node;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    node = graph_node_of(hNode);
    if (!node || !type)
        return CUDA_ERROR_INVALID_VALUE;
    *type = node->params.type;
    return CUDA_SUCCESS;
}

/* A list that the caller has room for or not: how much there is comes back in *count. */
struct list {
    CUgraphNode *first, *second;
    CUgraphEdgeData *edges;
    size_t room, count;
};

static void list_add(struct list *list, const struct graph_node *first,
                     const struct graph_node *second)
{
    if (list->first && list->count < list->room) {
        list->first[list->count] = first->handle;
        if (list->second)
            list->second[list->count] = second->handle;
        if (list->edges)
            list->edges[list->count] = (CUgraphEdgeData){0};
    }
    list->count++;
}

/* What is asked for beyond the list's end is NULL. */
static void list_close(struct list *list, size_t *count)
{
    if (!list->first) {
        *count = list->count;
        return;
    }
    for (size_t i = list->count; i < list->room; i++) {
        list->first[i] = NULL;
        if (list->second)
            list->second[i] = NULL;
    }
    *count = list->count < list->room ? list->count : list->room;
}

static CUresult list_nodes(CUgraph hGraph, CUgraphNode *nodes, size_t *count, bool roots)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct list list = {.first = nodes};
    const struct graph *graph;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(hGraph);
    if (!graph || !count)
        return CUDA_ERROR_INVALID_VALUE;
    list.room = *count;
    for (const struct graph_node *node = graph->first; node; node = node->next)
        if (!roots || node->needs.count == 0)
            list_add(&list, node, NULL);
    list_close(&list, count);
    return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes)
{
    return list_nodes(hGraph, nodes, numNodes, false);
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes)
{
    return list_nodes(hGraph, rootNodes, numRootNodes, true);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to,
                            CUgraphEdgeData *edgeData, size_t *numEdges)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct list list = {.first = from, .second = to, .edges = edgeData};
    const struct graph *graph;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(hGraph);
    if (!graph || !numEdges || !from != !to)
        return CUDA_ERROR_INVALID_VALUE;
    list.room = *numEdges;
    for (const struct graph_node *node = graph->first; node; node = node->next)
        for (size_t i = 0; i < node->feeds.count; i++)
            list_add(&list, node, node->feeds.nodes[i]);
    list_close(&list, numEdges);
    return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges)
{
    return cuGraphGetEdges_v2(hGraph, from, to, NULL, numEdges);
}

static CUresult list_links(CUgraphNode hNode, CUgraphNode *nodes, CUgraphEdgeData *edges,
                           size_t *count, bool needs)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct list list = {.first = nodes, .edges = edges};
    const struct graph_links *links;
    const struct graph_node *node;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    node = graph_node_of(hNode);
    if (!node || !count)
        return CUDA_ERROR_INVALID_VALUE;
    list.room = *count;
    links = needs ? &node->needs : &node->feeds;
    for (size_t i = 0; i < links->count; i++)
        list_add(&list, links->nodes[i], NULL);
    list_close(&list, count);
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode *dependencies,
                                       CUgraphEdgeData *edgeData, size_t *numDependencies)
{
    return list_links(hNode, dependencies, edgeData, numDependencies, true);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode *dependencies,
                                    size_t *numDependencies)
{
    return list_links(hNode, dependencies, NULL, numDependencies, true);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode *dependentNodes,
                                         CUgraphEdgeData *edgeData, size_t *numDependentNodes)
{
    return list_links(hNode, dependentNodes, edgeData, numDependentNodes, false);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode *dependentNodes,
                                      size_t *numDependentNodes)
{
    return list_links(hNode, dependentNodes, NULL, numDependentNodes, false);
}

/* All or nothing: what was done before the first failure is undone. */
static CUresult change_edges(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
                             size_t count, bool connect)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_node **sources, **targets;
    CUresult result;
    size_t done;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = graph_of(hGraph) ? graph_nodes_of(graph_of(hGraph), from, count, &sources)
                              : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    result = graph_nodes_of(graph_of(hGraph), to, count, &targets);
    if (result == CUDA_SUCCESS) {
        for (done = 0; done < count && result == CUDA_SUCCESS; done++)
            result = connect ? graph_connect(sources[done], targets[done])
                             : graph_disconnect(sources[done], targets[done]);
        for (done -= result != CUDA_SUCCESS; result != CUDA_SUCCESS && done-- > 0;)
            connect ? graph_disconnect(sources[done], targets[done])
                    : graph_connect(sources[done], targets[done]);
        free(targets);
    }
    free(sources);
    return result;
}

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
                                size_t numDependencies)
{
    return change_edges(hGraph, from, to, numDependencies, true);
}

static bool is_programmatic(const CUgraphEdgeData *edges, size_t count)
{
    for (size_t i = 0; edges && i < count; i++)
        if (edges[i].from_port || edges[i].to_port || edges[i].type)
            return true;
    return false;
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *edgeData, size_t numDependencies)
{
    if (is_programmatic(edgeData, numDependencies))
        return cuda_unsupported("a programmatic edge of a graph");
    return change_edges(hGraph, from, to, numDependencies, true);
}

CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
                                   size_t numDependencies)
{
    return change_edges(hGraph, from, to, numDependencies, false);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode *from,
                                      const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                      size_t numDependencies)
{
    if (is_programmatic(edgeData, numDependencies))
        return CUDA_ERROR_INVALID_VALUE; /* there is none like it */
    return change_edges(hGraph, from, to, numDependencies, false);
}

CUresult cuGraphDestroyNode(CUgraphNode hNode)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_node *node;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    node = graph_node_of(hNode);
    if (!node)
        return CUDA_ERROR_INVALID_VALUE;
    if (node->graph->captured_into)
        return CUDA_ERROR_ILLEGAL_STATE;
    graph_remove(node);
    return CUDA_SUCCESS;
}

static const char *type_name(CUgraphNodeType type)
{
    static const char *const names[] = {
        [CU_GRAPH_NODE_TYPE_KERNEL] = "KERNEL",
        [CU_GRAPH_NODE_TYPE_MEMCPY] = "MEMCPY",
        [CU_GRAPH_NODE_TYPE_MEMSET] = "MEMSET",
        [CU_GRAPH_NODE_TYPE_HOST] = "HOST",
        [CU_GRAPH_NODE_TYPE_GRAPH] = "GRAPH",
        [CU_GRAPH_NODE_TYPE_EMPTY] = "EMPTY",
        [CU_GRAPH_NODE_TYPE_WAIT_EVENT] = "WAIT_EVENT",
        [CU_GRAPH_NODE_TYPE_EVENT_RECORD] = "EVENT_RECORD",
    };

    return names[type];
}

static void print_graph(const struct graph *graph, FILE *file)
{
    fprintf(file, "subgraph cluster_%p {\n", graph->handle);
    for (const struct graph_node *node = graph->first; node; node = node->next) {
        fprintf(file, "\"%p\" [label=\"%s", node->handle, type_name(node->params.type));
        if (node->params.type == CU_GRAPH_NODE_TYPE_KERNEL) {
            const char *name = NULL;

            if (cuFuncGetName(&name, node->params.kernel.function) == CUDA_SUCCESS)
                fprintf(file, "\\n%s", name);
        }
        fprintf(file, "\"];\n");
        if (node->params.type == CU_GRAPH_NODE_TYPE_GRAPH)
            print_graph(node->params.child, file);
        for (size_t i = 0; i < node->feeds.count; i++)
            fprintf(file, "\"%p\" -> \"%p\";\n", node->handle, node->feeds.nodes[i]->handle);
    }
    fprintf(file, "}\n");
}

CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char *path, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph *graph;
    FILE *file;

    (void)flags; /* how much is said is not promised */
    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(hGraph);
    if (!graph || !path)
        return CUDA_ERROR_INVALID_VALUE;
    file = fopen(path, "we");
    if (!file)
        return CUDA_ERROR_OPERATING_SYSTEM;
    fprintf(file, "digraph dot {\n");
    print_graph(graph, file);
    fprintf(file, "}\n");
    return fclose(file) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult cuUserObjectCreate(CUuserObject *object_out, void *ptr, CUhostFn destroy,
                            unsigned int initialRefcount, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct user_object *object;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!object_out || !destroy || initialRefcount == 0 || initialRefcount > INT32_MAX ||
        flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
        return CUDA_ERROR_INVALID_VALUE;
    object = user_object_new(ptr, destroy, initialRefcount);
    if (!object)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *object_out = object->handle;
    return CUDA_SUCCESS;
}

static struct user_object *user_of(CUuserObject handle, unsigned int count)
{
    return count > 0 && count <= INT32_MAX ? graph_table_get(GRAPH_KIND_USER, handle) : NULL;
}

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct user_object *user;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    user = user_of(object, count);
    if (!user)
        return CUDA_ERROR_INVALID_VALUE;
    user->refs += count;
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned int count)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct user_object *user;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    user = user_of(object, count);
    if (!user || user->refs < count)
        return CUDA_ERROR_INVALID_VALUE;
    user_object_unref(user, count);
    return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count,
                                 unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct user_object *user;
    struct graph *found;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    found = graph_of(graph);
    user = user_of(object, count);
    if (!found || !user || (flags & ~(unsigned)CU_GRAPH_USER_OBJECT_MOVE))
        return CUDA_ERROR_INVALID_VALUE;
    result = graph_hold_user(found, user, count);
    /* Moved references were the caller's. */
    if (result == CUDA_SUCCESS && !(flags & CU_GRAPH_USER_OBJECT_MOVE))
        user->refs += count;
    return result;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct user_object *user;
    struct graph *found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    found = graph_of(graph);
    user = user_of(object, count);
    return found && user ? graph_drop_user(found, user, count) : CUDA_ERROR_INVALID_VALUE;
}
