/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits, the turn, host functions: driven round by round on the driver double, whose streams go
 * only as far as each test lets them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_driver.h"
#include "worker/test_steps.h"

static void test_order_waits_are_answered_out_of_order(void **state)
{
    struct client *client = open_client();
    uint64_t slow, fast;

    client_launch(client, KERNEL(0), STREAM(0));
    client_launch(client, KERNEL(1), STREAM(1));
    slow = client_sync_stream(client, STREAM(1));
    fast = client_sync_stream(client, STREAM(0));
    assert_false(answered(client, slow));
    test_driver_step(1);
    assert_true(answered(client, fast));
    assert_false(answered(client, slow));
    test_driver_step(1);
    assert_true(answered(client, slow));
    close_client(client);
}

static void test_order_stream_sync_waits_for_earlier_only(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    sync = client_sync_stream(client, STREAM(0));
    client_launch(client, KERNEL(1), STREAM(0));
    client_run(client);
    test_driver_step(1);
    assert_true(answered(client, sync));
    close_client(client);
}

static void test_order_context_sync_waits_for_all_streams(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    client_launch(client, KERNEL(1), VGPU_STREAM_DEFAULT);
    client_launch(client, KERNEL(2), VGPU_STREAM_PER_THREAD);
    sync = client_sync_context(client);
    client_run(client);
    for (int i = 0; i < 2; i++) {
        test_driver_step(1);
        assert_false(answered(client, sync));
    }
    test_driver_step(1);
    assert_true(answered(client, sync));
    close_client(client);
}

/* Thread 1 waits for an event that only thread 2's submission lets come. */
static void test_order_wait_for_another_threads_record(void **state)
{
    struct client *client = open_client();
    uint64_t sync, query;

    client_launch(client, KERNEL(0), STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    sync = event_sync(client, EVENT(0));
    assert_false(answered(client, sync));
    client->thread = 2;
    client_launch(client, KERNEL(1), STREAM(1));
    query = stream_query(client, STREAM(1));
    assert_true(answered(client, query));
    assert_int_equal(client_reply(client, query)->result, CUDA_ERROR_NOT_READY);
    assert_false(answered(client, sync));
    test_driver_step(2);
    assert_true(answered(client, sync));
    close_client(client);
}

/* A call that blocks in the driver does not stop another thread's submission. */
static void test_order_free_blocks_nobody(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    struct cuda_op_memory_free op = {.address = address};
    uint64_t freed, query;

    test_driver_block_free(true);
    client_launch(client, KERNEL(0), STREAM(0));
    freed = client_send(client, CUDA_OP_MEMORY_FREE, VGPU_RECORD_WAIT, &op, sizeof(op));
    client->thread = 2;
    client_launch(client, KERNEL(1), STREAM(1));
    query = stream_query(client, STREAM(1));
    assert_true(answered(client, query));
    test_driver_step(1);
    client_launch(client, KERNEL(2), STREAM(2));
    query = stream_query(client, STREAM(2));
    assert_true(answered(client, query));
    assert_false(answered(client, freed));
    test_driver_block_free(false);
    assert_int_equal(client_await(client, freed)->result, CUDA_SUCCESS);
    assert_int_equal(test_driver_count("k2"), 1);
    close_client(client);
}

static void test_order_event_sync_keeps_its_record(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    sync = event_sync(client, EVENT(0));
    client_launch(client, KERNEL(1), STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    assert_true(answered(client, sync));
    close_client(client);
}

static void test_order_event_destroyed_while_waited_for(void **state)
{
    struct client *client = open_client();
    struct cuda_op_event_destroy op = {.event = EVENT(0)};
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    sync = event_sync(client, EVENT(0));
    client_send(client, CUDA_OP_EVENT_DESTROY, 0, &op, sizeof(op));
    assert_false(answered(client, sync));
    test_driver_step(1);
    assert_true(answered(client, sync));
    close_client(client);
}

static void test_order_stream_destroyed_while_busy(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_destroy op = {.stream = STREAM(0)};
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    sync = client_sync_stream(client, STREAM(0));
    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &op, sizeof(op));
    assert_false(answered(client, sync));
    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 2, 0));
    test_driver_step(1);
    assert_true(answered(client, sync));
    assert_int_equal(client->report->jobs_done, 1);
    close_client(client);
}

