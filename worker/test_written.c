/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mirrored channels: what copies wrote to the data area is told before anything that could reveal
 * that they are done. Driven round by round on the driver double.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define STREAM(n) VGPU_HANDLE(CUDA_KIND_STREAM, 1, n)
#define EVENT(n)  VGPU_HANDLE(CUDA_KIND_EVENT, 1, n)

static uint64_t memory;

static struct client *open_with(const struct client_options *options)
{
    struct client *client;

    test_driver_reset();
    client = client_open(options);
    memory = client_alloc(client, 1u << 20);
    assert_true(memory != 0);
    for (uint32_t i = 0; i < 2; i++) {
        client_stream(client, STREAM(i));
        client_event(client, EVENT(i));
    }
    client_run(client);
    test_driver_hold();
    return client;
}

static struct client *open_client(void)
{
    const struct client_options options = {.mirrored = true};

    return open_with(&options);
}

static void close_client(struct client *client)
{
    assert_false(client->channel->ended);
    test_driver_release();
    client_close(client);
}

static uint64_t fetch(struct client *client, uint64_t offset, uint64_t bytes, uint32_t stream)
{
    return client_copy(client, 0, client_data(offset), client_device(memory), bytes, stream);
}

/* Replies are kept latest first: how many came behind the one that tells of record `seq`. -1: none
 * tells of it. */
static int place_of(struct client *client, uint16_t kind, uint64_t seq)
{
    int place = 0;

    for (const struct client_reply *reply = client->replies; reply; reply = reply->next, place++)
        if (reply->kind == kind && reply->seq == seq)
            return place;
    return -1;
}

static unsigned told(const struct client *client)
{
    unsigned count = 0;

    for (const struct client_reply *reply = client->replies; reply; reply = reply->next)
        count += reply->kind == VGPU_COMPLETION_WRITTEN;
    return count;
}

static struct vgpu_written what_of(struct client *client, uint64_t seq)
{
    for (const struct client_reply *reply = client->replies; reply; reply = reply->next) {
        struct vgpu_written what;

        if (reply->kind != VGPU_COMPLETION_WRITTEN || reply->seq != seq)
            continue;
        assert_int_equal(reply->size, sizeof(struct vgpu_completion) + sizeof(what));
        memcpy(&what, reply->bytes + sizeof(struct vgpu_completion), sizeof(what));
        return what;
    }
    fail_msg("nothing tells of that copy");
    return (struct vgpu_written){0};
}

/* The copy is not told before it is done, and then before this. */
static void expect_before(struct client *client, uint64_t copy, uint16_t kind, uint64_t seq)
{
    client_run(client);
    assert_int_equal(place_of(client, VGPU_COMPLETION_WRITTEN, copy), -1);
    assert_int_equal(place_of(client, kind, seq), -1);
    test_driver_step(1);
    if (kind == VGPU_COMPLETION_REPLY)
        client_await(client, seq);
    client_run(client);
    assert_true(place_of(client, kind, seq) >= 0);
    assert_true(place_of(client, VGPU_COMPLETION_WRITTEN, copy) > place_of(client, kind, seq));
}

static void test_written_before_stream_sync(void **state)
{
    struct client *client = open_client();
    uint64_t copy = fetch(client, 64, 4096, STREAM(0));

    expect_before(client, copy, VGPU_COMPLETION_REPLY, client_sync_stream(client, STREAM(0)));
    assert_int_equal(what_of(client, copy).offset, 64);
    assert_int_equal(what_of(client, copy).row_bytes, 4096);
    assert_int_equal(what_of(client, copy).rows, 1);
    assert_int_equal(what_of(client, copy).slices, 1);
    assert_int_equal(told(client), 1);
    close_client(client);
}

static void test_written_before_context_sync(void **state)
{
    struct client *client = open_client();
    uint64_t copy = fetch(client, 0, 8, STREAM(1));

    expect_before(client, copy, VGPU_COMPLETION_REPLY, client_sync_context(client));
    close_client(client);
}

static void test_written_before_event_sync(void **state)
{
    struct client *client = open_client();
    uint64_t copy = fetch(client, 0, 8, STREAM(0));
    struct cuda_op_event_sync op = {.event = EVENT(0)};

    client_record(client, EVENT(0), STREAM(0));
    expect_before(client, copy, VGPU_COMPLETION_REPLY,
                  client_send(client, CUDA_OP_EVENT_SYNC, VGPU_RECORD_WAIT, &op, sizeof(op)));
    close_client(client);
}

