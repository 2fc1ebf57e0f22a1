/* SPDX-License-Identifier: Apache-2.0 */
/* Executable graphs, round by round on the driver double: proofs, order, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE   VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL   VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM   VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)
#define GRAPH(n) VGPU_HANDLE(CUDA_KIND_GRAPH, 1, n)

struct nodes {
    size_t used;
    _Alignas(8) uint8_t bytes[4096];
};

static void add(struct nodes *nodes, uint32_t type, const void *body, size_t size, int64_t need)
{
    struct vgpu_graph_node head = {.type = type, .enabled = 1, .need_count = need >= 0};
    uint8_t *at = nodes->bytes + nodes->used;

    head.size_bytes = (uint32_t)(sizeof(head) + size + (need >= 0) * 8);
    memset(at, 0, head.size_bytes);
    memcpy(at, &head, sizeof(head));
    if (size > 0)
        memcpy(at + sizeof(head), body, size);
    if (need >= 0)
        memcpy(at + sizeof(head) + size, &(uint32_t){(uint32_t)need}, 4);
    nodes->used += head.size_bytes;
}

static void add_kernel(struct nodes *nodes, int64_t need)
{
    const struct vgpu_graph_kernel kernel = {
        .function = KERNEL, .grid = {1, 1, 1}, .block = {1, 1, 1}};

    add(nodes, VGPU_GRAPH_NODE_KERNEL, &kernel, sizeof(kernel), need);
}

static void add_fill(struct nodes *nodes, uint64_t address)
{
    const struct vgpu_graph_fill fill = {address, 16, 4, 1, 4, 0};

    add(nodes, VGPU_GRAPH_NODE_FILL, &fill, sizeof(fill), -1);
}

/* The record's blob lies in the record. */
static uint64_t send_create(struct client *client, uint32_t graph, const void *bytes, size_t count)
{
    _Alignas(8) uint8_t record[sizeof(struct cuda_op_graph_create) + 4096] = {0};
    struct cuda_op_graph_create *op = (struct cuda_op_graph_create *)(void *)record;
    size_t size = sizeof(*op);

    op->graph = graph;
    op->nodes = client_blob(op, &size, bytes, count);
    return client_send(client, CUDA_OP_GRAPH_CREATE, VGPU_RECORD_WAIT, op, size);
}

static CUresult create(struct client *client, uint32_t graph, const struct nodes *nodes)
{
    uint64_t seq = send_create(client, graph, nodes->bytes, nodes->used);

    return (CUresult)client_await(client, seq)->result;
}

static uint64_t launch(struct client *client, uint32_t graph)
{
    struct cuda_op_graph_launch op = {.graph = graph, .stream = STREAM};

    return client_send(client, CUDA_OP_GRAPH_LAUNCH, 0, &op, sizeof(op));
}

static void destroy(struct client *client, uint32_t graph)
{
    struct cuda_op_graph_destroy op = {.graph = graph};

    client_send(client, CUDA_OP_GRAPH_DESTROY, 0, &op, sizeof(op));
}

static void set_fill(struct client *client, uint32_t graph, uint32_t index, uint64_t address)
{
    _Alignas(8) uint8_t record[sizeof(struct cuda_op_graph_set_node) + 256] = {0};
    struct cuda_op_graph_set_node *op = (struct cuda_op_graph_set_node *)(void *)record;
    size_t size = sizeof(*op);
    struct nodes nodes = {0};

    add_fill(&nodes, address);
    op->graph = graph;
    op->index = index;
    op->node = client_blob(op, &size, nodes.bytes, nodes.used);
    client_send(client, CUDA_OP_GRAPH_SET_NODE, 0, op, size);
}

static CUresult sync_result(struct client *client)
{
    return (CUresult)client_await(client, client_sync_context(client))->result;
}

static struct client *open_client(void)
{
    const struct client_options options = {0};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "k0"), CUDA_SUCCESS);
    client_stream(client, STREAM);
    client_run(client);
    return client;
}

static void test_graph_launch_is_one_job(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    uint64_t memory = client_alloc(client, 4096), done;

    (void)state;
    add_fill(&nodes, memory);
    for (int i = 0; i < 20; i++)
        add_kernel(&nodes, i);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    done = page_load_u64(&client->report->jobs_done);
    launch(client, GRAPH(0));
    assert_int_equal(sync_result(client), CUDA_SUCCESS);
    assert_int_equal(test_driver_count("graph"), 1);
    assert_int_equal(page_load_u64(&client->report->jobs_done), done + 1);
    assert_true(client->channel->graphs->meter.estimate_ns > 0);
    client_close(client);
}

static void test_graph_foreign_address_is_refused(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    uint64_t memory = client_alloc(client, 4096);

    (void)state;
    add_fill(&nodes, memory + 4096 - 8);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_ERROR_INVALID_VALUE);
    assert_null(client->channel->graphs);
    assert_int_equal(client->channel->graph_nodes, 0);
    client_close(client);
}

/* Memory that was freed since is no part of what a launch may touch. */
static void test_graph_freed_memory_is_not_launched(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    uint64_t memory = client_alloc(client, 4096);
    struct cuda_op_memory_free op = {.address = memory};

    (void)state;
    add_fill(&nodes, memory);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)), CUDA_SUCCESS);
    launch(client, GRAPH(0));
    assert_int_equal(sync_result(client), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_count("graph"), 0);
    client_close(client);
}