static void test_order_stale_handle_is_an_error(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_destroy op = {.stream = STREAM(0)};
    uint64_t query;

    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &op, sizeof(op));
    client_stream(client, VGPU_HANDLE(CUDA_KIND_STREAM, 2, 0));
    query = stream_query(client, STREAM(0));
    assert_int_equal(client_await(client, query)->result, CUDA_ERROR_INVALID_HANDLE);
    query = stream_query(client, VGPU_HANDLE(CUDA_KIND_STREAM, 2, 0));
    assert_int_equal(client_await(client, query)->result, CUDA_SUCCESS);
    close_client(client);
}

static void test_order_jobs_wait_for_the_turn(void **state)
{
    struct client *client = open_client();

    client_revoke(client);
    client_run(client);
    assert_int_equal(client->report->turn_done, client->lease->turn);
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    assert_int_equal(test_driver_count("k0"), 0);
    assert_int_equal(client->report->need, VGPU_NEED_GPU);
    client_grant(client);
    client_run(client);
    assert_int_equal(test_driver_count("k0"), 1);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(client->report->need, VGPU_NEED_NOTHING);
    close_client(client);
}

static void test_order_revoke_drains(void **state)
{
    struct client *client = open_client();
    uint64_t turn = client->lease->turn;

    client_launch(client, KERNEL(0), STREAM(0));
    client_launch(client, KERNEL(1), STREAM(1));
    client_run(client);
    client_revoke(client);
    client_launch(client, KERNEL(2), STREAM(2));
    client_run(client);
    assert_int_equal(test_driver_count("k2"), 0);
    assert_int_equal(client->report->turn_done, turn);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(client->report->turn_done, turn);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(client->report->turn_done, client->lease->turn);
    assert_int_equal(client->report->need, VGPU_NEED_GPU);
    close_client(client);
}

/* Without the turn, what is no job goes on, in order: it waits behind jobs only. */
static void test_order_calls_behind_a_job_wait(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_info op = {0};
    uint64_t before, behind;

    client_revoke(client);
    before = client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_launch(client, KERNEL(0), STREAM(0));
    behind = client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_true(answered(client, before));
    assert_false(answered(client, behind));
    client_grant(client);
    assert_true(answered(client, behind));
    close_client(client);
}

static void test_order_in_flight_is_capped_while_contended(void **state)
{
    struct client *client = open_contended(2);

    for (int i = 0; i < 8; i++)
        client_copy(client, 0, client_data(0), client_data(64), 4, STREAM(0));
    client_run(client);
    assert_int_equal(test_driver_count("copy"), 2);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(test_driver_count("copy"), 3);
    close_client(client);
}

static void test_order_unmeasured_kernels_run_alone_while_contended(void **state)
{
    struct client *client = open_client();

    client->lease->contended = 1;
    client_launch(client, KERNEL(0), STREAM(0));
    client_launch(client, KERNEL(1), STREAM(1));
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 1);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 2);
    close_client(client);
}

static void test_order_need_falls_with_a_kick_when_contended(void **state)
{
    struct client *client = open_client();
    uint64_t kicks;

    client_run(client);
    (void)!read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks));
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    assert_int_equal(client->report->need, VGPU_NEED_GPU);
    client->lease->contended = 1;
    test_driver_step(1);
    client_run(client);
    assert_int_equal(client->report->need, VGPU_NEED_NOTHING);
    assert_int_equal(read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks)), 8);
    close_client(client);
}

/* Contended is set only after the need fell: the kick comes with the next look. */
static void test_order_need_is_told_when_contention_comes_late(void **state)
{
    struct client *client = open_client();
    uint64_t kicks;

    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    client_run(client);
    (void)!read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks));
    client->lease->contended = 1;
    client_kick_lease(client);
    client_run(client);
    assert_int_equal(read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks)), 8);
    close_client(client);
}