static void test_written_before_own_answer(void **state)
{
    struct client *client = open_client();
    uint64_t copy =
        client_copy(client, VGPU_RECORD_WAIT, client_data(0), client_device(memory), 8, STREAM(0));

    expect_before(client, copy, VGPU_COMPLETION_REPLY, copy);
    close_client(client);
}

static void test_written_before_callback(void **state)
{
    struct client *client = open_client();
    uint64_t copy = fetch(client, 0, 8, STREAM(0));
    struct cuda_op_host_function op = {.stream = STREAM(0), .token = 77};

    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &op, sizeof(op));
    expect_before(client, copy, VGPU_COMPLETION_CALLBACK, 77);
    close_client(client);
}

/* The query's answer is made in the same round that sees the copy done. */
static void test_written_before_event_query(void **state)
{
    struct client *client = open_client();
    struct cuda_op_event_query op = {.event = EVENT(0)};
    uint64_t copy = fetch(client, 0, 8, STREAM(0));
    uint64_t query;

    client_record(client, EVENT(0), STREAM(0));
    assert_int_equal(client_call(client, CUDA_OP_EVENT_QUERY, &op, sizeof(op)),
                     CUDA_ERROR_NOT_READY);
    assert_int_equal(told(client), 0);
    test_driver_step(1);
    query = client_send(client, CUDA_OP_EVENT_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await(client, query)->result, CUDA_SUCCESS);
    assert_true(place_of(client, VGPU_COMPLETION_WRITTEN, copy) >
                place_of(client, VGPU_COMPLETION_REPLY, query));
    close_client(client);
}

/* One that is not done holds up neither those of other streams nor what they reveal. */
static void test_written_streams_are_apart(void **state)
{
    struct client *client = open_client();
    uint64_t first = fetch(client, 0, 8, STREAM(0));
    uint64_t slow = fetch(client, 8, 8, STREAM(0));
    uint64_t sync;

    client_run(client);
    test_driver_step(1);
    sync = client_sync_stream(client, STREAM(1));
    client_await(client, sync);
    assert_true(place_of(client, VGPU_COMPLETION_WRITTEN, first) >= 0);
    assert_int_equal(place_of(client, VGPU_COMPLETION_WRITTEN, slow), -1);
    close_client(client);
}

static void test_written_strided(void **state)
{
    struct client *client = open_client();
    struct cuda_op_copy_3d op = {.target = client_data(100),
                                 .source = client_device(memory),
                                 .target_pitch = 48,
                                 .source_pitch = 64,
                                 .target_slice_rows = 7,
                                 .source_slice_rows = 8,
                                 .width_bytes = 33,
                                 .height = 5,
                                 .depth = 3};
    const struct vgpu_written expected = {.offset = 100,
                                          .row_bytes = 33,
                                          .pitch_bytes = 48,
                                          .slice_pitch_bytes = 48 * 7,
                                          .rows = 5,
                                          .slices = 3};
    struct vgpu_written what;
    uint64_t copy;

    test_driver_release();
    copy = client_send(client, CUDA_OP_COPY_3D, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_await(client, copy);
    what = what_of(client, copy);
    assert_memory_equal(&what, &expected, sizeof(what));
    close_client(client);
}

/* A copy that is cut is told once, when it is whole. */
static void test_written_once_when_cut(void **state)
{
    const struct client_options options = {.mirrored = true, .data_bytes = 96u << 20};
    struct client *client = open_with(&options);
    uint64_t bytes = 2ull * WORKER_CHUNK_BYTES;
    uint64_t copy;

    memory = client_alloc(client, bytes);
    copy = fetch(client, WORKER_CHUNK_BYTES, bytes, STREAM(0));
    for (int i = 0; i < 2; i++) {
        client_run(client);
        assert_int_equal(told(client), 0);
        test_driver_step(1);
    }
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(what_of(client, copy).row_bytes, bytes);
    assert_int_equal(told(client), 1);
    close_client(client);
}

/* Nothing asks: they are told as they finish. */
static void test_written_without_a_question(void **state)
{
    struct client *client = open_client();

    fetch(client, 0, 8, STREAM(0));
    client_run(client);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(told(client), 1);
    close_client(client);
}

static void post_and_run(struct client *client, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fetch(client, 8 * (i % 64), 8, STREAM(0));
        if (i % 64 == 63)
            client_run(client);
    }
    client_run(client);
}

