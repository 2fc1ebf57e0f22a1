/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs as data; see graph.h. */
#include "cuda/graph.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/graph_table.h"

struct graph *graph_new(void)
{
    struct graph *graph = calloc(1, sizeof(*graph));

    if (!graph)
        return NULL;
    graph->handle = graph_table_add(GRAPH_KIND_GRAPH, graph);
    if (!graph->handle) {
        free(graph);
        return NULL;
    }
    graph->depth = 1;
    return graph;
}

static void free_node(struct graph_node *node)
{
    graph_table_drop(node->handle);
    graph_params_release(&node->params);
    free(node->needs.nodes);
    free(node->feeds.nodes);
    free(node);
}

void graph_free(struct graph *graph)
{
    if (!graph)
        return;
    while (graph->first) {
        struct graph_node *node = graph->first;

        graph->first = node->next;
        free_node(node);
    }
    while (graph->users) {
        struct graph_user *user = graph->users;

        graph->users = user->next;
        user_object_unref(user->object, user->count);
        free(user);
    }
    graph_table_drop(graph->handle);
    free(graph);
}

static CUresult links_add(struct graph_links *links, struct graph_node *node)
{
    if (links->count == links->room) {
        size_t room = links->room ? links->room * 2 : 4;
        struct graph_node **nodes = realloc(links->nodes, room * sizeof(struct graph_node *));

        if (!nodes)
            return CUDA_ERROR_OUT_OF_MEMORY;
        links->nodes = nodes;
        links->room = room;
    }
    links->nodes[links->count++] = node;
    return CUDA_SUCCESS;
}

static bool links_remove(struct graph_links *links, const struct graph_node *node)
{
    for (size_t i = 0; i < links->count; i++) {
        if (links->nodes[i] != node)
            continue;
        memmove(&links->nodes[i], &links->nodes[i + 1],
                (links->count - i - 1) * sizeof(struct graph_node *));
        links->count--;
        return true;
    }
    return false;
}

bool graph_connected(const struct graph_node *from, const struct graph_node *to)
{
    for (size_t i = 0; i < to->needs.count; i++)
        if (to->needs.nodes[i] == from)
            return true;
    return false;
}

CUresult graph_connect(struct graph_node *from, struct graph_node *to)
{
    CUresult result;

    if (from == to || from->graph != to->graph || graph_connected(from, to))
        return CUDA_ERROR_INVALID_VALUE;
    if (to->graph->edge_count >= GRAPH_MAX_EDGES)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = links_add(&from->feeds, to);
    if (result != CUDA_SUCCESS)
        return result;
    result = links_add(&to->needs, from);
    if (result != CUDA_SUCCESS) {
        from->feeds.count--;
        return result;
    }
    to->graph->edge_count++;
    return CUDA_SUCCESS;
}

CUresult graph_disconnect(struct graph_node *from, struct graph_node *to)
{
    if (from->graph != to->graph || !links_remove(&to->needs, from))
        return CUDA_ERROR_INVALID_VALUE;
    links_remove(&from->feeds, to);
    to->graph->edge_count--;
    return CUDA_SUCCESS;
}

/* The node and its graph's ancestors grow or shrink by what a child holds. */
static void count_nodes(struct graph *graph, int64_t more)
{
    while (graph) {
        graph->total_nodes = (size_t)((int64_t)graph->total_nodes + more);
        graph = graph->owner ? graph->owner->graph : NULL;
    }
}

static struct graph *outermost(struct graph *graph)
{
    while (graph->owner)
        graph = graph->owner->graph;
    return graph;
}

static unsigned level(const struct graph *graph)
{
    unsigned above = 0;

    for (; graph->owner; graph = graph->owner->graph)
        above++;
    return above;
}

static void raise_depth(struct graph *graph, unsigned child_depth)
{
    for (; graph && graph->depth < child_depth + 1;
         child_depth = graph->depth, graph = graph->owner ? graph->owner->graph : NULL)
        graph->depth = child_depth + 1;
}

static void link_last(struct graph *graph, struct graph_node *node)
{
    node->previous = graph->last;
    if (graph->last)
        graph->last->next = node;
    else
        graph->first = node;
    graph->last = node;
    graph->node_count++;
}

static void unlink_node(struct graph_node *node)
{
    struct graph *graph = node->graph;

    if (node->previous)
        node->previous->next = node->next;
    else
        graph->first = node->next;
    if (node->next)
        node->next->previous = node->previous;
    else
        graph->last = node->previous;
    graph->node_count--;
}

static size_t nodes_of(const struct graph_params *params)
{
    return 1 + (params->type == CU_GRAPH_NODE_TYPE_GRAPH ? params->child->total_nodes : 0);
}

