/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: graphs. The guest cuts at host functions and events: what is here is GPU work only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/extent.h"
#include "cuda/graph_wire.h"
#include "cuda/launch_attributes.h"
#include "worker/channel.h"

/* What a launch counts for in flight until it was measured. */
#define UNMEASURED_NS VGPU_NS_PER_MS

/* Removed modules count too: their globals go from the ledger. */
static bool proved(const struct channel *channel, const struct graph_slot *slot)
{
    if (slot->type == VGPU_GRAPH_NODE_KERNEL &&
        handle_get(channel->handles, CUDA_KIND_FUNCTION, slot->function) != slot->kernel)
        return false;
    for (int i = 0; i < 2; i++)
        if (slot->ranges[i].bytes &&
            !ledger_find(&channel->ledger, slot->ranges[i].address, slot->ranges[i].bytes))
            return false;
    return true;
}

/* What the node refers to, looked up; INVALID_HANDLE or INVALID_VALUE if it is not the guest's. */
static CUresult fill_slot(struct channel *channel, const struct context *context,
                          const struct graph_wire_node *node, struct graph_slot *slot)
{
    slot->type = node->head->type;
    slot->enabled = node->head->enabled;
    if (slot->type == VGPU_GRAPH_NODE_KERNEL) {
        slot->function = node->kernel->function;
        slot->kernel = handle_get(channel->handles, CUDA_KIND_FUNCTION, slot->function);
        if (!slot->kernel || slot->kernel->module->context != context)
            return CUDA_ERROR_INVALID_HANDLE;
        /* The driver reads as much as the function takes. */
        if (slot->kernel->params_known && node->kernel->params_bytes != slot->kernel->param_bytes)
            return CUDA_ERROR_INVALID_VALUE;
    } else if (slot->type == VGPU_GRAPH_NODE_COPY) {
        const struct vgpu_graph_copy *copy = node->copy;

        slot->ranges[0] = (struct graph_range){
            copy->target, cuda_extent_3d(copy->target_pitch, copy->target_slice_rows,
                                         copy->width_bytes, copy->height, copy->depth)};
        slot->ranges[1] = (struct graph_range){
            copy->source, cuda_extent_3d(copy->source_pitch, copy->source_slice_rows,
                                         copy->width_bytes, copy->height, copy->depth)};
    } else if (slot->type == VGPU_GRAPH_NODE_FILL) {
        const struct vgpu_graph_fill *fill = node->fill;

        slot->ranges[0] =
            (struct graph_range){fill->target, cuda_extent_2d(fill->pitch_bytes, fill->width,
                                                              fill->element_bytes, fill->height)};
    }
    return proved(channel, slot) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* A kernel's parameters as the driver takes them; extra has room for five pointers. */
static CUDA_KERNEL_NODE_PARAMS kernel_params(const struct graph_wire_node *node,
                                             const struct graph_slot *slot, size_t *bytes,
                                             void **extra)
{
    const struct vgpu_graph_kernel *kernel = node->kernel;

    *bytes = kernel->params_bytes;
    extra[0] = CU_LAUNCH_PARAM_BUFFER_POINTER;
    extra[1] = (void *)(uintptr_t)node->params;
    extra[2] = CU_LAUNCH_PARAM_BUFFER_SIZE;
    extra[3] = bytes;
    extra[4] = CU_LAUNCH_PARAM_END;
    return (CUDA_KERNEL_NODE_PARAMS){.func = slot->kernel->cu,
                                     .gridDimX = kernel->grid[0],
                                     .gridDimY = kernel->grid[1],
                                     .gridDimZ = kernel->grid[2],
                                     .blockDimX = kernel->block[0],
                                     .blockDimY = kernel->block[1],
                                     .blockDimZ = kernel->block[2],
                                     .sharedMemBytes = kernel->shared_bytes,
                                     .extra = extra};
}

static CUDA_MEMCPY3D copy_params(const struct vgpu_graph_copy *copy)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = copy->source,
                           .srcPitch = copy->source_pitch,
                           .srcHeight = copy->source_slice_rows,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstDevice = copy->target,
                           .dstPitch = copy->target_pitch,
                           .dstHeight = copy->target_slice_rows,
                           .WidthInBytes = copy->width_bytes,
                           .Height = copy->height,
                           .Depth = copy->depth};
}

static CUDA_MEMSET_NODE_PARAMS fill_params(const struct vgpu_graph_fill *fill)
{
    return (CUDA_MEMSET_NODE_PARAMS){.dst = fill->target,
                                     .pitch = fill->pitch_bytes,
                                     .value = fill->value,
                                     .elementSize = fill->element_bytes,
                                     .width = fill->width,
                                     .height = fill->height};
}

static CUresult set_attributes(const struct cuda_driver *cu, const struct vgpu_graph_kernel *kernel,
                               CUgraphNode node)
{
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];
    unsigned int count = launch_attributes_write(&kernel->attributes, attributes);
    CUresult result = CUDA_SUCCESS;

    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = cu->cuGraphKernelNodeSetAttribute(node, attributes[i].id, &attributes[i].value);
    return result;
}

