/* SPDX-License-Identifier: Apache-2.0 */
/* Malformed records of every op: the channel ends with BAD_RECORD, and says which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/consumer.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

/* Each op with its fixed size; test_malformed_table compares with the generated rows. */
#define OPS(X)                                                                                     \
    X(DEVICE_INFO, device_info)                                                                    \
    X(THREAD_EXIT, thread_exit)                                                                    \
    X(PROCESS, process)                                                                            \
    X(JOB_VECTOR_ADD, job_vector_add)                                                              \
    X(CONTEXT_RETAIN, context_retain)                                                              \
    X(CONTEXT_RELEASE, context_release)                                                            \
    X(CONTEXT_CREATE, context_create)                                                              \
    X(CONTEXT_DESTROY, context_destroy)                                                            \
    X(CONTEXT_RESET, context_reset)                                                                \
    X(CONTEXT_SYNC, context_sync)                                                                  \
    X(CONTEXT_SET_LIMIT, context_set_limit)                                                        \
    X(CONTEXT_GET_LIMIT, context_get_limit)                                                        \
    X(CONTEXT_SET_CACHE_CONFIG, context_set_cache_config)                                          \
    X(MODULE_LOAD, module_load)                                                                    \
    X(MODULE_UNLOAD, module_unload)                                                                \
    X(MODULE_GET_FUNCTION, module_get_function)                                                    \
    X(MODULE_GET_GLOBAL, module_get_global)                                                        \
    X(MODULE_FUNCTIONS, module_functions)                                                          \
    X(LINK_CREATE, link_create)                                                                    \
    X(LINK_ADD, link_add)                                                                          \
    X(LINK_COMPLETE, link_complete)                                                                \
    X(LINK_IMAGE, link_image)                                                                      \
    X(LINK_DESTROY, link_destroy)                                                                  \
    X(FUNCTION_SET_ATTRIBUTE, function_set_attribute)                                              \
    X(FUNCTION_SET_CACHE_CONFIG, function_set_cache_config)                                        \
    X(OCCUPANCY_BLOCKS, occupancy_blocks)                                                          \
    X(OCCUPANCY_CLUSTERS, occupancy_clusters)                                                      \
    X(OCCUPANCY_SHARED, occupancy_shared)                                                          \
    X(TENSOR_MAP_ENCODE, tensor_map_encode)                                                        \
    X(TENSOR_MAP_REPLACE, tensor_map_replace)                                                      \
    X(MEMORY_ALLOC, memory_alloc)                                                                  \
    X(MEMORY_ALLOC_PITCH, memory_alloc_pitch)                                                      \
    X(MEMORY_FREE, memory_free)                                                                    \
    X(MEMORY_INFO, memory_info)                                                                    \
    X(HOST_REGISTER, host_register)                                                                \
    X(HOST_UNREGISTER, host_unregister)                                                            \
    X(COPY, copy)                                                                                  \
    X(COPY_3D, copy_3d)                                                                            \
    X(FILL, fill)                                                                                  \
    X(UPLOAD, upload)                                                                              \
    X(DATA_AREA, data_area)                                                                        \
    X(POOL_ALLOC, pool_alloc)                                                                      \
    X(POOL_FREE, pool_free)                                                                        \
    X(POOL_CREATE, pool_create)                                                                    \
    X(POOL_DESTROY, pool_destroy)                                                                  \
    X(POOL_SET_ATTRIBUTE, pool_set_attribute)                                                      \
    X(POOL_GET_ATTRIBUTE, pool_get_attribute)                                                      \
    X(POOL_TRIM, pool_trim)                                                                        \
    X(MEMORY_GRANULARITY, memory_granularity)                                                      \
    X(MEMORY_CREATE, memory_create)                                                                \
    X(MEMORY_RELEASE, memory_release)                                                              \
    X(ADDRESS_RESERVE, address_reserve)                                                            \
    X(ADDRESS_FREE, address_free)                                                                  \
    X(MEMORY_MAP, memory_map)                                                                      \
    X(MEMORY_UNMAP, memory_unmap)                                                                  \
    X(MEMORY_SET_ACCESS, memory_set_access)                                                        \
    X(STREAM_CREATE, stream_create)                                                                \
    X(STREAM_DESTROY, stream_destroy)                                                              \
    X(STREAM_WAIT_EVENT, stream_wait_event)                                                        \
    X(STREAM_QUERY, stream_query)                                                                  \
    X(STREAM_SYNC, stream_sync)                                                                    \
    X(HOST_FUNCTION, host_function)                                                                \
    X(HOST_FUNCTION_DONE, host_function_done)                                                      \
    X(STREAM_SET_ATTRIBUTE, stream_set_attribute)                                                  \
    X(STREAM_WRITE_VALUE, stream_write_value)                                                      \
    X(EVENT_CREATE, event_create)                                                                  \
    X(EVENT_DESTROY, event_destroy)                                                                \
    X(EVENT_RECORD, event_record)                                                                  \
    X(EVENT_QUERY, event_query)                                                                    \
    X(EVENT_SYNC, event_sync)                                                                      \
    X(EVENT_ELAPSED, event_elapsed)                                                                \
    X(LAUNCH, launch)                                                                              \
    X(LAUNCH_EX, launch_ex)                                                                        \
    X(GRAPH_CREATE, graph_create)                                                                  \
    X(GRAPH_DESTROY, graph_destroy)                                                                \
    X(GRAPH_LAUNCH, graph_launch)                                                                  \
    X(GRAPH_SET_NODE, graph_set_node)

