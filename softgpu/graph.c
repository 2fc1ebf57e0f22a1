/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executable graphs here: the nodes one after the other, in an order that their edges allow, each
 * by the call that does the same in a stream. The graphs themselves are cuda/graph*.c.
 */
#include <stdlib.h>

#include "cuda/cuda_api.h"
#include "cuda/graph_api.h"

CUresult graph_body_new(struct graph_exec *exec)
{
    struct graph_flat *flat = malloc(sizeof(*flat));
    CUresult result = flat ? graph_flatten(exec->graph, flat) : CUDA_ERROR_OUT_OF_MEMORY;

    if (result != CUDA_SUCCESS) {
        free(flat);
        return result;
    }
    exec->body = flat;
    return CUDA_SUCCESS;
}

void graph_body_free(struct graph_exec *exec)
{
    struct graph_flat *flat = exec->body;

    if (flat)
        graph_flat_release(flat);
    free(flat);
}

CUresult graph_body_launch(struct graph_exec *exec, CUstream stream)
{
    const struct graph_flat *flat = exec->body;
    unsigned int flags;
    CUresult result = cuStreamGetFlags(stream, &flags); /* also where there is no node */

    for (size_t i = 0; i < flat->count && result == CUDA_SUCCESS; i++)
        if (flat->entries[i].node)
            result = graph_run_node(flat->entries[i].node, stream);
    return result;
}

CUresult graph_body_update(struct graph_exec *exec, struct graph_node *node)
{
    (void)exec;
    (void)node;
    return CUDA_SUCCESS; /* a launch reads the node itself */
}
