/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: of jobs, of waits, of what a guest can make the worker keep; each at its maximum + 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE    VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL    VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM(n) VGPU_HANDLE(CUDA_KIND_STREAM, 1, n)

static struct client *open_with(const struct client_options *options)
{
    struct client *client;

    test_driver_reset();
    client = client_open(options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_run(client);
    test_driver_hold();
    return client;
}

static struct client *open_client(void)
{
    const struct client_options options = {0};

    return open_with(&options);
}

static void close_client(struct client *client)
{
    test_driver_release();
    client_close(client);
}

static uint64_t send_job(struct client *client, uint32_t count, uint32_t bytes)
{
    _Alignas(8) static uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    static const uint32_t numbers[1024] = {1, 2, 3};
    struct cuda_op_job_vector_add *op = (void *)buffer;
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    op->count = count;
    op->a = client_blob(op, &size, numbers, bytes);
    op->b = client_blob(op, &size, numbers, bytes);
    return client_send(client, CUDA_OP_JOB_VECTOR_ADD, VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT, op,
                       size);
}

static void test_limits_explicit_jobs_over_the_depth_are_busy(void **state)
{
    struct client *client = open_client();
    uint64_t jobs[3];

    client->lease->depth_max = 2;
    for (int i = 0; i < 3; i++)
        jobs[i] = send_job(client, 2, 8);
    assert_int_equal(client_await(client, jobs[2])->status, VGPU_BUSY);
    assert_int_equal(client->report->jobs_refused, 1);
    assert_null(client_reply(client, jobs[0]));
    test_driver_release();
    assert_int_equal(client_await(client, jobs[0])->status, VGPU_OK);
    assert_int_equal(client_await(client, jobs[1])->status, VGPU_OK);
    assert_int_equal(client_await(client, send_job(client, 2, 8))->status, VGPU_OK);
    close_client(client);
}

static void test_limits_busy_without_the_turn(void **state)
{
    struct client *client = open_client();
    uint64_t waiting, refused;

    client->lease->depth_max = 1;
    client_revoke(client);
    waiting = send_job(client, 2, 8);
    refused = send_job(client, 2, 8);
    assert_int_equal(client_await(client, refused)->status, VGPU_BUSY);
    assert_null(client_reply(client, waiting));
    client_grant(client);
    test_driver_release();
    assert_int_equal(client_await(client, waiting)->status, VGPU_OK);
    close_client(client);
}

/* What was answered and what was counted when the driver was called last. */
static struct {
    struct client *client;
    bool answered;
    uint64_t taken, done, failed;
    CUresult (*copy)(CUdeviceptr target, const void *source, size_t bytes, CUstream stream);
} at_copy;

static CUresult note_and_copy(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    if (at_copy.client) {
        at_copy.answered = ring_ready(&at_copy.client->completion) > 0;
        at_copy.done = at_copy.client->report->jobs_done;
        at_copy.failed = at_copy.client->report->jobs_failed;
        at_copy.taken = at_copy.client->report->jobs_taken;
    }
    return at_copy.copy(target, source, bytes, stream);
}

static void change_copy(struct cuda_driver *driver)
{
    at_copy.copy = driver->cuMemcpyHtoDAsync;
    driver->cuMemcpyHtoDAsync = note_and_copy;
}

/* The driver may end the process in any call: what is answered by then is on the account. */
static void test_limits_what_is_answered_is_counted(void **state)
{
    const struct client_options options = {.change_driver = change_copy};
    struct client *client;

    at_copy.client = NULL;
    client = open_with(&options);
    send_job(client, 2, 8);
    client_run(client);
    assert_int_equal(client->report->jobs_done, 0);
    test_driver_release();
    at_copy.client = client;
    send_job(client, 2, 8);
    consumer_round(client->channel);
    assert_true(at_copy.answered);
    assert_int_equal(at_copy.done, 1);
    at_copy.client = NULL;
    close_client(client);
}

/* The mediator ends a worker whose page has more jobs done than taken. */
static void test_limits_nothing_is_over_that_was_not_taken(void **state)
{
    const struct client_options options = {.change_driver = change_copy};
    struct client *client;

    at_copy.client = NULL;
    client = open_with(&options);
    at_copy.client = client;
    test_driver_refuse(CUDA_ERROR_UNKNOWN);
    send_job(client, 2, 8);
    send_job(client, 2, 8);
    consumer_round(client->channel);
    assert_int_equal(at_copy.failed, 1);
    assert_true(at_copy.taken >= 1);
    at_copy.client = NULL;
    close_client(client);
}

static bool woken(struct client *client)
{
    uint64_t count;

    return read(client->fds[VGPU_FD_COMPLETE_KICK], &count, sizeof(count)) == sizeof(count);
}

static void post_launches(struct client *client, unsigned count)
{
    while (count-- > 0)
        client_launch(client, KERNEL, STREAM(0));
    woken(client);
    ring_producer_want_kick(&client->submission);
}

/* A wake-up is a system call: one for a good part of the ring, not for each record. */
static void test_limits_sleeping_guest_is_woken_for_a_part_of_the_ring(void **state)
{
    struct client *client = open_client();

    client_stream(client, STREAM(0));
    client_run(client);
    /* A launch takes two of the ring's 1024 granules. */
    post_launches(client, 100);
    assert_true(consumer_round(client->channel));
    assert_false(woken(client));
    client_run(client);
    post_launches(client, 130);
    assert_true(consumer_round(client->channel));
    assert_true(woken(client));
    close_client(client);
}

static void test_limits_sleeping_guest_is_woken_when_nothing_is_left_to_do(void **state)
{
    struct client *client = open_client();

    client_stream(client, STREAM(0));
    client_run(client);
    post_launches(client, 3);
    while (consumer_round(client->channel))
        ;
    assert_true(woken(client));
    /* What is done since then is worth another. */
    ring_producer_want_kick(&client->submission);
    test_driver_release();
    client_run(client);
    assert_true(woken(client));
    close_client(client);
}

static void test_limits_rate(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    client->lease->jobs_allowed = 1;
    assert_int_equal(client_await(client, send_job(client, 2, 8))->status, VGPU_OK);
    assert_int_equal(client_await(client, send_job(client, 2, 8))->status, VGPU_BUSY);
    page_store_u64(&client->lease->jobs_allowed, 2);
    assert_int_equal(client_await(client, send_job(client, 2, 8))->status, VGPU_OK);
    close_client(client);
}

static void test_limits_posted_jobs_stop_the_reading(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_info op = {0};
    uint64_t behind;

    client->lease->depth_max = 4;
    client_run(client);
    assert_int_equal(client->page->notice.credit, 4);
    for (int i = 0; i < 6; i++)
        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    behind = client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_run(client);
    assert_int_equal(client->report->jobs_taken, 5);
    assert_null(client_reply(client, behind));
    test_driver_release();
    assert_int_equal(client_await(client, behind)->result, CUDA_SUCCESS);
    client_run(client);
    assert_int_equal(client->report->jobs_done, 6);
    assert_int_equal(client->page->notice.credit, 6 + 4);
    close_client(client);
}

static void test_limits_more_credit_kicks_a_guest_that_waits(void **state)
{
    struct client *client = open_client();
    uint64_t kicks;

    client->lease->jobs_allowed = 1;
    client_run(client);
    (void)!read(client->fds[VGPU_FD_COMPLETE_KICK], &kicks, sizeof(kicks));
    client->page->submission.producer.waiting = 1;
    page_store_u64(&client->lease->jobs_allowed, 100);
    client_run(client);
    assert_int_equal(read(client->fds[VGPU_FD_COMPLETE_KICK], &kicks, sizeof(kicks)), 8);
    close_client(client);
}

static void test_limits_quarantine(void **state)
{
    struct client *client = open_client();
    uint64_t sync;

    page_store_u32(&client->lease->flags, VGPU_LEASE_QUARANTINED);
    assert_int_equal(client_await(client, send_job(client, 2, 8))->status, VGPU_QUARANTINED);
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    sync = client_sync_context(client);
    assert_int_equal(client_await(client, sync)->result, CUDA_ERROR_NOT_PERMITTED);
    assert_int_equal(test_driver_journal_count(), 0);
    page_store_u32(&client->lease->flags, 0);
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 1);
    close_client(client);
}

