/* SPDX-License-Identifier: Apache-2.0 */
/* How long jobs took, by kind: where a time is counted, and that each job is, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_steps.h"

static void test_times_index_is_within_one_part_in_128(void **state)
{
    uint32_t before = 0;

    for (uint64_t ns = 1; ns < VGPU_TIMES_HIGHEST_NS; ns += ns / 200 + 1) {
        uint32_t index = vgpu_times_index(ns);
        uint64_t lowest = vgpu_times_lowest_ns(index);

        assert_in_range(index, before, VGPU_TIMES_COUNTS - 1);
        assert_in_range(lowest, 0, ns);
        assert_true(ns - lowest < 64 || (ns - lowest) * 128 <= ns);
        before = index;
    }
}

static void test_times_each_index_begins_where_it_says(void **state)
{
    for (uint32_t index = 0; index < VGPU_TIMES_COUNTS; index++) {
        uint64_t lowest = vgpu_times_lowest_ns(index);

        assert_int_equal(vgpu_times_index(lowest), index);
        if (index > 0)
            assert_int_equal(vgpu_times_index(lowest - 1), index - 1);
    }
}

static void test_times_longest_is_the_last(void **state)
{
    assert_int_equal(vgpu_times_index(VGPU_TIMES_HIGHEST_NS), VGPU_TIMES_COUNTS - 1);
    assert_int_equal(vgpu_times_index(VGPU_TIMES_HIGHEST_NS + 1), VGPU_TIMES_COUNTS - 1);
    assert_int_equal(vgpu_times_index(UINT64_MAX), VGPU_TIMES_COUNTS - 1);
}

static const struct vgpu_times_page *times_of(const struct client *client)
{
    return (const void *)((const uint8_t *)client->report + VGPU_TIMES_OFFSET);
}

static uint64_t jobs_of(const struct client *client, enum vgpu_job_kind kind)
{
    return page_load_u64(&times_of(client)->heads[kind].jobs);
}

static uint64_t counted(const struct client *client, enum vgpu_job_kind kind,
                        enum vgpu_job_time what)
{
    const struct vgpu_times_page *page = times_of(client);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < VGPU_TIMES_COUNTS; i++) {
        uint32_t n = page_load_u32(&page->counts[kind][what][i]);

        sum += n;
        if (n)
            assert_true(page->heads[kind].blocks[what] >> (i >> VGPU_TIMES_BLOCK_SHIFT) & 1);
    }
    return sum;
}

static void assert_counted(const struct client *client, enum vgpu_job_kind kind, uint64_t jobs)
{
    assert_int_equal(jobs_of(client, kind), jobs);
    for (int what = 0; what < VGPU_TIMES; what++)
        assert_int_equal(counted(client, kind, (enum vgpu_job_time)what), jobs);
}

static uint64_t fill(struct client *client, uint64_t address, uint64_t bytes)
{
    struct cuda_op_fill op = {.target = address,
                              .pitch_bytes = bytes,
                              .width = bytes,
                              .height = 1,
                              .element_bytes = 1,
                              .stream = STREAM(0)};

    return client_send(client, CUDA_OP_FILL, 0, &op, sizeof(op));
}

static void test_times_each_kind_is_counted_apart(void **state)
{
    struct client *client = open_client();
    uint64_t memory = client_alloc(client, 4096);

    test_driver_release();
    for (int i = 0; i < 100; i++)
        client_launch(client, KERNEL(0), STREAM(0));
    for (int i = 0; i < 7; i++)
        client_copy(client, 0, client_device(memory), client_data(0), 4096, STREAM(1));
    for (int i = 0; i < 3; i++)
        fill(client, memory, 4096);
    client_await(client, client_sync_context(client));
    assert_counted(client, VGPU_JOB_LAUNCH, 100);
    assert_counted(client, VGPU_JOB_COPY, 7);
    assert_counted(client, VGPU_JOB_MEMSET, 3);
    assert_counted(client, VGPU_JOB_EXPLICIT, 0);
    assert_counted(client, VGPU_JOB_GRAPH, 0);
    assert_int_equal(page_load_u64(&client->report->jobs_done), 110);
    close_client(client);
}

static void test_times_a_job_in_flight_is_not_counted(void **state)
{
    struct client *client = open_client();

    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    assert_counted(client, VGPU_JOB_LAUNCH, 0);
    test_driver_release();
    client_await(client, client_sync_stream(client, STREAM(0)));
    assert_counted(client, VGPU_JOB_LAUNCH, 1);
    assert_true(page_load_u64(&times_of(client)->heads[VGPU_JOB_LAUNCH].run_ns) > 0);
    close_client(client);
}

/* More jobs than notes, one after the other: notes come back. */
static void test_times_notes_are_used_again(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    for (unsigned i = 0; i < 4 * WORKER_MAX_UNITS; i++) {
        client_launch(client, KERNEL(0), STREAM(i % 4));
        if (i % 64 == 63)
            client_run(client);
    }
    client_await(client, client_sync_context(client));
    assert_counted(client, VGPU_JOB_LAUNCH, 4 * WORKER_MAX_UNITS);
    assert_in_range(client->channel->times.used, 1, WORKER_MAX_UNITS);
    close_client(client);
}