CUresult graph_add(struct graph *graph, const struct graph_params *params,
                   struct graph_node *const *needs, size_t needs_count,
                   struct graph_node **ret_node)
{
    unsigned child_depth = params->type == CU_GRAPH_NODE_TYPE_GRAPH ? params->child->depth : 0;
    struct graph_node *node;
    CUresult result = CUDA_SUCCESS;

    if (outermost(graph)->total_nodes + nodes_of(params) > GRAPH_MAX_NODES ||
        level(graph) + 1 + child_depth > GRAPH_MAX_DEPTH)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node = calloc(1, sizeof(*node));
    if (node)
        node->handle = graph_table_add(GRAPH_KIND_NODE, node);
    if (!node || !node->handle) {
        free(node);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    node->graph = graph;
    node->params.type = CU_GRAPH_NODE_TYPE_EMPTY; /* owns nothing until it is whole */
    node->enabled = true;
    link_last(graph, node);
    count_nodes(graph, 1);
    for (size_t i = 0; i < needs_count && result == CUDA_SUCCESS; i++)
        result = graph_connect(needs[i], node);
    if (result != CUDA_SUCCESS) {
        graph_remove(node);
        return result;
    }
    node->params = *params;
    if (params->type == CU_GRAPH_NODE_TYPE_GRAPH) {
        node->params.child->owner = node;
        count_nodes(graph, (int64_t)node->params.child->total_nodes);
        raise_depth(graph, child_depth);
    }
    *ret_node = node;
    return CUDA_SUCCESS;
}

void graph_remove(struct graph_node *node)
{
    count_nodes(node->graph, -(int64_t)nodes_of(&node->params));
    while (node->needs.count > 0)
        graph_disconnect(node->needs.nodes[0], node);
    while (node->feeds.count > 0)
        graph_disconnect(node, node->feeds.nodes[0]);
    unlink_node(node);
    free_node(node);
}

/* In two passes: nodes first, as an edge may lead to one that was added later. */
static CUresult clone_nodes(const struct graph *graph, struct graph *clone)
{
    for (struct graph_node *node = graph->first; node; node = node->next) {
        struct graph_params params;
        CUresult result = graph_params_copy(&node->params, &params);

        if (result != CUDA_SUCCESS)
            return result;
        result = graph_add(clone, &params, NULL, 0, &node->twin);
        if (result != CUDA_SUCCESS) {
            graph_params_release(&params);
            return result;
        }
        node->twin->source = node->handle;
        node->twin->enabled = node->enabled;
    }
    return CUDA_SUCCESS;
}

static CUresult clone_edges(const struct graph *graph)
{
    for (const struct graph_node *node = graph->first; node; node = node->next)
        for (size_t i = 0; i < node->needs.count; i++) {
            CUresult result = graph_connect(node->needs.nodes[i]->twin, node->twin);

            if (result != CUDA_SUCCESS)
                return result;
        }
    return CUDA_SUCCESS;
}

static CUresult clone_users(const struct graph *graph, struct graph *clone)
{
    CUresult result = CUDA_SUCCESS;

    for (const struct graph_user *user = graph->users; user && result == CUDA_SUCCESS;
         user = user->next) {
        result = graph_hold_user(clone, user->object, user->count);
        if (result == CUDA_SUCCESS)
            user->object->refs += user->count;
    }
    return result;
}

CUresult graph_clone(const struct graph *graph, struct graph **ret_clone)
{
    struct graph *clone = graph_new();
    CUresult result;

    if (!clone)
        return CUDA_ERROR_OUT_OF_MEMORY;
    clone->source = graph->handle;
    result = clone_nodes(graph, clone);
    if (result == CUDA_SUCCESS)
        result = clone_edges(graph);
    if (result == CUDA_SUCCESS)
        result = clone_users(graph, clone);
    if (result != CUDA_SUCCESS) {
        graph_free(clone);
        return result;
    }
    *ret_clone = clone;
    return CUDA_SUCCESS;
}

struct graph_node *graph_find_source(const struct graph *graph, const void *source)
{
    struct graph_node *found = NULL;

