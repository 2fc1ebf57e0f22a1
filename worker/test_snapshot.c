/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told without being asked: settled records, events, errors nobody has heard of. On the
 * driver double, whose streams go only as far as each test lets them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE    VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL    VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM(n) VGPU_HANDLE(CUDA_KIND_STREAM, 1, n)
#define EVENT(n)  VGPU_HANDLE(CUDA_KIND_EVENT, 1, n)

/* A kernel, streams and events 0 to 2; nothing completes by itself. */
static struct client *open_with(const struct client_options *options)
{
    struct client *client;

    test_driver_reset();
    client = client_open(options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    for (uint32_t i = 0; i < 3; i++) {
        client_stream(client, STREAM(i));
        client_event(client, EVENT(i));
    }
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
    assert_false(client->channel->ended);
    test_driver_release();
    client_close(client);
}

static uint64_t settled(struct client *client)
{
    client_run(client);
    return page_load_u64(&client->page->notice.settled);
}

static uint64_t word(struct client *client, uint32_t index)
{
    client_run(client);
    return page_load_u64(&client->page->events[index]);
}

static uint64_t destroy_event(struct client *client, uint32_t event)
{
    struct cuda_op_event_destroy op = {.event = event};

    return client_send(client, CUDA_OP_EVENT_DESTROY, 0, &op, sizeof(op));
}

static uint64_t host_function(struct client *client, uint32_t stream, uint64_t token)
{
    struct cuda_op_host_function op = {.stream = stream, .token = token};

    return client_send(client, CUDA_OP_HOST_FUNCTION, 0, &op, sizeof(op));
}

static uint64_t host_function_done(struct client *client, uint64_t token)
{
    struct cuda_op_host_function_done op = {.token = token};

    return client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &op, sizeof(op));
}

static CUstream driver_stream(struct client *client, uint32_t handle)
{
    const struct stream *stream = handle_get(client->channel->handles, CUDA_KIND_STREAM, handle);

    assert_non_null(stream);
    return stream ? stream->cu : NULL;
}

static void test_snapshot_settled_when_all_is_done(void **state)
{
    struct client *client = open_client();
    uint64_t before, launched;

    assert_int_equal(settled(client), client->seq);
    before = client->seq;
    client_launch(client, KERNEL, STREAM(0));
    launched = client_launch(client, KERNEL, STREAM(1));
    assert_int_equal(settled(client), before);
    test_driver_step(1);
    assert_int_equal(settled(client), before);
    test_driver_step(1);
    assert_int_equal(settled(client), launched);
    close_client(client);
}

/* What lies behind a host function is not even issued. */
static void test_snapshot_not_settled_behind_a_host_function(void **state)
{
    struct client *client = open_client();
    uint64_t before = client->seq, done;

    host_function(client, STREAM(0), 7);
    client_record(client, EVENT(0), STREAM(0));
    assert_int_equal(settled(client), before);
    assert_int_equal(word(client, 0), 0);
    done = host_function_done(client, 7);
    assert_int_equal(settled(client), done);
    assert_int_equal(word(client, 0), before + 2);
    close_client(client);
}

/* While the turn is elsewhere, records are taken and kept. */
static void test_snapshot_not_settled_while_the_turn_is_elsewhere(void **state)
{
    struct client *client = open_client();
    uint64_t before = client->seq;

    client_revoke(client);
    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    assert_int_equal(settled(client), before);
    client_grant(client);
    client_run(client);
    test_driver_step(1);
    assert_int_equal(settled(client), client->seq);
    assert_int_equal(word(client, 0), client->seq);
    close_client(client);
}

/* It is told though the stream goes on, and others are busy. */
static void test_snapshot_event_is_told_when_it_is_done(void **state)
{
    struct client *client = open_client();
    uint64_t first, second;

    client_launch(client, KERNEL, STREAM(0));
    first = client_record(client, EVENT(0), STREAM(0));
    client_launch(client, KERNEL, STREAM(0));
    second = client_record(client, EVENT(1), STREAM(0));
    assert_int_equal(word(client, 0), 0);
    test_driver_step(1);
    assert_int_equal(word(client, 0), first);
    assert_int_equal(word(client, 1), 0);
    test_driver_step(1);
    assert_int_equal(word(client, 1), second);
    close_client(client);
}

static void test_snapshot_event_recorded_anew_has_its_last_record(void **state)
{
    struct client *client = open_client();
    uint64_t first, last;

    first = client_record(client, EVENT(0), STREAM(0));
    assert_int_equal(word(client, 0), first);
    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    client_launch(client, KERNEL, STREAM(1));
    last = client_record(client, EVENT(0), STREAM(1));
    assert_int_equal(word(client, 0), first);
    test_driver_step(1);
    assert_int_equal(word(client, 0), first);
    test_driver_step(1);
    assert_int_equal(word(client, 0), last);
    close_client(client);
}