static void test_graph_unloaded_kernel_is_not_launched(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    struct cuda_op_module_unload op = {.module = MODULE};

    (void)state;
    add_kernel(&nodes, -1);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &op, sizeof(op)), CUDA_SUCCESS);
    launch(client, GRAPH(0));
    assert_int_equal(sync_result(client), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(test_driver_count("graph"), 0);
    client_close(client);
}

static void test_graph_stale_kernel_is_refused(void **state)
{
    struct client *client = open_client();
    struct vgpu_graph_kernel kernel = {.function = KERNEL + 1, .grid = {1}, .block = {1}};
    struct nodes nodes = {0};

    (void)state;
    add(&nodes, VGPU_GRAPH_NODE_KERNEL, &kernel, sizeof(kernel), -1);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_ERROR_INVALID_HANDLE);
    client_close(client);
}

static void test_graph_malformed_nodes_end_the_channel(void **state)
{
    struct nodes forward = {0}, type = {0};
    const struct nodes *bad[] = {&forward, &type};

    (void)state;
    add_kernel(&forward, 0); /* needs itself */
    add(&type, 9, NULL, 0, -1);
    for (size_t i = 0; i < 2; i++) {
        struct client *client = open_client();

        send_create(client, GRAPH(0), bad[i]->bytes, bad[i]->used);
        assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
        client_close(client);
    }
}

static void test_graph_nodes_are_limited(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};

    (void)state;
    add_kernel(&nodes, -1);
    client->channel->graph_nodes = WORKER_MAX_GRAPH_NODES - 1;
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    assert_int_equal(create(client, GRAPH(1), &nodes), CUDA_ERROR_OUT_OF_MEMORY);
    client->channel->graph_nodes = 1;
    client_close(client);
}

static void test_graph_destroyed_in_flight(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    uint64_t sync;

    (void)state;
    add_kernel(&nodes, -1);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    test_driver_hold();
    launch(client, GRAPH(0));
    destroy(client, GRAPH(0));
    sync = client_sync_context(client);
    client_run(client);
    assert_null(client->channel->graphs);
    test_driver_release();
    assert_int_equal(client_await(client, sync)->result, CUDA_SUCCESS);
    assert_int_equal(client->channel->graph_nodes, 0);
    client_close(client);
}

static void test_graph_ends_with_its_context(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    struct cuda_op_context_reset op = {.context = CLIENT_CONTEXT};

    (void)state;
    add_kernel(&nodes, -1);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_RESET, &op, sizeof(op)), CUDA_SUCCESS);
    assert_null(client->channel->graphs);
    client_close(client);
}

static size_t position(const char *name)
{
    for (size_t i = 0; i < test_driver_journal_count(); i++)
        if (strcmp(test_driver_journal(i), name) == 0)
            return i;
    return SIZE_MAX;
}

/* What changes a graph, or ends it, comes after a launch that waits behind a host function. */
static void test_graph_changes_stay_behind_held_launches(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_function call = {.stream = STREAM, .token = 7};
    struct cuda_op_host_function_done answer = {.token = 7};
    struct nodes nodes = {0};
    uint64_t memory = client_alloc(client, 4096);

    (void)state;
    add_fill(&nodes, memory);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &call, sizeof(call));
    launch(client, GRAPH(0));
    set_fill(client, GRAPH(0), 0, memory + 16);
    destroy(client, GRAPH(0));
    client_run(client);
    assert_int_equal(test_driver_count("graph"), 0);
    assert_int_equal(test_driver_count("set-fill"), 0);
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &answer, sizeof(answer));
    assert_int_equal(sync_result(client), CUDA_SUCCESS);
    assert_true(position("graph") < position("set-fill"));
    assert_true(position("set-fill") < position("destroy-graph"));
    client_close(client);
}

static void test_graph_set_node_is_proved(void **state)
{
    struct client *client = open_client();
    struct nodes nodes = {0};
    uint64_t memory = client_alloc(client, 4096);

    (void)state;
    add_fill(&nodes, memory);
    assert_int_equal(create(client, GRAPH(0), &nodes), CUDA_SUCCESS);
    set_fill(client, GRAPH(0), 0, memory + 4096);
    assert_int_equal(sync_result(client), CUDA_ERROR_INVALID_VALUE);
    set_fill(client, GRAPH(0), 1, memory);
    assert_int_equal(sync_result(client), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_count("set-fill"), 0);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph_launch_is_one_job),
        cmocka_unit_test(test_graph_foreign_address_is_refused),
        cmocka_unit_test(test_graph_freed_memory_is_not_launched),
        cmocka_unit_test(test_graph_unloaded_kernel_is_not_launched),
        cmocka_unit_test(test_graph_stale_kernel_is_refused),
        cmocka_unit_test(test_graph_malformed_nodes_end_the_channel),
        cmocka_unit_test(test_graph_nodes_are_limited),
        cmocka_unit_test(test_graph_destroyed_in_flight),
        cmocka_unit_test(test_graph_ends_with_its_context),
        cmocka_unit_test(test_graph_changes_stay_behind_held_launches),
        cmocka_unit_test(test_graph_set_node_is_proved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