/* Adds a node to the driver's graph, behind those of `needs`. */
static CUresult add_node(const struct cuda_driver *cu, const struct graph *graph,
                         const struct graph_wire_node *node, const CUgraphNode *needs,
                         struct graph_slot *slot)
{
    size_t count = node->head->need_count;
    CUDA_MEMSET_NODE_PARAMS fill;
    CUDA_KERNEL_NODE_PARAMS kernel;
    CUDA_MEMCPY3D copy;
    void *extra[5];
    CUresult result;
    size_t bytes;

    switch (slot->type) {
    case VGPU_GRAPH_NODE_KERNEL:
        kernel = kernel_params(node, slot, &bytes, extra);
        result = cu->cuGraphAddKernelNode(&slot->cu, graph->template, needs, count, &kernel);
        return result == CUDA_SUCCESS ? set_attributes(cu, node->kernel, slot->cu) : result;
    case VGPU_GRAPH_NODE_COPY:
        copy = copy_params(node->copy);
        return cu->cuGraphAddMemcpyNode(&slot->cu, graph->template, needs, count, &copy,
                                        graph->context->cu);
    case VGPU_GRAPH_NODE_FILL:
        fill = fill_params(node->fill);
        return cu->cuGraphAddMemsetNode(&slot->cu, graph->template, needs, count, &fill,
                                        graph->context->cu);
    default:
        return cu->cuGraphAddEmptyNode(&slot->cu, graph->template, needs, count);
    }
}

/* -EPROTO: malformed. Else 0, with what the driver says in *ret_result. */
static int add_nodes(struct channel *channel, struct graph *graph,
                     const struct cuda_in_graph_create *in, CUgraphNode *needs,
                     CUresult *ret_result)
{
    struct graph_wire_cursor cursor = {0};
    struct graph_wire_node node;
    CUresult result = CUDA_SUCCESS;
    int status;

    while ((status = graph_wire_next(in->nodes, in->nodes_bytes, &cursor, &node)) == 1) {
        struct graph_slot *slot = &graph->slots[cursor.nodes - 1];

        if (result != CUDA_SUCCESS)
            continue; /* malformed or not: looked at to the end */
        result = fill_slot(channel, graph->context, &node, slot);
        for (uint32_t i = 0; i < node.head->need_count; i++)
            needs[i] = graph->slots[node.needs[i]].cu;
        if (result == CUDA_SUCCESS)
            result = add_node(channel->cu, graph, &node, needs, slot);
    }
    *ret_result = result;
    return status;
}

/* What an executable graph of so many nodes is expected to take of the device. */
static uint64_t graph_bytes(uint32_t count)
{
    return WORKER_GRAPH_BYTES + (uint64_t)count * WORKER_GRAPH_NODE_BYTES;
}

static CUresult instantiate(const struct cuda_driver *cu, struct graph *graph)
{
    CUresult result = cu->cuGraphInstantiateWithFlags(
        &graph->exec, graph->template, CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY);

    for (uint32_t i = 0; i < graph->count && result == CUDA_SUCCESS; i++)
        if (!graph->slots[i].enabled)
            result = cu->cuGraphNodeSetEnabled(graph->exec, graph->slots[i].cu, 0);
    return result;
}

static void free_graph(struct channel *channel, struct graph *graph)
{
    if (graph->context->cu && context_enter(channel, graph->context) == CUDA_SUCCESS) {
        if (graph->exec)
            channel->cu->cuGraphExecDestroy(graph->exec);
        if (graph->template)
            channel->cu->cuGraphDestroy(graph->template);
    }
    context_unlearn(graph->context, &graph->meter);
    channel->graph_nodes -= graph->count;
    quota_uncharge(channel, CHARGE_GRAPH, graph_bytes(graph->count));
    free(graph->slots);
    free(graph);
}

void graphs_end(struct channel *channel, struct context *context)
{
    struct graph **at = &channel->graphs;

    while (*at) {
        struct graph *graph = *at;

        if (context && graph->context != context) {
            at = &graph->next;
            continue;
        }
        *at = graph->next;
        /* One that is being destroyed behind a held launch has no handle any more. */
        if (handle_get(channel->handles, CUDA_KIND_GRAPH, graph->handle) == graph)
            handle_drop(channel->handles, graph->handle);
        free_graph(channel, graph);
    }
}

static uint32_t count_nodes(const struct cuda_in_graph_create *in)
{
    struct graph_wire_cursor cursor = {0};
    struct graph_wire_node node;

    while (graph_wire_next(in->nodes, in->nodes_bytes, &cursor, &node) == 1)
        ;
    return cursor.nodes;
}

static CUresult build(struct channel *channel, struct graph *graph,
                      const struct cuda_in_graph_create *in)
{
    CUgraphNode *needs = calloc(graph->count + 1u, sizeof(CUgraphNode));
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

    graph->slots = calloc(graph->count + 1u, sizeof(*graph->slots));
    if (needs && graph->slots)
        result = channel->cu->cuGraphCreate(&graph->template, 0);
    if (result == CUDA_SUCCESS && add_nodes(channel, graph, in, needs, &result) < 0) {
        border_malformed(channel, "graph_create", "nodes");
        result = CUDA_ERROR_INVALID_VALUE;
    }
    free(needs);
    if (result == CUDA_SUCCESS)
        result = instantiate(channel->cu, graph);
    graph->proved_removals = channel->ledger.removals;
    return result;
}