static void test_limits_vector_add_sizes(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    assert_int_equal(client_await(client, send_job(client, 1024, 4096))->status, VGPU_OK);
    assert_int_equal(client_await(client, send_job(client, 4, 8))->result,
                     CUDA_ERROR_INVALID_VALUE);
    send_job(client, 1025, 4096);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    close_client(client);
}

static void test_limits_failed_job(void **state)
{
    struct client *client = open_client();
    const struct client_reply *reply;

    test_driver_break(CUDA_ERROR_LAUNCH_FAILED);
    test_driver_release();
    reply = client_await(client, send_job(client, 2, 8));
    assert_int_equal(reply->status, VGPU_FAILED);
    assert_int_equal(reply->result, CUDA_ERROR_LAUNCH_FAILED);
    client_run(client);
    assert_int_equal(client->report->jobs_failed, 1);
    close_client(client);
}

static void test_limits_more_vector_adds_than_slots(void **state)
{
    struct client *client = open_client();
    uint64_t jobs[VECTOR_ADD_SLOTS + 1];

    for (unsigned i = 0; i <= VECTOR_ADD_SLOTS; i++)
        jobs[i] = send_job(client, 2, 8);
    client_run(client);
    test_driver_release();
    for (unsigned i = 0; i <= VECTOR_ADD_SLOTS; i++)
        assert_int_equal(client_await(client, jobs[i])->status, VGPU_OK);
    close_client(client);
}

