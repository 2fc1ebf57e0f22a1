/* SPDX-License-Identifier: Apache-2.0 */
/* The pure model of graphs: order, edges, copies, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cuda/graph.h"
#include "cuda/graph_table.h"

static struct graph_node *add(struct graph *graph)
{
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
    struct graph_node *node;

    assert_int_equal(graph_add(graph, &params, NULL, 0, &node), CUDA_SUCCESS);
    return node;
}

static struct graph_node *add_child(struct graph *graph, struct graph *child)
{
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = child};
    struct graph_node *node;

    assert_int_equal(graph_add(graph, &params, NULL, 0, &node), CUDA_SUCCESS);
    return node;
}

/* Random edges from earlier to later nodes of a shuffled order. */
static void connect_at_random(struct graph_node **nodes, size_t count, unsigned *seed)
{
    for (size_t i = 0; i + 1 < count; i++) {
        size_t j = i + (size_t)rand_r(seed) % (count - i);
        struct graph_node *swapped = nodes[i];

        nodes[i] = nodes[j];
        nodes[j] = swapped;
    }
    for (size_t i = 1; i < count; i++)
        for (int k = 0; k < 3; k++) {
            struct graph_node *from = nodes[(size_t)rand_r(seed) % i];

            if (!graph_connected(from, nodes[i]))
                assert_int_equal(graph_connect(from, nodes[i]), CUDA_SUCCESS);
        }
}

static void test_graph_order_follows_edges(void **state)
{
    struct graph_node *nodes[60], **order;
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 50; round++) {
        struct graph *graph = graph_new();

        for (size_t i = 0; i < 60; i++)
            nodes[i] = add(graph);
        connect_at_random(nodes, 60, &seed);
        assert_int_equal(graph_order(graph, &order), CUDA_SUCCESS);
        for (uint32_t i = 0; i < 60; i++)
            order[i]->index = i;
        for (size_t i = 0; i < 60; i++)
            for (size_t j = 0; j < nodes[i]->needs.count; j++)
                assert_true(nodes[i]->needs.nodes[j]->index < nodes[i]->index);
        free(order);
        graph_free(graph);
    }
}

static void test_graph_cycle_has_no_order(void **state)
{
    struct graph *graph = graph_new();
    struct graph_node *a = add(graph), *b = add(graph), **order;
    struct graph_flat flat;

    (void)state;
    assert_int_equal(graph_connect(a, b), CUDA_SUCCESS);
    assert_int_equal(graph_connect(b, a), CUDA_SUCCESS);
    assert_int_equal(graph_order(graph, &order), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_flatten(graph, &flat), CUDA_ERROR_INVALID_VALUE);
    graph_free(graph);
}

static void test_graph_edges_are_single(void **state)
{
    struct graph *graph = graph_new(), *other = graph_new();
    struct graph_node *a = add(graph), *b = add(graph), *c = add(other);

    (void)state;
    assert_int_equal(graph_connect(a, a), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_connect(a, c), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_connect(a, b), CUDA_SUCCESS);
    assert_int_equal(graph_connect(a, b), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_disconnect(a, b), CUDA_SUCCESS);
    assert_int_equal(graph_disconnect(a, b), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph->edge_count, 0);
    graph_free(graph);
    graph_free(other);
}

static void test_graph_remove_takes_edges_along(void **state)
{
    struct graph *graph = graph_new();
    struct graph_node *a = add(graph), *b = add(graph), *c = add(graph);
    void *handle = b->handle;

    (void)state;
    graph_connect(a, b);
    graph_connect(b, c);
    graph_remove(b);
    assert_int_equal(graph->edge_count, 0);
    assert_int_equal(graph->node_count, 2);
    assert_int_equal(graph->total_nodes, 2);
    assert_int_equal(a->feeds.count, 0);
    assert_int_equal(c->needs.count, 0);
    assert_null(graph_table_get(GRAPH_KIND_NODE, handle));
    graph_free(graph);
}

static void test_graph_clone_is_deep(void **state)
{
    struct graph *graph = graph_new(), *child = graph_new(), *clone;
    struct graph_node *inner = add(child), *a = add(graph), *b = add_child(graph, child);
    struct graph_node *twin;

    (void)state;
    graph_connect(a, b);
    assert_int_equal(graph_clone(graph, &clone), CUDA_SUCCESS);
    twin = graph_find_source(clone, inner->handle);
    assert_non_null(twin);
    assert_ptr_not_equal(twin, inner);
    assert_int_equal(clone->edge_count, 1);
    assert_int_equal(clone->total_nodes, 3);
    assert_ptr_equal(clone->source, graph->handle);
    graph_free(graph);
    assert_true(graph_connected(clone->first, clone->last));
    assert_null(graph_find_source(clone, twin->handle));
    graph_free(clone);
}

/* Before what follows a child graph there is all that is in it. */
static void test_graph_flatten_spreads_children(void **state)
{
    struct graph *graph = graph_new(), *child = graph_new();
    struct graph_node *inner[2] = {add(child), add(child)};
    struct graph_node *before = add(graph), *middle = add_child(graph, child), *after = add(graph);
    uint32_t at[3] = {0};
    struct graph_flat flat;

    (void)state;
    graph_connect(before, middle);
    graph_connect(middle, after);
    assert_int_equal(graph_flatten(graph, &flat), CUDA_SUCCESS);
    assert_int_equal(flat.count, 6); /* four nodes and two joins */
    for (uint32_t i = 0; i < flat.count; i++) {
        const struct graph_flat_entry *entry = &flat.entries[i];

        if (entry->node == before)
            at[0] = i;
        if (entry->node == inner[0] || entry->node == inner[1])
            at[1] = i;
        if (entry->node == after)
            at[2] = i;
        for (uint32_t j = 0; j < entry->need_count; j++)
            assert_true(flat.needs[entry->first_need + j] < i);
        assert_true(i == 0 || entry->need_count > 0);
    }
    assert_true(at[0] < at[1] && at[1] < at[2]);
    graph_flat_release(&flat);
    graph_free(graph);
}

