/* SPDX-License-Identifier: Apache-2.0 */
/* Launches with attributes, and attributes of streams, on the driver double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)

static const struct vgpu_launch_attributes clusters = {.given = VGPU_LAUNCH_CLUSTER,
                                                       .cluster = {2, 1, 1}};

static struct client *open_client(void)
{
    const struct client_options options = {0};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "k"), CUDA_SUCCESS);
    client_stream(client, STREAM);
    client_run(client);
    return client;
}

static void close_client(struct client *client)
{
    assert_false(client->channel->ended);
    client_close(client);
}

static uint64_t launch(struct client *client, const void *attributes, size_t bytes)
{
    _Alignas(8) uint8_t buffer[1024] = {0};
    struct cuda_op_launch_ex *op = (void *)buffer;
    size_t size = sizeof(*op);

    op->function = KERNEL;
    op->stream = STREAM;
    op->grid_x = 4;
    op->grid_y = op->grid_z = op->block_x = op->block_y = op->block_z = 1;
    op->attributes = client_blob(op, &size, attributes, bytes);
    op->params = client_blob(op, &size, "", 0);
    return client_send(client, CUDA_OP_LAUNCH_EX, 0, op, size);
}

static CUresult ask_clusters(struct client *client, uint32_t width, uint32_t largest,
                             int32_t *ret_clusters)
{
    _Alignas(8) uint8_t buffer[1024] = {0};
    struct vgpu_launch_attributes attributes = clusters;
    struct cuda_op_occupancy_clusters *op = (void *)buffer;
    struct cuda_re_occupancy_clusters answer;
    const struct client_reply *reply;
    size_t size = sizeof(*op);

    attributes.cluster[0] = width;
    op->function = KERNEL;
    op->largest = largest;
    op->grid_x = 16;
    op->grid_y = op->grid_z = op->block_x = op->block_y = op->block_z = 1;
    op->attributes = client_blob(op, &size, &attributes, sizeof(attributes));
    reply = client_await(
        client, client_send(client, CUDA_OP_OCCUPANCY_CLUSTERS, VGPU_RECORD_WAIT, op, size));
    memcpy(&answer, reply->bytes, sizeof(answer));
    *ret_clusters = answer.clusters;
    return (CUresult)reply->result;
}

static void test_launch_attributes_reach_the_driver(void **state)
{
    struct client *client = open_client();
    struct vgpu_launch_attributes attributes = clusters;

    attributes.given |= VGPU_LAUNCH_SERIALIZATION | VGPU_LAUNCH_PRIORITY;
    attributes.serialization = 1;
    launch(client, &attributes, sizeof(attributes));
    client_run(client);
    assert_int_equal(test_driver_count("cluster 2 1 1"), 1);
    assert_int_equal(test_driver_count("attribute 6"), 1);
    assert_int_equal(test_driver_count("attribute 8"), 1);
    assert_int_equal(test_driver_count("k"), 1);
    close_client(client);
}

static void test_launch_without_attributes_is_plain(void **state)
{
    struct client *client = open_client();

    launch(client, &(struct vgpu_launch_attributes){0}, sizeof(clusters));
    client_run(client);
    assert_int_equal(test_driver_count("k"), 1);
    close_client(client);
}

static void expect_end(const void *attributes, size_t bytes)
{
    struct client *client = open_client();

    launch(client, attributes, bytes);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    assert_int_equal(test_driver_count("k"), 0);
    client_close(client);
}

static void test_launch_bad_attributes_end_the_channel(void **state)
{
    struct vgpu_launch_attributes attributes = clusters;
    uint8_t more[sizeof(attributes) + 8] = {0};

    expect_end(&attributes, sizeof(attributes) - 8);
    expect_end(more, sizeof(more));
    attributes.cluster[1] = 0;
    expect_end(&attributes, sizeof(attributes));
    attributes = (struct vgpu_launch_attributes){.given = 1u << 7};
    expect_end(&attributes, sizeof(attributes));
}

static void test_launch_clusters_are_asked_of_the_driver(void **state)
{
    struct client *client = open_client();
    int32_t clusters_fit;

    assert_int_equal(ask_clusters(client, 2, 0, &clusters_fit), CUDA_SUCCESS);
    assert_int_equal(clusters_fit, 16);
    assert_int_equal(ask_clusters(client, 9, 0, &clusters_fit), CUDA_SUCCESS);
    assert_int_equal(clusters_fit, 0);
    assert_int_equal(ask_clusters(client, 2, 1, &clusters_fit), CUDA_SUCCESS);
    assert_int_equal(clusters_fit, 8);
    close_client(client);
}

static uint64_t set_attribute(struct client *client, uint32_t attribute, uint64_t value)
{
    struct cuda_op_stream_set_attribute op = {
        .stream = STREAM, .attribute = attribute, .value = value};

    return client_send(client, CUDA_OP_STREAM_SET_ATTRIBUTE, 0, &op, sizeof(op));
}

static void test_launch_stream_attributes_reach_the_driver(void **state)
{
    struct client *client = open_client();

    set_attribute(client, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, 0x0203);
    set_attribute(client, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN, 1);
    set_attribute(client, CU_LAUNCH_ATTRIBUTE_PRIORITY, 3);
    client_run(client);
    assert_int_equal(test_driver_count("stream-attribute 9 3 2"), 1);
    assert_int_equal(test_driver_count("stream-attribute 10 1 0"), 1);
    assert_int_equal(test_driver_count("stream-attribute 8 3 0"), 1);
    close_client(client);
}

/* What comes behind a host function waits for its answer, whatever the kind of launch. */
static void test_launch_waits_behind_a_host_function(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_function gate = {.stream = STREAM, .token = 5};
    struct cuda_op_host_function_done done = {.token = 5};

    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &gate, sizeof(gate));
    set_attribute(client, CU_LAUNCH_ATTRIBUTE_PRIORITY, 3);
    launch(client, &clusters, sizeof(clusters));
    client_run(client);
    assert_int_equal(test_driver_count("k"), 0);
    assert_int_equal(test_driver_count("stream-attribute 8 3 0"), 0);
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
    client_run(client);
    assert_int_equal(test_driver_count("k"), 1);
    assert_int_equal(test_driver_count("stream-attribute 8 3 0"), 1);
    close_client(client);
}