static void test_limits_waiting_records(void **state)
{
    const struct client_options options = {.sub_granules = 8192, .comp_granules = 8192};
    struct client *client = open_with(&options);

    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    for (unsigned i = 0; i < WORKER_MAX_WAITS; i++)
        client_sync_context(client);
    client_run(client);
    assert_false(client->channel->ended);
    client_sync_context(client);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    close_client(client);
}

/* Completions queue in the worker, within the same bound; then they all come. */
static void test_limits_guest_that_never_drains(void **state)
{
    const struct client_options options = {.sub_granules = 8192, .comp_granules = 16};
    struct client *client = open_with(&options);
    struct cuda_op_memory_info op = {0};
    uint64_t last = 0;

    client->drains = false;
    for (unsigned i = 0; i < WORKER_MAX_WAITS; i++)
        last = client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_run(client);
    assert_false(client->channel->ended);
    assert_non_null(client->channel->replies.queue);
    client->drains = true;
    assert_int_equal(client_await(client, last)->result, CUDA_SUCCESS);
    for (uint64_t seq = last; seq > last - WORKER_MAX_WAITS; seq--)
        client_await(client, seq);
    assert_int_equal(client->channel->replies.waiting, 0);
    client->drains = false;
    for (unsigned i = 0; i < WORKER_MAX_WAITS + 32; i++)
        client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    close_client(client);
}

static void test_limits_answer_larger_than_the_ring(void **state)
{
    const struct client_options options = {.comp_granules = 4};
    struct client *client;
    struct cuda_op_device_info op = {0};
    const struct client_reply *reply;

    test_driver_reset();
    client = client_open(&options);
    reply = client_await(
        client, client_send(client, CUDA_OP_DEVICE_INFO, VGPU_RECORD_WAIT, &op, sizeof(op)));
    assert_int_equal(reply->status, VGPU_LIMIT);
    assert_int_equal(reply->size, sizeof(struct vgpu_completion));
    close_client(client);
}

static void test_limits_process_number(void **state)
{
    struct cuda_op_process op = {.pid = INT32_MAX, .pid_namespace = UINT64_MAX};
    struct cuda_op_device_info info = {0};
    struct client *client;

    test_driver_reset();
    client = client_open(&(const struct client_options){.sub_granules = 64});
    assert_int_equal(client->report->guest_process, 0);
    client_send(client, CUDA_OP_PROCESS, 0, &op, sizeof(op));
    client_await(client,
                 client_send(client, CUDA_OP_DEVICE_INFO, VGPU_RECORD_WAIT, &info, sizeof(info)));
    assert_int_equal(client->report->guest_process, INT32_MAX);
    assert_true(client->report->guest_pid_namespace == UINT64_MAX);
    op.pid = (uint32_t)INT32_MAX + 1;
    client_send(client, CUDA_OP_PROCESS, 0, &op, sizeof(op));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    assert_int_equal(client->report->guest_process, INT32_MAX);
    close_client(client);
}