static void test_order_need_rises_with_a_kick_without_the_turn(void **state)
{
    struct client *client = open_client();
    uint64_t kicks;

    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    client_revoke(client);
    client_run(client);
    (void)!read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks));
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    assert_int_equal(read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks)), 8);
    close_client(client);
}

static void test_order_host_function_holds_its_stream(void **state)
{
    struct client *client = open_client();
    uint64_t sync, other;

    client_launch(client, KERNEL(0), STREAM(0));
    host_function(client, STREAM(0), 7);
    client_launch(client, KERNEL(1), STREAM(0));
    sync = client_sync_stream(client, STREAM(0));
    client_launch(client, KERNEL(2), STREAM(1));
    other = client_sync_stream(client, STREAM(1));
    assert_false(called_back(client, 7));
    test_driver_step(2);
    assert_true(called_back(client, 7));
    assert_true(answered(client, other));
    assert_false(answered(client, sync));
    assert_int_equal(test_driver_count("k1"), 0);
    host_function_done(client, 7);
    client_run(client);
    assert_int_equal(test_driver_count("k1"), 1);
    test_driver_step(1);
    assert_true(answered(client, sync));
    close_client(client);
}

/* Bytes that a record carries are a copy of the stream like any other. */
static void test_order_host_function_holds_uploads(void **state)
{
    struct client *client = open_client();
    _Alignas(8) uint8_t record[sizeof(struct cuda_op_upload) + 64] = {0};
    struct cuda_op_upload *op = (void *)record;
    size_t copies, size = sizeof(*op);

    op->target = client_alloc(client, 8);
    op->stream = STREAM(0);
    op->data = client_blob(op, &size, "1234567", 8);
    copies = test_driver_count("copy");
    host_function(client, STREAM(0), 7);
    client_send(client, CUDA_OP_UPLOAD, 0, op, size);
    assert_true(called_back(client, 7));
    assert_int_equal(test_driver_count("copy"), copies);
    host_function_done(client, 7);
    client_run(client);
    assert_int_equal(test_driver_count("copy"), copies + 1);
    close_client(client);
}

/* Behind a gate: what ends something, then work that names it; without the turn for the work. */
static void end_before_held_work(struct client *client, uint16_t op, void *record, size_t size,
                                 uint16_t flags, uint32_t stream)
{
    host_function(client, stream, 7);
    assert_true(called_back(client, 7));
    client_send(client, op, flags, record, size);
    client_launch(client, KERNEL(1), stream);
    client_launch(client, KERNEL(1), stream);
    client_run(client);
    client_revoke(client);
    client_run(client);
    host_function_done(client, 7);
    client_run(client);
    client_run(client);
    client_grant(client);
    client_run(client);
    assert_int_equal(test_driver_count("k1"), 0);
    close_client(client);
}

static void test_order_held_work_outlives_no_thread(void **state)
{
    struct cuda_op_thread_exit op = {0};

    end_before_held_work(open_client(), CUDA_OP_THREAD_EXIT, &op, sizeof(op), 0,
                         VGPU_STREAM_PER_THREAD);
}

static void test_order_held_work_outlives_no_context(void **state)
{
    struct cuda_op_context_release op = {.context = CLIENT_CONTEXT};

    end_before_held_work(open_client(), CUDA_OP_CONTEXT_RELEASE, &op, sizeof(op), VGPU_RECORD_WAIT,
                         STREAM(0));
}

static void test_order_held_work_outlives_no_module(void **state)
{
    struct cuda_op_module_unload op = {.module = MODULE};

    end_before_held_work(open_client(), CUDA_OP_MODULE_UNLOAD, &op, sizeof(op), VGPU_RECORD_WAIT,
                         STREAM(0));
}

static void test_order_host_functions_follow_each_other(void **state)
{
    struct client *client = open_client();

    host_function(client, STREAM(0), 1);
    host_function(client, STREAM(0), 2);
    assert_true(called_back(client, 1));
    assert_false(called_back(client, 2));
    host_function_done(client, 1);
    assert_true(called_back(client, 2));
    host_function_done(client, 2);
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    assert_int_equal(test_driver_count("k0"), 1);
    close_client(client);
}