/* An event that was waited for keeps its earlier record's body: the word is of the new one. */
static void test_snapshot_event_recorded_anew_while_waited_for(void **state)
{
    struct client *client = open_client();
    struct cuda_op_event_sync op = {.event = EVENT(0)};
    uint64_t sync, last;

    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    sync = client_send(client, CUDA_OP_EVENT_SYNC, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_launch(client, KERNEL, STREAM(0));
    last = client_record(client, EVENT(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    assert_int_equal(word(client, 0), 0);
    assert_non_null(client_reply(client, sync));
    test_driver_step(1);
    assert_int_equal(word(client, 0), last);
    close_client(client);
}

/* The word of the next event with the index is never that of the one before. */
static void test_snapshot_index_is_used_again(void **state)
{
    struct client *client = open_client();
    const uint32_t next = VGPU_HANDLE(CUDA_KIND_EVENT, 2, 0);
    uint64_t first, second;

    client_launch(client, KERNEL, STREAM(0));
    first = client_record(client, EVENT(0), STREAM(0));
    destroy_event(client, EVENT(0));
    client_event(client, next);
    client_launch(client, KERNEL, STREAM(0));
    second = client_record(client, next, STREAM(0));
    client_run(client);
    test_driver_step(1);
    assert_true(word(client, 0) < second && word(client, 0) <= first);
    test_driver_step(1);
    assert_int_equal(word(client, 0), second);
    close_client(client);
}

/* An event's held record comes behind those of the one that has its index by then. */
static void test_snapshot_held_record_of_an_older_event(void **state)
{
    struct client *client = open_client();
    const uint32_t next = VGPU_HANDLE(CUDA_KIND_EVENT, 2, 0);
    uint64_t second;

    host_function(client, STREAM(0), 7);
    client_record(client, EVENT(0), STREAM(0));
    destroy_event(client, EVENT(0));
    client_event(client, next);
    second = client_record(client, next, STREAM(1));
    assert_int_equal(word(client, 0), second);
    host_function_done(client, 7);
    assert_int_equal(word(client, 0), second);
    close_client(client);
}

static void test_snapshot_last_word_and_one_more(void **state)
{
    struct client *client = open_client();
    uint64_t last;

    client_event(client, EVENT(VGPU_EVENT_WORDS - 1));
    client_event(client, EVENT(VGPU_EVENT_WORDS));
    last = client_record(client, EVENT(VGPU_EVENT_WORDS - 1), STREAM(0));
    client_record(client, EVENT(VGPU_EVENT_WORDS), STREAM(0));
    assert_int_equal(word(client, VGPU_EVENT_WORDS - 1), last);
    for (size_t i = 0; i < sizeof(client->page->reserved1); i++)
        assert_int_equal(client->page->reserved1[i], 0);
    assert_int_equal(settled(client), client->seq);
    close_client(client);
}

/* Numbers are compared as 64 bits. */
static void test_snapshot_past_2_to_the_32(void **state)
{
    struct client *client = open_client();
    uint64_t record = 0;

    client->seq = (1ull << 32) - 3;
    client->channel->next_seq = client->seq + 1;
    for (int i = 0; i < 6; i++) {
        client_launch(client, KERNEL, STREAM(0));
        record = client_record(client, EVENT(0), STREAM(0));
        assert_true(word(client, 0) < record);
        test_driver_step(1);
        assert_int_equal(word(client, 0), record);
        assert_int_equal(settled(client), record);
    }
    assert_true(record > UINT32_MAX);
    close_client(client);
}

/* Round by round: when an answer is there, what it could reveal was told. */
static void test_snapshot_events_come_before_answers(void **state)
{
    struct client *client = open_client();
    uint64_t first, second;

    client_launch(client, KERNEL, STREAM(0));
    first = client_record(client, EVENT(0), STREAM(0));
    client_launch(client, KERNEL, STREAM(1));
    second = client_record(client, EVENT(1), STREAM(1));
    client_run(client);
    test_driver_step(2);
    /* The first thing that the worker does with these is to look at the context's streams. */
    client_sync_context(client);
    while (ring_ready(&client->completion) == 0)
        consumer_round(client->channel);
    assert_int_equal(page_load_u64(&client->page->events[0]), first);
    assert_int_equal(page_load_u64(&client->page->events[1]), second);
    close_client(client);
}

/* Nothing but an answer to a query goes out, in the round that takes it. */
static void test_snapshot_a_query_tells_as_well(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_query op = {.stream = STREAM(1)};
    uint64_t first;

    client_launch(client, KERNEL, STREAM(0));
    first = client_record(client, EVENT(0), STREAM(0));
    client_send(client, CUDA_OP_STREAM_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
    /* All in one round: the event is in flight when the query is answered. */
    test_driver_release();
    consumer_round(client->channel);
    assert_int_equal(ring_ready(&client->completion), 1);
    assert_int_equal(page_load_u64(&client->page->events[0]), first);
    close_client(client);
}

/* The worker's own mark behind the event is nothing that the guest knows of. */
static void test_snapshot_stream_is_done_with_its_last_event(void **state)
{
    struct client *client = open_client();
    struct cuda_op_stream_query op = {.stream = STREAM(0)};
    uint64_t query;

    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    client_run(client);
    client_launch(client, KERNEL, STREAM(1));
    client_record(client, EVENT(1), STREAM(1));
    client_run(client);
    /* A unit that the guest has not given: as a mark that the driver has not got to. */
    test_driver_unit(driver_stream(client, STREAM(0)), "mark");
    query = client_send(client, CUDA_OP_STREAM_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await(client, query)->result, CUDA_SUCCESS);
    op.stream = STREAM(1);
    query = client_send(client, CUDA_OP_STREAM_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await(client, query)->result, CUDA_ERROR_NOT_READY);
    close_client(client);
}

static void test_snapshot_told_moves_with_each_word(void **state)
{
    struct client *client = open_client();
    uint64_t before = page_load_u64(&client->page->notice.told);

    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    client_launch(client, KERNEL, STREAM(0));
    client_run(client);
    assert_int_equal(page_load_u64(&client->page->notice.told), before);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(page_load_u64(&client->page->notice.told), before + 1);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(page_load_u64(&client->page->notice.told), before + 2);
    close_client(client);
}

static void test_snapshot_posted_error_is_unheard_until_told(void **state)
{
    struct client *client = open_client();

    assert_int_equal(client->page->notice.unheard, 0);
    test_driver_refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    client_launch(client, KERNEL, STREAM(0));
    assert_int_equal(settled(client), client->seq);
    assert_int_equal(client->page->notice.unheard, VGPU_UNHEARD_ERROR);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    assert_int_equal(client->page->notice.unheard, 0);
    close_client(client);
}

/* A record that could not be carried out is settled, with its error told before. */
static void test_snapshot_failed_record_settles(void **state)
{
    struct client *client = open_client();

    client_record(client, EVENT(0), STREAM(9));
    assert_int_equal(settled(client), client->seq);
    assert_int_equal(word(client, 0), 0);
    assert_int_equal(client->page->notice.unheard, VGPU_UNHEARD_ERROR);
    close_client(client);
}

static void test_snapshot_sticky_error_comes_before_the_event(void **state)
{
    struct client *client = open_client();
    uint64_t record;

    test_driver_break(CUDA_ERROR_ILLEGAL_ADDRESS);
    client_launch(client, KERNEL, STREAM(0));
    record = client_record(client, EVENT(0), STREAM(0));
    client_run(client);
    test_driver_step(1);
    while (page_load_u64(&client->page->events[0]) != record)
        consumer_round(client->channel);
    assert_int_equal(client->page->notice.poisoned, CUDA_ERROR_ILLEGAL_ADDRESS);
    client_run(client);
    /* The job counts as failed, whoever saw it first. */
    assert_int_equal(client->report->jobs_failed, 1);
    close_client(client);
}

static void test_snapshot_destroyed_event_is_forgotten(void **state)
{
    struct client *client = open_client();

    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    client_record(client, EVENT(1), STREAM(0));
    client_record(client, EVENT(2), STREAM(0));
    destroy_event(client, EVENT(1));
    client_run(client);
    test_driver_step(1);
    assert_int_equal(settled(client), client->seq);
    assert_int_equal(word(client, 1), 0);
    assert_true(word(client, 2) > word(client, 0));
    close_client(client);
}

static void test_snapshot_context_reset_with_events_in_flight(void **state)
{
    struct client *client = open_client();
    struct cuda_op_context_reset op = {.context = CLIENT_CONTEXT};
    uint64_t reset;

    client_launch(client, KERNEL, STREAM(0));
    client_record(client, EVENT(0), STREAM(0));
    reset = client_send(client, CUDA_OP_CONTEXT_RESET, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_run(client);
    test_driver_step(1);
    assert_int_equal(client_await(client, reset)->result, CUDA_SUCCESS);
    assert_int_equal(settled(client), client->seq);
    close_client(client);
}

static void test_snapshot_mirrored_tells_nothing(void **state)
{
    const struct client_options options = {.mirrored = true};
    struct client *client = open_with(&options);

    client_record(client, EVENT(0), STREAM(0));
    assert_int_equal(settled(client), 0);
    assert_int_equal(word(client, 0), 0);
    close_client(client);
}

/* The guest only looks, and sends nothing: asleep or not, the worker tells it in the end. */
static void test_snapshot_worker_looks_by_itself(void **state)
{
    const struct client_options options = {.threaded = true};
    struct client *client;
    uint64_t record = 0;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_event(client, EVENT(0));
    for (int i = 0; i < 20; i++) {
        test_driver_hold();
        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
        record = client_record(client, EVENT(0), VGPU_STREAM_DEFAULT);
        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
        /* The other launch may stay behind, where the first was once seen to take long. */
        while (page_load_u64(&client->page->notice.issued) < record)
            client_run(client);
        test_driver_step(1);
        while (page_load_u64(&client->page->events[0]) != record)
            client_run(client);
        assert_true(page_load_u64(&client->page->notice.settled) < record);
        test_driver_release();
        while (page_load_u64(&client->page->notice.settled) <= record)
            client_run(client);
    }
    client_close(client);
}

static bool comes_to(struct client *client, const uint64_t *shared, uint64_t value)
{
    uint64_t deadline = vgpu_clock_ns() + 20 * VGPU_NS_PER_S;

    while (page_load_u64(shared) != value && vgpu_clock_ns() < deadline)
        client_run(client);
    return page_load_u64(shared) == value;
}

/* No work of the guest's is in flight, and no mark: an event is enough to go on looking. */
static void test_snapshot_worker_looks_for_an_event_alone(void **state)
{
    const struct client_options options = {.threaded = true};
    struct client *client;
    uint64_t first, record;

    test_driver_reset();
    client = client_open(&options);
    client_event(client, EVENT(0));
    client_stream(client, STREAM(0));
    /* Behind the stream's making: the driver double's lock orders that with what follows here. */
    first = client_record(client, EVENT(0), STREAM(0));
    assert_true(comes_to(client, &client->page->events[0], first));
    test_driver_hold();
    test_driver_unit(driver_stream(client, STREAM(0)), "not the guest's");
    record = client_record(client, EVENT(0), STREAM(0));
    assert_true(comes_to(client, &client->page->notice.issued, record));
    while (!page_load_u32(&client->page->submission.consumer.parked))
        client_run(client);
    assert_int_equal(page_load_u64(&client->page->events[0]), first);
    test_driver_step(1);
    assert_true(comes_to(client, &client->page->events[0], record));
    test_driver_release();
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot_settled_when_all_is_done),
        cmocka_unit_test(test_snapshot_not_settled_behind_a_host_function),
        cmocka_unit_test(test_snapshot_not_settled_while_the_turn_is_elsewhere),
        cmocka_unit_test(test_snapshot_event_is_told_when_it_is_done),
        cmocka_unit_test(test_snapshot_event_recorded_anew_has_its_last_record),
        cmocka_unit_test(test_snapshot_event_recorded_anew_while_waited_for),
        cmocka_unit_test(test_snapshot_index_is_used_again),
        cmocka_unit_test(test_snapshot_held_record_of_an_older_event),
        cmocka_unit_test(test_snapshot_last_word_and_one_more),
        cmocka_unit_test(test_snapshot_past_2_to_the_32),
        cmocka_unit_test(test_snapshot_events_come_before_answers),
        cmocka_unit_test(test_snapshot_a_query_tells_as_well),
        cmocka_unit_test(test_snapshot_stream_is_done_with_its_last_event),
        cmocka_unit_test(test_snapshot_told_moves_with_each_word),
        cmocka_unit_test(test_snapshot_posted_error_is_unheard_until_told),
        cmocka_unit_test(test_snapshot_failed_record_settles),
        cmocka_unit_test(test_snapshot_sticky_error_comes_before_the_event),
        cmocka_unit_test(test_snapshot_destroyed_event_is_forgotten),
        cmocka_unit_test(test_snapshot_context_reset_with_events_in_flight),
        cmocka_unit_test(test_snapshot_mirrored_tells_nothing),
        cmocka_unit_test(test_snapshot_worker_looks_by_itself),
        cmocka_unit_test(test_snapshot_worker_looks_for_an_event_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