static void test_graph_nodes_are_limited(void **state)
{
    struct graph *graph = graph_new();
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
    struct graph_node *node;

    (void)state;
    for (unsigned i = 0; i < GRAPH_MAX_NODES; i++)
        add(graph);
    assert_int_equal(graph_add(graph, &params, NULL, 0, &node), CUDA_ERROR_OUT_OF_MEMORY);
    graph_free(graph);
}

static void test_graph_children_count_as_nodes(void **state)
{
    struct graph *graph = graph_new(), *child = graph_new();
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = child};
    struct graph_node *node;

    (void)state;
    for (unsigned i = 0; i < GRAPH_MAX_NODES; i++)
        add(child);
    assert_int_equal(graph_add(graph, &params, NULL, 0, &node), CUDA_ERROR_OUT_OF_MEMORY);
    graph_free(child);
    graph_free(graph);
}

static void test_graph_edges_are_limited(void **state)
{
    struct graph *graph = graph_new();
    struct graph_node *nodes[400];
    unsigned count = 0;

    (void)state;
    for (size_t i = 0; i < 400; i++)
        nodes[i] = add(graph);
    for (size_t i = 0; i < 400; i++)
        for (size_t j = i + 1; j < 400 && count < GRAPH_MAX_EDGES; j++, count++)
            assert_int_equal(graph_connect(nodes[i], nodes[j]), CUDA_SUCCESS);
    assert_int_equal(graph_connect(nodes[399], nodes[0]), CUDA_ERROR_OUT_OF_MEMORY);
    graph_free(graph);
}

static void test_graph_depth_is_limited(void **state)
{
    struct graph *graph = graph_new(), *outer = graph_new();
    struct graph_params params = {.type = CU_GRAPH_NODE_TYPE_GRAPH};
    struct graph_node *node;

    (void)state;
    for (unsigned i = 1; i < GRAPH_MAX_DEPTH; i++) {
        struct graph *above = graph_new();

        add_child(above, graph);
        graph = above;
    }
    params.child = graph;
    assert_int_equal(graph->depth, GRAPH_MAX_DEPTH);
    assert_int_equal(graph_add(outer, &params, NULL, 0, &node), CUDA_ERROR_OUT_OF_MEMORY);
    graph_free(graph);
    graph_free(outer);
}

static void test_graph_handles_end(void **state)
{
    struct graph *graph = graph_new();
    void *handle = graph->handle;

    (void)state;
    assert_ptr_equal(graph_table_get(GRAPH_KIND_GRAPH, handle), graph);
    assert_null(graph_table_get(GRAPH_KIND_NODE, handle));
    assert_null(graph_table_get(GRAPH_KIND_GRAPH, (char *)handle + 1));
    assert_null(graph_table_get(GRAPH_KIND_GRAPH, (void *)(uintptr_t)UINT64_MAX));
    assert_null(graph_table_get(GRAPH_KIND_GRAPH, NULL));
    graph_free(graph);
    assert_null(graph_table_get(GRAPH_KIND_GRAPH, handle));
}

static void count_call(void *pointer)
{
    ++*(int *)pointer;
}

static void test_graph_user_object_lives_as_long(void **state)
{
    struct graph *graph = graph_new(), *clone;
    int calls = 0;
    struct user_object *object = user_object_new(&calls, count_call, 1);

    (void)state;
    assert_int_equal(graph_hold_user(graph, object, 1), CUDA_SUCCESS);
    assert_int_equal(graph_drop_user(graph, object, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_clone(graph, &clone), CUDA_SUCCESS);
    graph_free(graph);
    assert_int_equal(calls, 0);
    graph_free(clone);
    assert_int_equal(calls, 1);
}

static void test_graph_update_rules(void **state)
{
    struct graph_params fill = {.type = CU_GRAPH_NODE_TYPE_MEMSET, .fill.height = 1};
    struct graph_params rows = {.type = CU_GRAPH_NODE_TYPE_MEMSET, .fill.height = 2};
    struct graph_params up = {.type = CU_GRAPH_NODE_TYPE_MEMCPY,
                              .copy = {.srcMemoryType = CU_MEMORYTYPE_HOST}};
    struct graph_params down = {.type = CU_GRAPH_NODE_TYPE_MEMCPY,
                                .copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE}};

    (void)state;
    assert_int_equal(graph_params_may_become(&fill, &fill), CU_GRAPH_EXEC_UPDATE_SUCCESS);
    assert_int_equal(graph_params_may_become(&fill, &rows),
                     CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
    assert_int_equal(graph_params_may_become(&fill, &up),
                     CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
    assert_int_equal(graph_params_may_become(&up, &down),
                     CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph_order_follows_edges),
        cmocka_unit_test(test_graph_cycle_has_no_order),
        cmocka_unit_test(test_graph_edges_are_single),
        cmocka_unit_test(test_graph_remove_takes_edges_along),
        cmocka_unit_test(test_graph_clone_is_deep),
        cmocka_unit_test(test_graph_flatten_spreads_children),
        cmocka_unit_test(test_graph_nodes_are_limited),
        cmocka_unit_test(test_graph_children_count_as_nodes),
        cmocka_unit_test(test_graph_edges_are_limited),
        cmocka_unit_test(test_graph_depth_is_limited),
        cmocka_unit_test(test_graph_handles_end),
        cmocka_unit_test(test_graph_user_object_lives_as_long),
        cmocka_unit_test(test_graph_update_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
