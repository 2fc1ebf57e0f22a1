/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executable graphs of a guest. The graphs themselves are cuda/graph*.c. What is the device's alone
 * goes to the worker when the graph is instantiated; a launch is then one record. Where a graph has
 * host functions, events, or copies from or to host memory, it is cut: it becomes a list of steps,
 * parts of the graph that the worker holds and nodes that are done here by the calls which do the
 * same in a stream. All steps of a launch go into one stream, so each waits for those before it.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/graph_api.h"
#include "guest/libvgpu/graph_part.h"
#include "guest/libvgpu/lookup.h"

/* The part of a node that is done here. */
#define NO_PART UINT32_MAX

struct step {
    struct graph_node *node; /* done here; or NULL: */
    uint32_t graph;          /* handle of a part that the worker holds */
};

struct body {
    struct step *steps;
    uint32_t count, room;
    bool has_host; /* host functions may fill what later copies read */
};

/*
 * Stages: even ones are the device's, odd ones are done here, each comes after those before it. An
 * entry is in the first that is of its kind and not before what it needs.
 */
static uint32_t stage_of(const struct graph_flat *flat, uint32_t index, const uint32_t *stages)
{
    const struct graph_flat_entry *entry = &flat->entries[index];
    uint32_t stage = 0;

    for (uint32_t i = 0; i < entry->need_count; i++) {
        uint32_t need = stages[flat->needs[entry->first_need + i]];

        if (need > stage)
            stage = need;
    }
    return stage + (stage % 2 == graph_is_device_work(entry->node));
}

static CUresult add_step(struct body *body, struct step step)
{
    if (body->count == body->room) {
        uint32_t room = body->room ? body->room * 2 : 4;
        struct step *steps = realloc(body->steps, room * sizeof(*steps));

        if (!steps)
            return CUDA_ERROR_OUT_OF_MEMORY;
        body->steps = steps;
        body->room = room;
    }
    body->steps[body->count++] = step;
    return CUDA_SUCCESS;
}

/* Has the worker make an executable graph of the nodes in the buffer. */
static CUresult send_part(struct graph_exec *exec, const struct graph_buffer *buffer)
{
    struct cuda_args_graph_create args = {.nodes = buffer->bytes,
                                          .nodes_bytes = (uint32_t)buffer->used};
    struct body *body = exec->body;
    struct object *object;
    CUresult result;

    guest_lock();
    object = object_new(CUDA_KIND_GRAPH, (uint32_t)(uintptr_t)exec->context);
    if (object)
        args.graph = object->handle;
    guest_unlock();
    if (!object)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_graph_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS)
        result = add_step(body, (struct step){.graph = args.graph});
    if (result != CUDA_SUCCESS) {
        guest_lock();
        object_drop(CUDA_KIND_GRAPH, args.graph);
        guest_unlock();
    }
    return result;
}

/* One stage of the device's. `indices` has room for the index in its part of every entry. */
static CUresult add_part(struct graph_exec *exec, const struct graph_flat *flat, uint32_t stage,
                         const uint32_t *stages, uint32_t *indices, uint32_t *needs)
{
    struct graph_buffer buffer = {0};
    const struct body *body = exec->body;
    uint32_t count = 0;
    CUresult result = CUDA_SUCCESS;

    for (uint32_t i = 0; i < flat->count && result == CUDA_SUCCESS; i++) {
        const struct graph_flat_entry *entry = &flat->entries[i];
        uint32_t need_count = 0;

        if (stages[i] != stage)
            continue;
        for (uint32_t j = 0; j < entry->need_count; j++) {
            uint32_t need = flat->needs[entry->first_need + j];

            if (stages[need] == stage)
                needs[need_count++] = indices[need];
        }
        result = graph_buffer_add(&buffer, entry->node, needs, need_count);
        indices[i] = count++;
        if (entry->node) {
            entry->node->part = body->count;
            entry->node->index = indices[i];
        }
    }
    if (result == CUDA_SUCCESS && count > 0)
        result = send_part(exec, &buffer);
    free(buffer.bytes);
    return result;
}

static CUresult add_host_steps(struct body *body, const struct graph_flat *flat, uint32_t stage,
                               const uint32_t *stages)
{
    CUresult result = CUDA_SUCCESS;

    for (uint32_t i = 0; i < flat->count && result == CUDA_SUCCESS; i++) {
        if (stages[i] != stage)
            continue;
        flat->entries[i].node->part = NO_PART;
        body->has_host |= flat->entries[i].node->params.type == CU_GRAPH_NODE_TYPE_HOST;
        result = add_step(body, (struct step){.node = flat->entries[i].node});
    }
    return result;
}