static void test_limits_held_calls(void **state)
{
    const struct client_options options = {.sub_granules = 16384};
    struct client *client = open_with(&options);
    struct cuda_op_host_function host = {.stream = VGPU_STREAM_PER_THREAD, .token = 1};
    struct cuda_op_host_function_done done = {.token = 1};
    struct cuda_op_event_create create = {.event = VGPU_HANDLE(CUDA_KIND_EVENT, 1, 0)};

    client_send(client, CUDA_OP_EVENT_CREATE, 0, &create, sizeof(create));
    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &host, sizeof(host));
    for (unsigned i = 0; i <= WORKER_MAX_HELD; i++)
        client_record(client, create.event, VGPU_STREAM_PER_THREAD);
    client_run(client);
    assert_int_equal(client->channel->hold.count, WORKER_MAX_HELD);
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
    client_run(client);
    assert_int_equal(client->channel->hold.count, 0);
    assert_false(client->channel->ended);
    close_client(client);
}

static void test_limits_thread_streams(void **state)
{
    struct client *client = open_client();
    uint64_t seq = 0;

    for (unsigned i = 0; i <= WORKER_MAX_THREAD_STREAMS; i++) {
        client->thread = i + 1;
        seq = client_sync_stream(client, VGPU_STREAM_PER_THREAD);
        if (i < WORKER_MAX_THREAD_STREAMS)
            assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    }
    assert_int_equal(client_await(client, seq)->result, CUDA_ERROR_OUT_OF_MEMORY);
    close_client(client);
}

/* Read ahead while the turn is elsewhere: the backlog fills, the ring fills, nothing is lost. */
static void test_limits_backlog(void **state)
{
    const struct client_options options = {.sub_granules = 32768, .data_bytes = 1u << 20};
    struct client *client = open_with(&options);
    static const uint8_t params[2048];
    unsigned sent;

    client->lease->depth_max = 100000;
    client_revoke(client);
    for (sent = 0; sent < 900; sent++) {
        client_launch_with(client, KERNEL, VGPU_STREAM_DEFAULT, params, sizeof(params));
        client_run(client);
    }
    assert_true(client->channel->backlog.used <= WORKER_MAX_BACKLOG_BYTES);
    assert_true(client->report->jobs_taken < sent);
    client_grant(client);
    test_driver_release();
    client_await(client, client_sync_context(client));
    client_run(client);
    assert_int_equal(client->report->jobs_taken, sent);
    assert_int_equal(client->report->depth, 0);
    assert_int_equal(client->page->notice.issued, client->seq);
    close_client(client);
}

static void test_limits_small_rings(void **state)
{
    const struct client_options options = {
        .sub_granules = 8, .comp_granules = 2, .data_bytes = 65536};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    for (int i = 0; i < 100; i++)
        assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_explicit_jobs_over_the_depth_are_busy),
        cmocka_unit_test(test_limits_busy_without_the_turn),
        cmocka_unit_test(test_limits_what_is_answered_is_counted),
        cmocka_unit_test(test_limits_nothing_is_over_that_was_not_taken),
        cmocka_unit_test(test_limits_sleeping_guest_is_woken_for_a_part_of_the_ring),
        cmocka_unit_test(test_limits_sleeping_guest_is_woken_when_nothing_is_left_to_do),
        cmocka_unit_test(test_limits_rate),
        cmocka_unit_test(test_limits_posted_jobs_stop_the_reading),
        cmocka_unit_test(test_limits_more_credit_kicks_a_guest_that_waits),
        cmocka_unit_test(test_limits_quarantine),
        cmocka_unit_test(test_limits_vector_add_sizes),
        cmocka_unit_test(test_limits_failed_job),
        cmocka_unit_test(test_limits_more_vector_adds_than_slots),
        cmocka_unit_test(test_limits_process_number),
        cmocka_unit_test(test_limits_waiting_records),
        cmocka_unit_test(test_limits_guest_that_never_drains),
        cmocka_unit_test(test_limits_answer_larger_than_the_ring),
        cmocka_unit_test(test_limits_held_calls),
        cmocka_unit_test(test_limits_thread_streams),
        cmocka_unit_test(test_limits_backlog),
        cmocka_unit_test(test_limits_small_rings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