static uint64_t write_value(struct client *client, uint64_t address, uint32_t bytes)
{
    struct cuda_op_stream_write_value op = {
        .stream = STREAM, .address = address, .value = 7, .bytes = bytes};

    return client_send(client, CUDA_OP_STREAM_WRITE_VALUE, 0, &op, sizeof(op));
}

static void test_launch_write_value(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 16);
    uint32_t word;

    write_value(client, address, 4);
    write_value(client, address + 8, 8);
    assert_int_equal(client_await(client, client_sync_stream(client, STREAM))->result,
                     CUDA_SUCCESS);
    memcpy(&word, (const void *)(uintptr_t)address, 4);
    assert_int_equal(word, 7);
    assert_int_equal(test_driver_count("fill"), 2);
    close_client(client);
}

/* Neither reaches the driver; the next call that reports tells. */
static void test_launch_write_value_outside_or_misaligned(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 16);
    const uint64_t bad[] = {address + 16, address + 12, address + 2};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_value(client, bad[i], i == 2 ? 4 : 8);
        assert_int_equal(client_await(client, client_sync_stream(client, STREAM))->result,
                         CUDA_ERROR_INVALID_VALUE);
    }
    assert_int_equal(test_driver_count("fill"), 0);
    close_client(client);
}

static uint64_t send_tensor(struct client *client, const void *tensor, size_t bytes)
{
    _Alignas(8) uint8_t buffer[1024] = {0};
    struct cuda_op_tensor_map_encode *op = (void *)buffer;
    size_t size = sizeof(*op);

    op->tensor = client_blob(op, &size, tensor, bytes);
    return client_send(client, CUDA_OP_TENSOR_MAP_ENCODE, VGPU_RECORD_WAIT, op, size);
}

static void test_launch_tensor_map(void **state)
{
    struct client *client = open_client();
    const struct vgpu_tensor tensor = {
        .rank = 5, .address = 4096, .dims = {1, 2, 3, 4, 5}, .box = {6, 7, 8, 9, 10}};
    const struct client_reply *reply =
        client_await(client, send_tensor(client, &tensor, sizeof(tensor)));
    struct cuda_re_tensor_map_encode answer;
    _Alignas(8) uint8_t buffer[1024] = {0};
    struct cuda_op_tensor_map_replace *op = (void *)buffer;
    size_t size = sizeof(*op);
    uint64_t map[16];

    assert_int_equal(reply->result, CUDA_SUCCESS);
    memcpy(&answer, reply->bytes, sizeof(answer));
    assert_int_equal(answer.map.size_bytes, sizeof(map));
    memcpy(map, reply->bytes + answer.map.offset, sizeof(map));
    assert_int_equal(map[0], 4096);
    assert_int_equal(map[1], 5);
    assert_int_equal(map[2], 10);
    op->address = 8192;
    op->map = client_blob(op, &size, map, sizeof(map));
    reply = client_await(
        client, client_send(client, CUDA_OP_TENSOR_MAP_REPLACE, VGPU_RECORD_WAIT, op, size));
    assert_int_equal(reply->result, CUDA_SUCCESS);
    /* Its answer has the same form. */
    memcpy(&answer, reply->bytes, sizeof(answer));
    memcpy(map, reply->bytes + answer.map.offset, sizeof(map));
    assert_int_equal(map[0], 8192);
    assert_int_equal(map[1], 5);
    close_client(client);
}

/* The driver reads arrays as long as the rank says: only ranks that they have. */
static void test_launch_tensor_of_wrong_rank_ends_the_channel(void **state)
{
    const struct vgpu_tensor bad[] = {
        {.rank = 0}, {.rank = VGPU_TENSOR_MAX_RANK + 1}, {.rank = 1, .kind = 3}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client *client = open_client();

        send_tensor(client, &bad[i], sizeof(bad[i]));
        assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
        client_close(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch_attributes_reach_the_driver),
        cmocka_unit_test(test_launch_without_attributes_is_plain),
        cmocka_unit_test(test_launch_bad_attributes_end_the_channel),
        cmocka_unit_test(test_launch_clusters_are_asked_of_the_driver),
        cmocka_unit_test(test_launch_stream_attributes_reach_the_driver),
        cmocka_unit_test(test_launch_waits_behind_a_host_function),
        cmocka_unit_test(test_launch_write_value),
        cmocka_unit_test(test_launch_write_value_outside_or_misaligned),
        cmocka_unit_test(test_launch_tensor_map),
        cmocka_unit_test(test_launch_tensor_of_wrong_rank_ends_the_channel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
