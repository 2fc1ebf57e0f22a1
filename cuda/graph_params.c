/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of nodes, and the program's objects that graphs keep alive; see graph.h. */
#include <stdlib.h>
#include <string.h>

#include "cuda/graph.h"
#include "cuda/graph_table.h"

static CUresult copy_kernel(const struct graph_kernel *kernel, struct graph_kernel *copy)
{
    *copy = *kernel;
    copy->params = calloc(1, kernel->params_bytes + 1u);
    copy->pointers = calloc(kernel->params_count + 1u, sizeof(void *));
    if (!copy->params || !copy->pointers) {
        free(copy->params);
        free(copy->pointers);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (kernel->params_bytes)
        memcpy(copy->params, kernel->params, kernel->params_bytes);
    for (uint32_t i = 0; i < kernel->params_count; i++)
        copy->pointers[i] = copy->params + ((uint8_t *)kernel->pointers[i] - kernel->params);
    return CUDA_SUCCESS;
}

CUresult graph_params_copy(const struct graph_params *params, struct graph_params *ret)
{
    struct graph_params copy = *params;
    CUresult result = CUDA_SUCCESS;

    if (params->type == CU_GRAPH_NODE_TYPE_KERNEL)
        result = copy_kernel(&params->kernel, &copy.kernel);
    else if (params->type == CU_GRAPH_NODE_TYPE_GRAPH)
        result = graph_clone(params->child, &copy.child);
    if (result == CUDA_SUCCESS)
        *ret = copy;
    return result;
}

void graph_params_release(struct graph_params *params)
{
    if (params->type == CU_GRAPH_NODE_TYPE_KERNEL) {
        free(params->kernel.params);
        free(params->kernel.pointers);
    } else if (params->type == CU_GRAPH_NODE_TYPE_GRAPH) {
        graph_free(params->child);
    }
    params->type = CU_GRAPH_NODE_TYPE_EMPTY;
}

static bool same_copy_kind(const CUDA_MEMCPY3D *a, const CUDA_MEMCPY3D *b)
{
    return a->srcMemoryType == b->srcMemoryType && a->dstMemoryType == b->dstMemoryType &&
           (a->Height > 1) == (b->Height > 1) && (a->Depth > 1) == (b->Depth > 1);
}

CUgraphExecUpdateResult graph_params_may_become(const struct graph_params *before,
                                                const struct graph_params *after)
{
    if (before->type != after->type)
        return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
    if (before->context != after->context)
        return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    switch (before->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return memcmp(&before->kernel.attributes, &after->kernel.attributes,
                      sizeof(before->kernel.attributes)) == 0
                   ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                   : CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return same_copy_kind(&before->copy, &after->copy)
                   ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                   : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return (before->fill.height > 1) == (after->fill.height > 1)
                   ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                   : CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    default:
        return CU_GRAPH_EXEC_UPDATE_SUCCESS;
    }
}

struct user_object *user_object_new(void *pointer, CUhostFn destroy, size_t refs)
{
    struct user_object *object = calloc(1, sizeof(*object));

    if (!object)
        return NULL;
    object->handle = graph_table_add(GRAPH_KIND_USER, object);
    if (!object->handle) {
        free(object);
        return NULL;
    }
    object->pointer = pointer;
    object->destroy = destroy;
    object->refs = refs;
    return object;
}

/* The destructor may call no function of the driver API, so it may run under the lock. */
void user_object_unref(struct user_object *object, size_t count)
{
    object->refs -= count;
    if (object->refs > 0)
        return;
    object->destroy(object->pointer);
    graph_table_drop(object->handle);
    free(object);
}

static struct graph_user *find_user(struct graph *graph, const struct user_object *object)
{
    struct graph_user *user = graph->users;

    while (user && user->object != object)
        user = user->next;
    return user;
}

CUresult graph_hold_user(struct graph *graph, struct user_object *object, unsigned count)
{
    struct graph_user *user = find_user(graph, object);

    if (!user) {
        user = calloc(1, sizeof(*user));
        if (!user)
            return CUDA_ERROR_OUT_OF_MEMORY;
        user->object = object;
        user->next = graph->users;
        graph->users = user;
    }
    user->count += count;
    return CUDA_SUCCESS;
}

CUresult graph_drop_user(struct graph *graph, struct user_object *object, unsigned count)
{
    struct graph_user *user = find_user(graph, object);

    if (!user || user->count < count)
        return CUDA_ERROR_INVALID_VALUE;
    user->count -= count;
    user_object_unref(object, count);
    if (user->count > 0)
        return CUDA_SUCCESS;
    for (struct graph_user **at = &graph->users; *at; at = &(*at)->next)
        if (*at == user) {
            *at = user->next;
            break;
        }
    free(user);
    return CUDA_SUCCESS;
}