static void test_order_hold_reaches_streams_that_wait(void **state)
{
    struct client *client = open_client();
    uint64_t query;

    host_function(client, STREAM(0), 1);
    client_record(client, EVENT(0), STREAM(0));
    wait_event(client, STREAM(1), EVENT(0));
    client_launch(client, KERNEL(1), STREAM(1));
    query = event_sync(client, EVENT(0));
    client_launch(client, KERNEL(2), STREAM(2));
    assert_true(called_back(client, 1));
    assert_int_equal(test_driver_count("k1"), 0);
    assert_int_equal(test_driver_count("k2"), 1);
    assert_false(answered(client, query));
    host_function_done(client, 1);
    client_run(client);
    assert_true(answered(client, query));
    assert_int_equal(test_driver_count("k1"), 1);
    assert_string_equal(test_driver_journal(1), "wait-event");
    close_client(client);
}

static void test_order_hold_reaches_the_legacy_stream(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_create op = {.stream = STREAM(9), .flags = CU_STREAM_NON_BLOCKING};

    client_send(client, CUDA_OP_STREAM_CREATE, 0, &op, sizeof(op));
    host_function(client, STREAM(0), 1);
    client_launch(client, KERNEL(0), VGPU_STREAM_DEFAULT);
    client_launch(client, KERNEL(1), STREAM(1)); /* behind the default stream */
    client_launch(client, KERNEL(2), STREAM(9)); /* does not order with it */
    assert_true(called_back(client, 1));
    assert_int_equal(test_driver_count("k0"), 0);
    assert_int_equal(test_driver_count("k1"), 0);
    assert_int_equal(test_driver_count("k2"), 1);
    host_function_done(client, 1);
    client_run(client);
    assert_string_equal(test_driver_journal(1), "k0");
    assert_string_equal(test_driver_journal(2), "k1");
    close_client(client);
}

static void test_order_held_work_lets_a_revoke_drain(void **state)
{
    struct client *client = open_client();

    client_launch(client, KERNEL(0), STREAM(0));
    host_function(client, STREAM(0), 1);
    client_launch(client, KERNEL(1), STREAM(0));
    client_run(client);
    client_revoke(client);
    client_run(client);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(client->report->turn_done, client->lease->turn);
    assert_int_equal(client->report->need, VGPU_NEED_NOTHING);
    /* The gate opens while the turn is elsewhere. */
    host_function_done(client, 1);
    client_run(client);
    assert_int_equal(test_driver_count("k1"), 0);
    assert_int_equal(client->report->need, VGPU_NEED_GPU);
    client_grant(client);
    client_run(client);
    assert_int_equal(test_driver_count("k1"), 1);
    close_client(client);
}

static void test_order_query_of_a_held_stream(void **state)
{
    struct client *client = open_client();
    uint64_t query;

    host_function(client, STREAM(0), 1);
    query = stream_query(client, STREAM(0));
    assert_int_equal(client_await(client, query)->result, CUDA_ERROR_NOT_READY);
    host_function_done(client, 1);
    query = stream_query(client, STREAM(0));
    assert_int_equal(client_await(client, query)->result, CUDA_SUCCESS);
    close_client(client);
}

static void test_order_free_waits_for_held_work(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    struct cuda_op_memory_free op = {.address = address};
    uint64_t freed;

    host_function(client, STREAM(0), 1);
    client_copy(client, 0, client_device(address), client_data(0), 64, STREAM(0));
    freed = client_send(client, CUDA_OP_MEMORY_FREE, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_false(answered(client, freed));
    assert_int_equal(test_driver_count("free"), 0);
    host_function_done(client, 1);
    client_run(client);
    assert_int_equal(test_driver_count("copy"), 1);
    assert_int_equal(test_driver_count("free"), 0);
    test_driver_step(1);
    assert_int_equal(client_await(client, freed)->result, CUDA_SUCCESS);
    close_client(client);
}

static void test_order_destroyed_stream_keeps_held_work(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_destroy op = {.stream = STREAM(0)};

    host_function(client, STREAM(0), 1);
    client_launch(client, KERNEL(0), STREAM(0));
    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &op, sizeof(op));
    assert_true(called_back(client, 1));
    assert_int_equal(test_driver_count("destroy-stream"), 0);
    host_function_done(client, 1);
    client_run(client);
    assert_string_equal(test_driver_journal(0), "k0");
    assert_string_equal(test_driver_journal(1), "destroy-stream");
    close_client(client);
}