static const struct {
    uint16_t code;
    uint32_t size;
    const char *name;
} ops[] = {
#define OP(upper, lower) {CUDA_OP_##upper, sizeof(struct cuda_op_##lower), #lower},
    OPS(OP)
#undef OP
};
#define OPS_COUNT (sizeof(ops) / sizeof(ops[0]))

static const struct cuda_op_row *row_of(uint16_t code)
{
    for (size_t i = 0; i < cuda_op_rows_count; i++)
        if (cuda_op_rows[i].code == code)
            return &cuda_op_rows[i];
    abort();
}

static void test_malformed_table(void **state)
{
    assert_int_equal(OPS_COUNT, cuda_op_rows_count);
    for (size_t i = 0; i < OPS_COUNT; i++)
        assert_string_equal(row_of(ops[i].code)->name, ops[i].name);
}

/* A record of zeros with the head that its op wants. */
static struct vgpu_record head_for(const struct client *client, size_t op)
{
    const struct cuda_op_row *row = row_of(ops[op].code);

    return (struct vgpu_record){.size_bytes = ops[op].size,
                                .op = ops[op].code,
                                .flags = row->flags & CUDA_OPF_WAIT ? VGPU_RECORD_WAIT : 0,
                                .seq = client->seq + 1,
                                .thread = 1,
                                .context = client->context};
}

static struct client *open_client(void)
{
    const struct client_options options = {.sub_granules = 256, .data_bytes = 65536};

    test_driver_reset();
    return client_open(&options);
}

static void expect_end(struct client *client, const struct vgpu_record *head)
{
    _Alignas(8) uint8_t record[1024] = {0};

    memcpy(record, head, sizeof(*head));
    client_send_raw(client, record, head->size_bytes);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    assert_true(strlen(client->channel->end_text) > 0);
    client_close(client);
}

#define FOR_EACH_OP(index) for (size_t index = 0; index < OPS_COUNT; index++)

static void test_malformed_too_short(void **state)
{
    FOR_EACH_OP(op)
    {
        struct client *client = open_client();
        struct vgpu_record head = head_for(client, op);

        head.size_bytes -= 8;
        expect_end(client, &head);
    }
}