static CUresult cut(struct graph_exec *exec, const struct graph_flat *flat)
{
    uint32_t *stages = calloc(flat->count + 1, sizeof(*stages));
    uint32_t *indices = calloc(flat->count + 1, sizeof(*indices));
    uint32_t *needs = calloc(flat->count + 1, sizeof(*needs));
    CUresult result = stages && indices && needs ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    uint32_t last = 0;

    for (uint32_t i = 0; i < flat->count && result == CUDA_SUCCESS; i++) {
        stages[i] = stage_of(flat, i, stages);
        if (stages[i] > last)
            last = stages[i];
    }
    for (uint32_t stage = 0; stage <= last && result == CUDA_SUCCESS; stage++)
        result = stage % 2 == 0 ? add_part(exec, flat, stage, stages, indices, needs)
                                : add_host_steps(exec->body, flat, stage, stages);
    free(stages);
    free(indices);
    free(needs);
    return result;
}

CUresult graph_body_new(struct graph_exec *exec)
{
    struct graph_flat flat;
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS)
        result = graph_flatten(exec->graph, &flat);
    if (result != CUDA_SUCCESS)
        return result;
    exec->body = calloc(1, sizeof(struct body));
    result = exec->body ? cut(exec, &flat) : CUDA_ERROR_OUT_OF_MEMORY;
    graph_flat_release(&flat);
    return result;
}

/* Parts of a context or a connection that is gone are gone with it. */
static void drop_part(uint32_t handle)
{
    bool live;

    guest_lock();
    live = object_at(CUDA_KIND_GRAPH, handle) != NULL;
    guest_unlock();
    if (!live || guest_enter(NULL) != CUDA_SUCCESS)
        return;
    cuda_send_graph_destroy(guest_sender(), &(struct cuda_args_graph_destroy){.graph = handle});
    guest_lock();
    object_drop(CUDA_KIND_GRAPH, handle);
    guest_unlock();
}

void graph_body_free(struct graph_exec *exec)
{
    struct body *body = exec->body;

    for (uint32_t i = 0; body && i < body->count; i++)
        if (body->steps[i].graph)
            drop_part(body->steps[i].graph);
    if (body)
        free(body->steps);
    free(body);
}

static CUresult launch_part(uint32_t graph, uint32_t stream)
{
    bool live;

    guest_lock();
    live = object_at(CUDA_KIND_GRAPH, graph) != NULL;
    guest_unlock();
    if (!live)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return cuda_send_graph_launch(
        guest_sender(), 0, &(struct cuda_args_graph_launch){.graph = graph, .stream = stream});
}

/* Ordinary memory is read when the copy is given, so what fills it must be done by then. */
static CUresult run_here(const struct body *body, const struct graph_node *node, CUstream stream)
{
    CUresult result = CUDA_SUCCESS;

    if (body->has_host && node->params.type == CU_GRAPH_NODE_TYPE_MEMCPY)
        result = cuStreamSynchronize(stream);
    return result == CUDA_SUCCESS ? graph_run_node(node, stream) : result;
}

CUresult graph_body_launch(struct graph_exec *exec, CUstream stream)
{
    const struct body *body = exec->body;
    struct guest_thread *thread;
    uint32_t handle;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &handle);
    for (uint32_t i = 0; i < body->count && result == CUDA_SUCCESS; i++)
        result = body->steps[i].graph ? launch_part(body->steps[i].graph, handle)
                                      : run_here(body, body->steps[i].node, stream);
    return result;
}

CUresult graph_body_update(struct graph_exec *exec, struct graph_node *node)
{
    const struct body *body = exec->body;
    struct cuda_args_graph_set_node args;
    struct graph_buffer buffer = {0};
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    /* A copy stays on the side where it was cut. */
    if (graph_is_device_work(node) != (node->part != NO_PART))
        return CUDA_ERROR_INVALID_VALUE;
    if (node->part == NO_PART || node->params.type == CU_GRAPH_NODE_TYPE_EMPTY)
        return CUDA_SUCCESS;
    result = graph_buffer_add(&buffer, node, NULL, 0);
    if (result == CUDA_SUCCESS) {
        args = (struct cuda_args_graph_set_node){.graph = body->steps[node->part].graph,
                                                 .index = node->index,
                                                 .node = buffer.bytes,
                                                 .node_bytes = (uint32_t)buffer.used};
        result = cuda_send_graph_set_node(guest_sender(), &args);
    }
    free(buffer.bytes);
    return result;
}