static void test_order_held_answers_while_the_turn_is_elsewhere(void **state)
{
    struct client *client = open_client();

    host_function(client, STREAM(0), 1);
    assert_true(called_back(client, 1));
    client_revoke(client);
    client_launch(client, KERNEL(1), STREAM(1)); /* stops the consumer */
    host_function_done(client, 1);
    host_function(client, STREAM(0), 2);
    client_run(client);
    assert_null(client->channel->hold.gates);
    close_client(client);
}

static void test_order_large_copies_are_cut(void **state)
{
    const struct client_options options = {.data_bytes = 160u << 20};
    struct client *client = open_with(&options);
    uint64_t address = client_alloc(client, 100u << 20);
    uint64_t done;

    for (uint64_t i = 0; i < 100u << 20; i += 4096)
        client->data[(1u << 20) + i] = (uint8_t)(i >> 12);
    done = client_copy(client, VGPU_RECORD_WAIT, client_device(address), client_data(1u << 20),
                       100u << 20, STREAM(0));
    assert_false(answered(client, done));
    test_driver_release();
    assert_int_equal(client_await(client, done)->result, CUDA_SUCCESS);
    assert_int_equal(test_driver_largest_copy(), WORKER_CHUNK_BYTES);
    for (uint64_t i = 0; i < 100u << 20; i += 4096)
        assert_int_equal(((const uint8_t *)(uintptr_t)address)[i], (uint8_t)(i >> 12));
    assert_int_equal(client->report->jobs_done, 1);
    assert_int_equal(client->report->bytes_to_device, 100u << 20);
    close_client(client);
}

static void test_order_a_cut_copy_gives_way_to_a_revoke(void **state)
{
    const struct client_options options = {.data_bytes = 160u << 20};
    struct client *client = open_with(&options);
    const struct vgpu_place source = client_data(WORKER_CHUNK_BYTES);
    uint64_t address = client_alloc(client, 128u << 20);
    uint64_t done;
    size_t pieces;

    client->lease->contended = 1;
    client->lease->inflight_max_jobs = 1;
    done = client_copy(client, VGPU_RECORD_WAIT, client_device(address), source, 128u << 20,
                       STREAM(0));
    client_run(client);
    assert_int_equal(test_driver_count("copy"), 1);
    client_revoke(client);
    test_driver_step(1);
    client_run(client);
    pieces = test_driver_count("copy");
    assert_int_equal(client->report->turn_done, client->lease->turn);
    test_driver_step(8);
    assert_false(answered(client, done));
    assert_int_equal(test_driver_count("copy"), pieces);
    client_grant(client);
    test_driver_release();
    assert_int_equal(client_await(client, done)->result, CUDA_SUCCESS);
    assert_int_equal(test_driver_count("copy"), 4);
    close_client(client);
}