static bool takes_blobs(uint16_t code)
{
    switch (code) {
    case CUDA_OP_JOB_VECTOR_ADD:
    case CUDA_OP_MODULE_LOAD:
    case CUDA_OP_MODULE_GET_FUNCTION:
    case CUDA_OP_MODULE_GET_GLOBAL:
    case CUDA_OP_LINK_CREATE:
    case CUDA_OP_LINK_ADD:
    case CUDA_OP_UPLOAD:
    case CUDA_OP_LAUNCH:
    case CUDA_OP_LAUNCH_EX:
    case CUDA_OP_OCCUPANCY_CLUSTERS:
    case CUDA_OP_TENSOR_MAP_ENCODE:
    case CUDA_OP_TENSOR_MAP_REPLACE:
    case CUDA_OP_GRAPH_CREATE:
    case CUDA_OP_GRAPH_SET_NODE:
        return true;
    default:
        return false;
    }
}

static void test_malformed_too_long(void **state)
{
    FOR_EACH_OP(op)
    {
        struct client *client;
        struct vgpu_record head;

        if (takes_blobs(ops[op].code))
            continue;
        client = open_client();
        head = head_for(client, op);
        head.size_bytes += 8;
        expect_end(client, &head);
    }
}

static void test_malformed_flags(void **state)
{
    FOR_EACH_OP(op)
    {
        struct client *client = open_client();
        struct vgpu_record head = head_for(client, op);

        head.flags |= 0x8000;
        expect_end(client, &head);
    }
}

static void test_malformed_wait(void **state)
{
    FOR_EACH_OP(op)
    {
        const struct cuda_op_row *row = row_of(ops[op].code);
        struct client *client;
        struct vgpu_record head;

        if (row->flags & CUDA_OPF_EITHER)
            continue;
        client = open_client();
        head = head_for(client, op);
        head.flags ^= VGPU_RECORD_WAIT;
        expect_end(client, &head);
    }
}

static void test_malformed_explicit(void **state)
{
    FOR_EACH_OP(op)
    {
        struct client *client;
        struct vgpu_record head;

        if ((row_of(ops[op].code)->flags & CUDA_OPF_JOB) &&
            (row_of(ops[op].code)->flags & CUDA_OPF_POST) == 0)
            continue;
        client = open_client();
        head = head_for(client, op);
        head.flags |= VGPU_RECORD_EXPLICIT;
        expect_end(client, &head);
    }
}

static void test_malformed_head(void **state)
{
    FOR_EACH_OP(op)
    {
        for (int fault = 0; fault < 4; fault++) {
            struct client *client = open_client();
            struct vgpu_record head = head_for(client, op);

            if (fault == 0)
                head.thread = 0;
            else if (fault == 1)
                head.reserved = 1;
            else
                head.seq += fault == 2 ? 1 : UINT64_MAX;
            expect_end(client, &head);
        }
    }
}

/* One field at a time: 0xff bytes in each eighth of a record; it answers or ends, and never more.
 */
static void test_malformed_fields(void **state)
{
    FOR_EACH_OP(op)
    {
        for (uint32_t at = sizeof(struct vgpu_record); at < ops[op].size; at += 4) {
            _Alignas(8) uint8_t record[1024] = {0};
            struct client *client = open_client();
            struct vgpu_record head = head_for(client, op);

            memset(record + at, 0xff, 4);
            memcpy(record, &head, sizeof(head));
            client_send_raw(client, record, head.size_bytes);
            client_run(client);
            if (client->channel->ended)
                assert_int_equal(client->channel->end_status, VGPU_BAD_RECORD);
            client_close(client);
        }
    }
}