CUresult exec_graph_create(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_graph_create *in)
{
    uint32_t count = count_nodes(in);
    struct graph *graph;
    CUresult result;

    if (count > WORKER_MAX_GRAPH_NODES - channel->graph_nodes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = quota_want(channel, item_of(call), graph_bytes(count));
    if (result != CUDA_SUCCESS)
        return result;
    graph = calloc(1, sizeof(*graph));
    if (!graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    graph->handle = in->graph_handle;
    graph->context = item_of(call)->context;
    graph->count = count;
    channel->graph_nodes += count;
    quota_charge(channel, CHARGE_GRAPH, graph_bytes(count));
    result = build(channel, graph, in);
    if (result == CUDA_SUCCESS && handle_put(channel->handles, graph->handle, graph) < 0)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        free_graph(channel, graph);
        return result;
    }
    graph->next = channel->graphs;
    channel->graphs = graph;
    return CUDA_SUCCESS;
}

CUresult exec_graph_destroy(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_graph_destroy *in)
{
    struct graph *graph = item_of(call)->graph;
    struct graph **at = &channel->graphs;

    while (*at != graph)
        at = &(*at)->next;
    *at = graph->next;
    free_graph(channel, graph);
    return CUDA_SUCCESS;
}

/* Memory may have been freed, and modules unloaded, since it was made. */
static CUresult prove_again(struct channel *channel, struct graph *graph)
{
    if (graph->proved_removals == channel->ledger.removals)
        return CUDA_SUCCESS;
    for (uint32_t i = 0; i < graph->count; i++)
        if (!proved(channel, &graph->slots[i]))
            return graph->slots[i].type == VGPU_GRAPH_NODE_KERNEL ? CUDA_ERROR_INVALID_HANDLE
                                                                  : CUDA_ERROR_INVALID_VALUE;
    graph->proved_removals = channel->ledger.removals;
    return CUDA_SUCCESS;
}

CUresult exec_graph_launch(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_graph_launch *in)
{
    struct item *item = item_of(call);
    struct graph *graph = item->graph;
    uint64_t estimate_ns = graph->meter.estimate_ns ? graph->meter.estimate_ns : UNMEASURED_NS;
    CUresult result = prove_again(channel, graph);

    if (result == CUDA_SUCCESS && graph->context != item->context)
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuGraphLaunch(graph->exec, item->stream->cu);
    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    stream_add_unit(channel, item->stream, &graph->meter, 0, estimate_ns, item);
    return CUDA_SUCCESS;
}

static CUresult set_params(const struct cuda_driver *cu, const struct graph *graph,
                           const struct graph_wire_node *node, const struct graph_slot *slot)
{
    CUDA_MEMSET_NODE_PARAMS fill;
    CUDA_KERNEL_NODE_PARAMS kernel;
    CUDA_MEMCPY3D copy;
    void *extra[5];
    size_t bytes;

    switch (slot->type) {
    case VGPU_GRAPH_NODE_KERNEL:
        kernel = kernel_params(node, slot, &bytes, extra);
        return cu->cuGraphExecKernelNodeSetParams(graph->exec, slot->cu, &kernel);
    case VGPU_GRAPH_NODE_COPY:
        copy = copy_params(node->copy);
        return cu->cuGraphExecMemcpyNodeSetParams(graph->exec, slot->cu, &copy, graph->context->cu);
    case VGPU_GRAPH_NODE_FILL:
        fill = fill_params(node->fill);
        return cu->cuGraphExecMemsetNodeSetParams(graph->exec, slot->cu, &fill, graph->context->cu);
    default:
        return CUDA_SUCCESS;
    }
}

CUresult exec_graph_set_node(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_graph_set_node *in)
{
    struct graph *graph = item_of(call)->graph;
    struct graph_wire_cursor cursor = {0};
    struct graph_wire_node node;
    struct graph_slot *slot, changed = {0};
    CUresult result;

    if (graph_wire_next(in->node, in->node_bytes, &cursor, &node) != 1 ||
        cursor.at != in->node_bytes) {
        border_malformed(channel, "graph_set_node", "node");
        return CUDA_ERROR_INVALID_VALUE;
    }
    slot = in->index < graph->count ? &graph->slots[in->index] : NULL;
    if (!slot || slot->type != node.head->type)
        return CUDA_ERROR_INVALID_VALUE;
    changed.cu = slot->cu;
    result = fill_slot(channel, graph->context, &node, &changed);
    if (result == CUDA_SUCCESS)
        result = set_params(channel->cu, graph, &node, &changed);
    if (result == CUDA_SUCCESS && changed.enabled != slot->enabled)
        result = channel->cu->cuGraphNodeSetEnabled(graph->exec, slot->cu, changed.enabled);
    if (result == CUDA_SUCCESS)
        *slot = changed;
    return result;
}