static void test_order_posted_error_is_reported_once(void **state)
{
    struct client *client = open_client();
    uint64_t first, second;

    test_driver_refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    client_launch(client, KERNEL(0), STREAM(0));
    first = client_sync_context(client);
    second = client_sync_context(client);
    assert_int_equal(client_await(client, first)->result, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    assert_int_equal(client_await(client, second)->result, CUDA_SUCCESS);
    assert_int_equal(client->page->notice.poisoned, 0);
    close_client(client);
}

static void test_order_sticky_error_poisons(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    test_driver_break(CUDA_ERROR_ILLEGAL_ADDRESS);
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    for (int i = 0; i < 2; i++) {
        sync = client_sync_context(client);
        assert_int_equal(client_await(client, sync)->result, CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    assert_int_equal(client->page->notice.poisoned, CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(client->report->jobs_failed, 1);
    close_client(client);
}

/* Also whom the driver itself would not tell any more: work of his may have been refused. */
static void test_order_sticky_error_reaches_who_waits_already(void **state)
{
    struct client *client = open_client();
    uint64_t waiting, first;

    client_launch(client, KERNEL(0), STREAM(1));
    waiting = client_sync_stream(client, STREAM(1));
    assert_false(answered(client, waiting));
    test_driver_refuse(CUDA_ERROR_LAUNCH_FAILED);
    client_launch(client, KERNEL(0), STREAM(0));
    first = client_sync_stream(client, STREAM(0));
    assert_int_equal(client_await(client, first)->result, CUDA_ERROR_LAUNCH_FAILED);
    test_driver_release();
    assert_int_equal(client_await(client, waiting)->result, CUDA_ERROR_LAUNCH_FAILED);
    close_client(client);
}

static void test_order_reset_heals(void **state)
{
    struct client *client = open_client();
    struct cuda_op_context_reset op = {.context = CLIENT_CONTEXT};

    test_driver_break(CUDA_ERROR_LAUNCH_FAILED);
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_RESET, &op, sizeof(op)), CUDA_SUCCESS);
    assert_int_equal(client->page->notice.poisoned, 0);
    assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    assert_int_equal(client_await(client, stream_query(client, STREAM(0)))->result,
                     CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

/* A load that was under way when the reset came: its module goes with the context. */
static void test_order_reset_ends_what_was_being_made(void **state)
{
    struct client *client = open_client();
    const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 7);
    _Alignas(8) uint8_t buffer[256];
    struct cuda_op_module_load *load = (void *)buffer;
    struct cuda_op_context_reset reset = {.context = CLIENT_CONTEXT};
    size_t size = sizeof(*load);
    uint64_t loaded;

    memset(load, 0, sizeof(*load));
    load->module = module;
    load->image = client_blob(load, &size, "ptx", 4);
    load->options = client_blob(load, &size, "", 0);
    loaded = client_send(client, CUDA_OP_MODULE_LOAD, VGPU_RECORD_WAIT, load, size);
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_RESET, &reset, sizeof(reset)),
                     CUDA_SUCCESS);
    assert_int_equal(client_await(client, loaded)->result, CUDA_SUCCESS);
    assert_int_equal(client_function(client, module, KERNEL(9), "k"), CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

static void test_order_destroy_waits_for_the_contexts_work(void **state)
{
    struct client *client = open_client();
    const uint32_t other = VGPU_HANDLE(CUDA_KIND_CONTEXT, 1, 3);
    struct cuda_op_context_create create = {.context = other};
    struct cuda_op_context_destroy destroy = {.context = other};
    uint64_t done;

    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_CREATE, &create, sizeof(create)),
                     CUDA_SUCCESS);
    client->context = other;
    client_stream(client, STREAM(8));
    client_copy(client, 0, client_data(0), client_data(64), 8, STREAM(8));
    done =
        client_send(client, CUDA_OP_CONTEXT_DESTROY, VGPU_RECORD_WAIT, &destroy, sizeof(destroy));
    assert_false(answered(client, done));
    assert_int_equal(test_driver_count("destroy-context"), 0);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_INVALID_CONTEXT);
    test_driver_step(1);
    assert_int_equal(client_await(client, done)->result, CUDA_SUCCESS);
    assert_int_equal(test_driver_count("destroy-context"), 1);
    client->context = CLIENT_CONTEXT;
    assert_int_equal(client_await(client, stream_query(client, STREAM(8)))->result,
                     CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

static void test_order_threads_have_streams_of_their_own(void **state)
{
    struct client *client = open_client();
    struct cuda_op_thread_exit op = {0};
    uint64_t first, second;

    client_launch(client, KERNEL(0), VGPU_STREAM_PER_THREAD);
    first = client_sync_stream(client, VGPU_STREAM_PER_THREAD);
    client->thread = 2;
    second = client_sync_stream(client, VGPU_STREAM_PER_THREAD);
    assert_true(answered(client, second));
    assert_false(answered(client, first));
    assert_int_equal(client->channel->thread_streams, 2);
    test_driver_step(1);
    assert_true(answered(client, first));
    client_send(client, CUDA_OP_THREAD_EXIT, 0, &op, sizeof(op));
    client_run(client);
    assert_int_equal(client->channel->thread_streams, 1);
    close_client(client);
}

static void test_order_stop_drains_and_ends(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    client_launch(client, KERNEL(0), STREAM(0));
    sync = client_sync_stream(client, STREAM(0));
    client_run(client);
    page_store_u32(&client->lease->flags, VGPU_LEASE_STOP);
    client_run(client);
    assert_false(client->channel->ended);
    test_driver_step(1);
    client_run(client);
    assert_true(client->channel->ended);
    assert_int_equal(client->channel->end_status, VGPU_OK);
    assert_non_null(client_reply(client, sync));
    test_driver_release();
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_waits_are_answered_out_of_order),
        cmocka_unit_test(test_order_stream_sync_waits_for_earlier_only),
        cmocka_unit_test(test_order_context_sync_waits_for_all_streams),
        cmocka_unit_test(test_order_wait_for_another_threads_record),
        cmocka_unit_test(test_order_free_blocks_nobody),
        cmocka_unit_test(test_order_event_sync_keeps_its_record),
        cmocka_unit_test(test_order_event_destroyed_while_waited_for),
        cmocka_unit_test(test_order_stream_destroyed_while_busy),
        cmocka_unit_test(test_order_stale_handle_is_an_error),
        cmocka_unit_test(test_order_jobs_wait_for_the_turn),
        cmocka_unit_test(test_order_revoke_drains),
        cmocka_unit_test(test_order_calls_behind_a_job_wait),
        cmocka_unit_test(test_order_in_flight_is_capped_while_contended),
        cmocka_unit_test(test_order_unmeasured_kernels_run_alone_while_contended),
        cmocka_unit_test(test_order_need_falls_with_a_kick_when_contended),
        cmocka_unit_test(test_order_need_is_told_when_contention_comes_late),
        cmocka_unit_test(test_order_need_rises_with_a_kick_without_the_turn),
        cmocka_unit_test(test_order_host_function_holds_its_stream),
        cmocka_unit_test(test_order_host_function_holds_uploads),
        cmocka_unit_test(test_order_held_work_outlives_no_thread),
        cmocka_unit_test(test_order_held_work_outlives_no_context),
        cmocka_unit_test(test_order_held_work_outlives_no_module),
        cmocka_unit_test(test_order_host_functions_follow_each_other),
        cmocka_unit_test(test_order_hold_reaches_streams_that_wait),
        cmocka_unit_test(test_order_hold_reaches_the_legacy_stream),
        cmocka_unit_test(test_order_held_work_lets_a_revoke_drain),
        cmocka_unit_test(test_order_query_of_a_held_stream),
        cmocka_unit_test(test_order_free_waits_for_held_work),
        cmocka_unit_test(test_order_destroyed_stream_keeps_held_work),
        cmocka_unit_test(test_order_held_answers_while_the_turn_is_elsewhere),
        cmocka_unit_test(test_order_large_copies_are_cut),
        cmocka_unit_test(test_order_a_cut_copy_gives_way_to_a_revoke),
        cmocka_unit_test(test_order_posted_error_is_reported_once),
        cmocka_unit_test(test_order_sticky_error_poisons),
        cmocka_unit_test(test_order_sticky_error_reaches_who_waits_already),
        cmocka_unit_test(test_order_reset_heals),
        cmocka_unit_test(test_order_reset_ends_what_was_being_made),
        cmocka_unit_test(test_order_destroy_waits_for_the_contexts_work),
        cmocka_unit_test(test_order_threads_have_streams_of_their_own),
        cmocka_unit_test(test_order_stop_drains_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