static void send_size(struct client *client, uint32_t size_bytes)
{
    _Alignas(8) uint8_t record[64] = {0};
    struct vgpu_record head = head_for(client, 0);
    void *entry;

    head.size_bytes = size_bytes;
    memcpy(record, &head, sizeof(head));
    assert_int_equal(ring_reserve(&client->submission, 64, &entry), 0);
    memcpy(entry, record, 64);
    ring_publish(&client->submission);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_malformed_sizes(void **state)
{
    static const uint32_t sizes[] = {
        0, 4, 7, 8, 24, 31, 33, 72, VGPU_RECORD_MAX_BYTES + 8, UINT32_MAX, UINT32_MAX - 7};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        send_size(open_client(), sizes[i]);
}

static void test_malformed_ring_index(void **state)
{
    struct client *client = open_client();

    __atomic_store_n(&client->page->submission.producer.head, 100000, __ATOMIC_RELEASE);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_malformed_completion_index(void **state)
{
    struct client *client = open_client();

    client->drains = false;
    __atomic_store_n(&client->page->completion.consumer.tail, 100000, __ATOMIC_RELEASE);
    /* The worker looks at the index when it needs room. */
    for (uint32_t i = 0; i <= client->geometry.comp_granules && !client->channel->ended; i++) {
        client_sync_context(client);
        client_run(client);
    }
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_malformed_handle_taken(void **state)
{
    struct client *client = open_client();

    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 1, 5));
    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 2, 5));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_malformed_handle_over_maximum(void **state)
{
    struct client *client = open_client();

    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 1, CUDA_MAX_STREAMS - 1));
    client_run(client);
    assert_false(client->channel->ended);
    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 1, CUDA_MAX_STREAMS));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

/* place: VGPU_BLOB_*; the blob of a launch's parameters. */
static bool launch_ends(uint64_t offset, uint32_t size, uint32_t place)
{
    struct client *client = open_client();
    struct cuda_op_launch op = {.params = {.offset = offset, .size_bytes = size, .place = place}};
    bool ended;

    client_send(client, CUDA_OP_LAUNCH, 0, &op, sizeof(op));
    client_run(client);
    ended = client->channel->ended;
    client_close(client);
    return ended;
}

static void test_malformed_blobs(void **state)
{
    const uint32_t fixed = sizeof(struct cuda_op_launch);

    assert_false(launch_ends(fixed, 0, VGPU_BLOB_INLINE));
    assert_true(launch_ends(fixed, 8, VGPU_BLOB_INLINE));      /* behind the record */
    assert_true(launch_ends(8, 8, VGPU_BLOB_INLINE));          /* in the fixed part */
    assert_true(launch_ends(fixed - 4, 4, VGPU_BLOB_INLINE));  /* misaligned, in the fixed part */
    assert_true(launch_ends(UINT64_MAX, 8, VGPU_BLOB_INLINE)); /* wraps */
    assert_false(launch_ends(65536 - 8, 8, VGPU_BLOB_DATA));
    assert_true(launch_ends(65536 - 8, 9, VGPU_BLOB_DATA)); /* behind the data area */
    assert_true(launch_ends(UINT64_MAX - 3, 8, VGPU_BLOB_DATA));
    assert_true(launch_ends(0, 8, 2)); /* no such place */
    assert_false(launch_ends(0, 32764, VGPU_BLOB_DATA));
    assert_true(launch_ends(0, 32765, VGPU_BLOB_DATA)); /* maximum + 1 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_table),
        cmocka_unit_test(test_malformed_too_short),
        cmocka_unit_test(test_malformed_too_long),
        cmocka_unit_test(test_malformed_flags),
        cmocka_unit_test(test_malformed_wait),
        cmocka_unit_test(test_malformed_explicit),
        cmocka_unit_test(test_malformed_head),
        cmocka_unit_test(test_malformed_fields),
        cmocka_unit_test(test_malformed_sizes),
        cmocka_unit_test(test_malformed_ring_index),
        cmocka_unit_test(test_malformed_completion_index),
        cmocka_unit_test(test_malformed_handle_taken),
        cmocka_unit_test(test_malformed_handle_over_maximum),
        cmocka_unit_test(test_malformed_blobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