/* The driver refuses it: the job is over, and has had no time on the GPU. */
static void test_times_a_refused_job_is_counted_once(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    test_driver_refuse(CUDA_ERROR_INVALID_VALUE);
    client_launch(client, KERNEL(0), STREAM(0));
    client_await(client, client_sync_context(client));
    assert_counted(client, VGPU_JOB_LAUNCH, 1);
    assert_int_equal(
        page_load_u64(&client->report->jobs_done) + page_load_u64(&client->report->jobs_failed), 1);
    close_client(client);
}

/* An explicit job is one of that kind, and its answer has the times that are counted. */
static void test_times_explicit_jobs_are_as_answered(void **state)
{
    static const int32_t values[3] = {1, 2, 3};
    _Alignas(8) uint8_t record[256] = {0};
    struct cuda_op_job_vector_add *op = (void *)record;
    struct client *client = open_client();
    const struct vgpu_times_head *head = &times_of(client)->heads[VGPU_JOB_EXPLICIT];
    struct vgpu_completion completion;
    const struct client_reply *reply;
    size_t size = sizeof(*op);

    test_driver_release();
    op->count = 3;
    op->a = client_blob(record, &size, values, sizeof(values));
    op->b = client_blob(record, &size, values, sizeof(values));
    reply = client_await(
        client, client_send(client, CUDA_OP_JOB_VECTOR_ADD, VGPU_RECORD_WAIT, record, size));
    memcpy(&completion, reply->bytes, sizeof(completion)); /* not aligned there */
    assert_int_equal(completion.status, VGPU_OK);
    assert_counted(client, VGPU_JOB_EXPLICIT, 1);
    assert_int_equal(page_load_u64(&head->wait_ns), completion.wait_ns);
    assert_int_equal(page_load_u64(&head->run_ns), completion.run_ns);
    close_client(client);
}

/* A job that waits for the turn: how long is in the sum. */
static void test_times_waiting_is_counted(void **state)
{
    struct client *client = open_client();
    const struct vgpu_times_head *head = &times_of(client)->heads[VGPU_JOB_LAUNCH];
    uint64_t taken_ns, waited_ns;

    test_driver_release();
    client_revoke(client);
    client_run(client);
    client_launch(client, KERNEL(0), STREAM(0));
    client_run(client);
    taken_ns = client->channel->now_ns;
    client_grant(client);
    client_await(client, client_sync_context(client));
    waited_ns = page_load_u64(&head->wait_ns);
    assert_true(waited_ns > 0);
    assert_true(client->channel->now_ns > taken_ns);
    assert_int_equal(page_load_u64(&client->report->wait_ns), waited_ns);
    assert_int_equal(page_load_u32(&times_of(client)->counts[VGPU_JOB_LAUNCH][VGPU_TIME_WAIT]
                                                            [vgpu_times_index(waited_ns)]),
                     1);
    close_client(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_index_is_within_one_part_in_128),
        cmocka_unit_test(test_times_each_index_begins_where_it_says),
        cmocka_unit_test(test_times_longest_is_the_last),
        cmocka_unit_test(test_times_each_kind_is_counted_apart),
        cmocka_unit_test(test_times_a_job_in_flight_is_not_counted),
        cmocka_unit_test(test_times_notes_are_used_again),
        cmocka_unit_test(test_times_a_refused_job_is_counted_once),
        cmocka_unit_test(test_times_explicit_jobs_are_as_answered),
        cmocka_unit_test(test_times_waiting_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
