/* SPDX-License-Identifier: Apache-2.0 */
/* Waits and queries that do not queue behind what was submitted later (worker/early.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_steps.h"

static void copy_and_record(struct client *client, uint32_t event)
{
    client_copy(client, 0, client_data(0), client_data(64), 4, STREAM(0));
    client_record(client, event, STREAM(0));
}

static void test_early_does_not_queue_behind_later_work(void **state)
{
    struct client *client = open_contended(1);
    uint64_t first, second;

    copy_and_record(client, EVENT(0));
    copy_and_record(client, EVENT(1));
    copy_and_record(client, EVENT(2));
    first = event_sync(client, EVENT(0));
    second = event_sync(client, EVENT(1));
    assert_false(answered(client, first));
    test_driver_step(1);
    assert_true(answered(client, first));
    assert_false(answered(client, second));
    assert_int_equal(test_driver_count("copy"), 2);
    test_driver_step(1);
    assert_true(answered(client, second));
    close_client(client);
}

/* Its own record is kept because the turn is elsewhere: the wait is not answered before that. */
static void test_early_waits_for_its_own_record(void **state)
{
    struct client *client = open_client();
    uint64_t sync, again;

    client_revoke(client);
    client_run(client);
    copy_and_record(client, EVENT(0));
    sync = event_sync(client, EVENT(0));
    copy_and_record(client, EVENT(0));
    again = event_sync(client, EVENT(0));
    assert_false(answered(client, sync));
    client->lease->contended = 1;
    client->lease->inflight_max_jobs = 1;
    client_grant(client);
    assert_false(answered(client, sync));
    test_driver_step(1);
    client_run(client);
    assert_false(answered(client, again));
    test_driver_step(1);
    assert_true(answered(client, again));
    assert_true(answered(client, sync));
    close_client(client);
}

/* An event that is made only behind what is kept cannot be waited for before that. */
static void test_early_stays_behind_an_event_that_is_made(void **state)
{
    struct client *client = open_contended(1);
    uint32_t fresh = VGPU_HANDLE(CUDA_KIND_EVENT, 1, 9);
    uint64_t sync;

    copy_and_record(client, EVENT(0));
    copy_and_record(client, EVENT(1));
    client_event(client, fresh);
    client_record(client, fresh, STREAM(0));
    sync = event_sync(client, fresh);
    assert_false(answered(client, sync));
    test_driver_step(1);
    assert_false(answered(client, sync));
    test_driver_step(1);
    assert_true(answered(client, sync));
    assert_int_equal(client_reply(client, sync)->result, CUDA_SUCCESS);
    close_client(client);
}

static void test_early_stays_behind_an_event_that_ends(void **state)
{
    struct client *client = open_contended(1);
    struct cuda_op_event_destroy op = {.event = EVENT(1)};
    uint64_t sync;

    copy_and_record(client, EVENT(0));
    copy_and_record(client, EVENT(2));
    client_send(client, CUDA_OP_EVENT_DESTROY, 0, &op, sizeof(op));
    sync = event_sync(client, EVENT(1));
    assert_false(answered(client, sync));
    test_driver_step(1);
    assert_true(answered(client, sync));
    assert_int_equal(client_reply(client, sync)->result, CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

/* The event's record is held behind a host function: so is the wait, though it came early. */
static void test_early_is_held_with_its_record(void **state)
{
    struct client *client = open_contended(1);
    uint64_t sync;

    host_function(client, STREAM(1), 1);
    client_record(client, EVENT(0), STREAM(1));
    copy_and_record(client, EVENT(1));
    copy_and_record(client, EVENT(2));
    sync = event_sync(client, EVENT(0));
    assert_true(called_back(client, 1));
    assert_false(answered(client, sync));
    host_function_done(client, 1);
    assert_true(answered(client, sync));
    close_client(client);
}

static void test_early_of_no_event_is_refused(void **state)
{
    struct client *client = open_contended(1);
    uint64_t other, out;

    copy_and_record(client, EVENT(0));
    copy_and_record(client, EVENT(1));
    other = event_sync(client, STREAM(0));
    out = event_sync(client, VGPU_HANDLE(CUDA_KIND_EVENT, 1, 0xffff));
    client_run(client);
    test_driver_step(2);
    client_run(client);
    test_driver_release();
    assert_int_equal(client_await(client, other)->result, CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(client_await(client, out)->result, CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

static uint64_t event_query(struct client *client, uint32_t event)
{
    struct cuda_op_event_query op = {.event = event};

    return client_send(client, CUDA_OP_EVENT_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
}

static void assert_answer(struct client *client, uint64_t seq, CUresult result)
{
    assert_true(answered(client, seq));
    assert_int_equal(client_reply(client, seq)->result, result);
}

/* The turn is elsewhere, for as long as it likes: a query is no wait. */
static void test_early_queries_are_answered_without_the_turn(void **state)
{
    struct client *client = open_client();

    client_revoke(client);
    client_run(client);
    copy_and_record(client, EVENT(0));
    assert_answer(client, stream_query(client, STREAM(0)), CUDA_ERROR_NOT_READY);
    assert_answer(client, event_query(client, EVENT(0)), CUDA_ERROR_NOT_READY);
    assert_answer(client, stream_query(client, STREAM(1)), CUDA_SUCCESS);
    assert_answer(client, event_query(client, EVENT(1)), CUDA_SUCCESS);
    client_grant(client);
    client_run(client);
    assert_answer(client, event_query(client, EVENT(0)), CUDA_ERROR_NOT_READY);
    test_driver_step(1);
    assert_answer(client, stream_query(client, STREAM(0)), CUDA_SUCCESS);
    assert_answer(client, event_query(client, EVENT(0)), CUDA_SUCCESS);
    close_client(client);
}

static void test_early_query_of_the_default_stream(void **state)
{
    struct client *client = open_client();
    uint64_t query;

    client_revoke(client);
    client_run(client);
    copy_and_record(client, EVENT(0));
    query = stream_query(client, VGPU_STREAM_DEFAULT);
    assert_false(answered(client, query)); /* another stream's work is kept: in order */
    client_copy(client, 0, client_data(0), client_data(64), 4, VGPU_STREAM_LEGACY);
    assert_answer(client, stream_query(client, VGPU_STREAM_DEFAULT), CUDA_ERROR_NOT_READY);
    client_grant(client);
    test_driver_release();
    assert_int_equal(client_await(client, query)->status, VGPU_OK);
    close_client(client);
}

static void test_early_query_stays_behind_a_stream_that_ends(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_destroy op = {.stream = STREAM(1)};
    uint64_t query;

    client_revoke(client);
    client_run(client);
    copy_and_record(client, EVENT(0));
    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &op, sizeof(op));
    query = stream_query(client, STREAM(1));
    assert_false(answered(client, query));
    client_grant(client);
    assert_answer(client, query, CUDA_ERROR_INVALID_HANDLE);
    close_client(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early_does_not_queue_behind_later_work),
        cmocka_unit_test(test_early_waits_for_its_own_record),
        cmocka_unit_test(test_early_stays_behind_an_event_that_is_made),
        cmocka_unit_test(test_early_stays_behind_an_event_that_ends),
        cmocka_unit_test(test_early_is_held_with_its_record),
        cmocka_unit_test(test_early_of_no_event_is_refused),
        cmocka_unit_test(test_early_queries_are_answered_without_the_turn),
        cmocka_unit_test(test_early_query_of_the_default_stream),
        cmocka_unit_test(test_early_query_stays_behind_a_stream_that_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