/* A guest that takes no completions: what is to be told does not pile up, and is not lost. */
static void test_written_limit(void **state)
{
    const struct client_options options = {.mirrored = true, .comp_granules = 4};
    struct client *client = open_with(&options);
    uint32_t before;

    test_driver_release();
    client->drains = false;
    /* Two fit in the ring. */
    post_and_run(client, 2 + WORKER_MAX_WRITTEN);
    assert_int_equal(client->channel->replies.written, WORKER_MAX_WRITTEN);
    before = (uint32_t)test_driver_journal_count();
    fetch(client, 0, 8, STREAM(0));
    client_run(client);
    assert_int_equal(test_driver_journal_count(), before);
    assert_int_equal(client->channel->replies.written, WORKER_MAX_WRITTEN);
    client->drains = true;
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(told(client), 2 + WORKER_MAX_WRITTEN + 1);
    close_client(client);
}

static void test_written_not_of_a_failed_copy(void **state)
{
    struct client *client = open_client();

    fetch(client, 0, 8, STREAM(0));
    client_run(client);
    test_driver_break(CUDA_ERROR_ILLEGAL_ADDRESS);
    test_driver_step(1);
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(told(client), 0);
    assert_int_equal(client->channel->written.count, 0);
    close_client(client);
}

static void test_written_not_of_a_refused_copy(void **state)
{
    struct client *client = open_client();

    test_driver_refuse(CUDA_ERROR_INVALID_VALUE);
    fetch(client, 0, 8, STREAM(0));
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(told(client), 0);
    close_client(client);
}

static void test_written_before_reset_is_answered(void **state)
{
    struct client *client = open_client();
    struct cuda_op_context_reset op = {.context = CLIENT_CONTEXT};
    uint64_t copy = fetch(client, 0, 8, STREAM(0));

    expect_before(client, copy, VGPU_COMPLETION_REPLY,
                  client_send(client, CUDA_OP_CONTEXT_RESET, VGPU_RECORD_WAIT, &op, sizeof(op)));
    close_client(client);
}

static void test_written_not_to_the_device(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    client_copy(client, 0, client_device(memory), client_data(0), 8, STREAM(0));
    client_copy(client, 0, client_device(memory), client_device(memory + 64), 8, STREAM(0));
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(told(client), 0);
    close_client(client);
}

static void test_written_not_in_other_channels(void **state)
{
    const struct client_options options = {0};
    struct client *client = open_with(&options);

    test_driver_release();
    fetch(client, 0, 8, STREAM(0));
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_int_equal(told(client), 0);
    close_client(client);
}

static CUresult register_area(struct client *client, uint32_t flags, uint64_t *ret_address)
{
    struct cuda_op_host_register op = {.area = {.offset = 0, .bytes = 4096}, .flags = flags};
    uint64_t seq = client_send(client, CUDA_OP_HOST_REGISTER, VGPU_RECORD_WAIT, &op, sizeof(op));
    const struct client_reply *reply = client_await(client, seq);
    struct cuda_re_host_register answer = {.address = 1};

    if (reply->result == CUDA_SUCCESS)
        memcpy(&answer, reply->bytes, sizeof(answer));
    *ret_address = answer.address;
    return (CUresult)reply->result;
}

static void test_written_register_maps_nothing(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_unregister op = {.area = {.offset = 0, .bytes = 4096}};
    uint64_t address;

    test_driver_release();
    assert_int_equal(register_area(client, CU_MEMHOSTREGISTER_DEVICEMAP, &address),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(register_area(client, CU_MEMHOSTREGISTER_PORTABLE, &address), CUDA_SUCCESS);
    assert_int_equal(address, 0);
    assert_int_equal(client_call(client, CUDA_OP_HOST_UNREGISTER, &op, sizeof(op)), CUDA_SUCCESS);
    close_client(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_before_stream_sync),
        cmocka_unit_test(test_written_before_context_sync),
        cmocka_unit_test(test_written_before_event_sync),
        cmocka_unit_test(test_written_before_own_answer),
        cmocka_unit_test(test_written_before_callback),
        cmocka_unit_test(test_written_before_event_query),
        cmocka_unit_test(test_written_streams_are_apart),
        cmocka_unit_test(test_written_strided),
        cmocka_unit_test(test_written_once_when_cut),
        cmocka_unit_test(test_written_without_a_question),
        cmocka_unit_test(test_written_limit),
        cmocka_unit_test(test_written_not_of_a_failed_copy),
        cmocka_unit_test(test_written_not_of_a_refused_copy),
        cmocka_unit_test(test_written_before_reset_is_answered),
        cmocka_unit_test(test_written_not_to_the_device),
        cmocka_unit_test(test_written_not_in_other_channels),
        cmocka_unit_test(test_written_register_maps_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