    for (struct graph_node *node = graph->first; node && !found; node = node->next) {
        if (node->source == source)
            found = node;
        else if (node->params.type == CU_GRAPH_NODE_TYPE_GRAPH)
            found = graph_find_source(node->params.child, source);
    }
    return found;
}

bool graph_any(const struct graph *graph, bool (*matches)(const struct graph_node *node))
{
    for (const struct graph_node *node = graph->first; node; node = node->next)
        if (matches(node) || (node->params.type == CU_GRAPH_NODE_TYPE_GRAPH &&
                              graph_any(node->params.child, matches)))
            return true;
    return false;
}

CUresult graph_order(struct graph *graph, struct graph_node ***ret_nodes)
{
    struct graph_node **nodes = calloc(graph->node_count + 1, sizeof(struct graph_node *));
    size_t ready = 0;

    if (!nodes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (struct graph_node *node = graph->first; node; node = node->next) {
        node->unmet = (uint32_t)node->needs.count;
        if (node->unmet == 0)
            nodes[ready++] = node;
    }
    for (size_t i = 0; i < ready; i++)
        for (size_t j = 0; j < nodes[i]->feeds.count; j++) {
            struct graph_node *next = nodes[i]->feeds.nodes[j];

            if (--next->unmet == 0)
                nodes[ready++] = next;
        }
    if (ready < graph->node_count) {
        free(nodes);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *ret_nodes = nodes;
    return CUDA_SUCCESS;
}

static CUresult flat_need(struct graph_flat *flat, uint32_t need)
{
    if (flat->need_count == flat->need_room) {
        size_t room = flat->need_room ? flat->need_room * 2 : 64;
        uint32_t *needs = realloc(flat->needs, room * sizeof(*needs));

        if (!needs)
            return CUDA_ERROR_OUT_OF_MEMORY;
        flat->needs = needs;
        flat->need_room = room;
    }
    flat->needs[flat->need_count++] = need;
    return CUDA_SUCCESS;
}

/* Opens an entry; flat_need then adds to it. */
static CUresult flat_entry(struct graph_flat *flat, struct graph_node *node, uint32_t *ret_index)
{
    if (flat->count == flat->entry_room) {
        size_t room = flat->entry_room ? flat->entry_room * 2 : 64;
        struct graph_flat_entry *entries = realloc(flat->entries, room * sizeof(*entries));

        if (!entries)
            return CUDA_ERROR_OUT_OF_MEMORY;
        flat->entries = entries;
        flat->entry_room = room;
    }
    flat->entries[flat->count] =
        (struct graph_flat_entry){.node = node, .first_need = (uint32_t)flat->need_count};
    *ret_index = (uint32_t)flat->count++;
    return CUDA_SUCCESS;
}

static void flat_close(struct graph_flat *flat, uint32_t index)
{
    flat->entries[index].need_count = (uint32_t)flat->need_count - flat->entries[index].first_need;
}

/* The entry of a node: needs what the node needs, or where the graph as a whole begins. */
static CUresult flat_node(struct graph_flat *flat, struct graph_node *node,
                          struct graph_node *entry, const uint32_t *begin, uint32_t *ret_index)
{
    CUresult result = flat_entry(flat, entry, ret_index);

    for (size_t i = 0; i < node->needs.count && result == CUDA_SUCCESS; i++)
        result = flat_need(flat, node->needs.nodes[i]->flat);
    if (result == CUDA_SUCCESS && node->needs.count == 0 && begin)
        result = flat_need(flat, *begin);
    if (result == CUDA_SUCCESS)
        flat_close(flat, *ret_index);
    return result;
}

static CUresult flatten(struct graph *graph, struct graph_flat *flat, const uint32_t *begin);

/* A child graph lies between two joins, so that what needs the node needs one entry. */
static CUresult flatten_child(struct graph_node *node, struct graph_flat *flat,
                              const uint32_t *begin)
{
    uint32_t first, last;
    CUresult result = flat_node(flat, node, NULL, begin, &first);

    if (result == CUDA_SUCCESS)
        result = flatten(node->params.child, flat, &first);
    if (result == CUDA_SUCCESS)
        result = flat_entry(flat, NULL, &last);
    if (result != CUDA_SUCCESS)
        return result;
    result = flat_need(flat, first);
    for (struct graph_node *inner = node->params.child->first; inner && result == CUDA_SUCCESS;
         inner = inner->next)
        if (inner->feeds.count == 0)
            result = flat_need(flat, inner->flat);
    if (result == CUDA_SUCCESS)
        flat_close(flat, last);
    node->flat = last;
    return result;
}

static CUresult flatten(struct graph *graph, struct graph_flat *flat, const uint32_t *begin)
{
    struct graph_node **nodes;
    CUresult result = graph_order(graph, &nodes);

    if (result != CUDA_SUCCESS)
        return result;
    for (size_t i = 0; nodes[i] && result == CUDA_SUCCESS; i++) {
        struct graph_node *node = nodes[i];

        if (node->params.type == CU_GRAPH_NODE_TYPE_GRAPH)
            result = flatten_child(node, flat, begin);
        else
            result = flat_node(flat, node, node, begin, &node->flat);
    }
    free(nodes);
    return result;
}

CUresult graph_flatten(struct graph *graph, struct graph_flat *ret_flat)
{
    struct graph_flat flat = {0};
    CUresult result = flatten(graph, &flat, NULL);

    if (result != CUDA_SUCCESS) {
        graph_flat_release(&flat);
        return result;
    }
    *ret_flat = flat;
    return CUDA_SUCCESS;
}

void graph_flat_release(struct graph_flat *flat)
{
    free(flat->entries);
    free(flat->needs);
    memset(flat, 0, sizeof(*flat));
}
