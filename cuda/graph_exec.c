/* SPDX-License-Identifier: Apache-2.0 */
/* cuGraph*: executable graphs. What launching means is the library's (graph_api.h). */
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/graph_api.h"
#include "cuda/graph_table.h"

#define KNOWN_FLAGS                                                                                \
    ((unsigned long long)(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |                        \
                          CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |                                     \
                          CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH |                              \
                          CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY))

struct graph_exec *graph_exec_of(CUgraphExec handle)
{
    return graph_table_get(GRAPH_KIND_EXEC, handle);
}

/* With the lock of all graphs. */
static void exec_unref(struct graph_exec *exec)
{
    if (--exec->refs > 0)
        return;
    graph_body_free(exec);
    graph_free(exec->graph);
    pthread_mutex_destroy(&exec->lock);
    free(exec);
}

/* The executable graph of a handle, to be used without the lock of all graphs; exec_close ends. */
static CUresult exec_open(CUgraphExec handle, struct graph_exec **ret_exec)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_exec *exec;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(handle);
    if (!exec)
        return CUDA_ERROR_INVALID_VALUE;
    exec->refs++;
    *ret_exec = exec;
    return CUDA_SUCCESS;
}

static void exec_close(struct graph_exec *exec)
{
    _graph_scope_ struct graph_scope scope = graph_enter();

    /* A context cannot be entered in a forked child, which leaves the parent's graphs alone. */
    if (scope.result == CUDA_SUCCESS)
        exec_unref(exec);
}

CUresult graph_instantiate(struct graph *graph, unsigned long long flags, CUgraphExec *ret_exec)
{
    struct graph_exec *exec = calloc(1, sizeof(*exec));
    CUresult result;

    if (!exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    exec->refs = 1;
    exec->flags = flags;
    pthread_mutex_init(&exec->lock, NULL);
    result = cuCtxGetCurrent(&exec->context);
    if (result == CUDA_SUCCESS && !exec->context)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS)
        result = graph_clone(graph, &exec->graph);
    if (result == CUDA_SUCCESS)
        result = graph_body_new(exec);
    if (result == CUDA_SUCCESS) {
        exec->handle = graph_table_add(GRAPH_KIND_EXEC, exec);
        result = exec->handle ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result != CUDA_SUCCESS) {
        exec_unref(exec);
        return result;
    }
    *ret_exec = exec->handle;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph,
                                     unsigned long long flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!phGraphExec || !graph_of(hGraph) || (flags & ~KNOWN_FLAGS) ||
        (flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD))
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)
        return cuda_unsupported("a graph that the device launches");
    return graph_instantiate(graph_of(hGraph), flags, phGraphExec);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
                               char *logBuffer, size_t bufferSize)
{
    if (phErrorNode)
        *phErrorNode = NULL;
    if (logBuffer && bufferSize > 0)
        logBuffer[0] = '\0';
    return cuGraphInstantiateWithFlags(phGraphExec, hGraph, 0);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams)
{
    CUDA_GRAPH_INSTANTIATE_PARAMS *params = instantiateParams;
    CUresult result;

    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    params->hErrNode_out = NULL;
    /* Uploading ahead is a hint: what the worker holds is ready to launch. */
    result = cuGraphInstantiateWithFlags(
        phGraphExec, hGraph, params->flags & ~(cuuint64_t)CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD);
    params->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    if (result == CUDA_ERROR_INVALID_VALUE)
        params->result_out = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    else if (result != CUDA_SUCCESS)
        params->result_out = CUDA_GRAPH_INSTANTIATE_ERROR;
    return result;
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t *flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct graph_exec *exec;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(hGraphExec);
    if (!exec || !flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_exec *exec;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    exec = graph_exec_of(hGraphExec);
    if (!exec)
        return CUDA_ERROR_INVALID_VALUE;
    graph_table_drop(exec->handle);
    exec_unref(exec);
    return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream)
{
    struct graph_exec *exec;
    unsigned int flags;
    CUresult result = exec_open(hGraphExec, &exec);

    if (result != CUDA_SUCCESS)
        return result;
    exec_close(exec);
    return cuStreamGetFlags(hStream, &flags); /* the stream is looked at, and nothing is to do */
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream)
{
    struct graph_exec *exec;
    CUresult result = exec_open(hGraphExec, &exec);

    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&exec->lock);
    result = graph_body_launch(exec, hStream);
    pthread_mutex_unlock(&exec->lock);
    exec_close(exec);
    return result;
}
