/* SPDX-License-Identifier: Apache-2.0 */
/* What the mediator grants on the lease page: at the limit, one below, one above; and what the
 * worker tells when it is used up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)

static struct client *open_client(void)
{
    struct client *client;

    test_driver_reset();
    client = client_open(&(const struct client_options){0});
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_run(client);
    test_driver_hold();
    return client;
}

static void close_client(struct client *client)
{
    test_driver_release();
    client_close(client);
}

static uint64_t send_job(struct client *client)
{
    _Alignas(8) static uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    static const uint32_t numbers[2] = {1, 2};
    struct cuda_op_job_vector_add *op = (void *)buffer;
    size_t size = sizeof(*op);

    *op = (struct cuda_op_job_vector_add){.count = 2};
    op->a = client_blob(op, &size, numbers, sizeof(numbers));
    op->b = client_blob(op, &size, numbers, sizeof(numbers));
    return client_send(client, CUDA_OP_JOB_VECTOR_ADD, VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT, op,
                       size);
}

/* True if the mediator was kicked since the last look. */
static bool kicked(struct client *client)
{
    uint64_t count;

    return read(client->fds[VGPU_FD_REPORT_KICK], &count, sizeof(count)) == sizeof(count);
}

static void post_copies(struct client *client, unsigned count, uint64_t bytes)
{
    uint64_t address = client_alloc(client, bytes);

    while (count-- > 0)
        client_copy(client, 0, client_device(address), client_data(0), bytes, VGPU_STREAM_DEFAULT);
    client_run(client);
}

static void test_budget_bytes_at_the_limit(void **state)
{
    struct client *client = open_client();

    client->lease->bytes_max = 3000;
    post_copies(client, 3, 1000);
    assert_int_equal(test_driver_journal_count(), 3);
    assert_int_equal(client->report->bytes_in_flight, 3000);
    assert_int_equal(client->report->held_by[VGPU_LIMIT_BYTES], 0);
    close_client(client);
}

static void test_budget_bytes_one_over_the_limit_wait(void **state)
{
    struct client *client = open_client();

    client->lease->bytes_max = 2999;
    post_copies(client, 4, 1000);
    assert_int_equal(test_driver_journal_count(), 2);
    assert_int_equal(client->report->held_by[VGPU_LIMIT_BYTES], 1);
    test_driver_step(2); /* one mark is behind both */
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 4);
    test_driver_release();
    client_run(client);
    assert_int_equal(client->report->jobs_done, 4);
    assert_int_equal(client->report->bytes_in_flight, 0);
    close_client(client);
}

static void test_budget_copy_over_the_limit_runs_alone(void **state)
{
    struct client *client = open_client();

    client->lease->bytes_max = 1;
    post_copies(client, 2, 4096);
    assert_int_equal(test_driver_journal_count(), 1);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 2);
    close_client(client);
}

/* A copy that waits for bytes and has lost the turn meanwhile waits for that too. */
static void test_budget_bytes_do_not_give_the_turn(void **state)
{
    struct client *client = open_client();

    client->lease->bytes_max = 1000;
    post_copies(client, 2, 1000);
    client_revoke(client);
    client_run(client);
    test_driver_step(1);
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 1);
    assert_int_equal(client->report->turn_done, client->lease->turn);
    client_grant(client);
    client_run(client);
    assert_int_equal(test_driver_journal_count(), 2);
    close_client(client);
}

/* Held behind a host function nothing is in flight, so that its answer is always heard. */
static void test_budget_bytes_wait_for_no_host_function(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_function host = {.stream = VGPU_STREAM_DEFAULT, .token = 1};
    struct cuda_op_host_function_done done = {.token = 1};

    client->lease->bytes_max = 1000;
    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &host, sizeof(host));
    post_copies(client, 8, 1000);
    assert_int_equal(client->report->bytes_in_flight, 0);
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
    test_driver_release();
    client_run(client);
    assert_int_equal(client->report->jobs_done, 8);
    close_client(client);
}

static void test_budget_refusals_have_reasons(void **state)
{
    struct client *client = open_client();

    client->lease->depth_max = 1;
    send_job(client);
    assert_int_equal(client_await(client, send_job(client))->status, VGPU_BUSY);
    client->lease->jobs_allowed = 1;
    assert_int_equal(client_await(client, send_job(client))->status, VGPU_BUSY);
    page_store_u32(&client->lease->flags, VGPU_LEASE_QUARANTINED);
    assert_int_equal(client_await(client, send_job(client))->status, VGPU_QUARANTINED);
    client_run(client);
    assert_int_equal(client->report->refused_by[VGPU_LIMIT_DEPTH], 1);
    assert_int_equal(client->report->refused_by[VGPU_LIMIT_RATE], 1);
    assert_int_equal(client->report->refused_by[VGPU_LIMIT_QUARANTINE], 1);
    assert_int_equal(client->report->jobs_refused, 3);
    page_store_u32(&client->lease->flags, 0);
    close_client(client);
}

static void test_budget_without_a_gpu_only_explicit_jobs_are_refused(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    page_store_u32(&client->lease->flags, VGPU_LEASE_NO_GPU);
    assert_int_equal(client_await(client, send_job(client))->status, VGPU_NO_GPU);
    assert_int_equal(client->report->jobs_refused, 1);
    for (int i = 0; i < VGPU_LIMIT_COUNT; i++)
        assert_int_equal(client->report->refused_by[i], 0);
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    assert_int_equal(client->report->jobs_taken, 1);
    assert_int_equal(client->report->jobs_refused, 1);
    page_store_u32(&client->lease->flags, 0);
    assert_int_equal(client_await(client, send_job(client))->status, VGPU_OK);
    close_client(client);
}

static void test_budget_used_up_is_told_once_for_each_grant(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    client->lease->ask = VGPU_WANT_JOBS;
    client->lease->jobs_allowed = 2;
    client_await(client, send_job(client));
    client_run(client);
    kicked(client);
    assert_int_equal(client->report->wants, 0);
    client_await(client, send_job(client));
    client_run(client);
    assert_true(kicked(client));
    assert_int_equal(client->report->wants, VGPU_WANT_JOBS);
    /* Hammering at a closed door wakes nobody. */
    for (int i = 0; i < 20; i++)
        assert_int_equal(client_await(client, send_job(client))->status, VGPU_BUSY);
    assert_false(kicked(client));
    /* Used up again before the next look at it. */
    client->lease->jobs_allowed = 3;
    client_await(client, send_job(client));
    client_run(client);
    assert_true(kicked(client));
    close_client(client);
}

/* What waits for its VM's rate keeps the GPU from nobody, however it came to be sent. */
static void test_budget_job_over_the_rate_needs_no_gpu(void **state)
{
    struct client *client = open_client();

    test_driver_release();
    client->lease->contended = 1;
    client->lease->jobs_allowed = 1;
    for (int i = 0; i < 3; i++)
        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    assert_int_equal(client->report->jobs_taken, 2);
    assert_int_equal(client->report->jobs_done, 1);
    assert_int_equal(client->report->need, VGPU_NEED_NOTHING);
    page_store_u64(&client->lease->jobs_allowed, 3);
    client_run(client);
    assert_int_equal(client->report->jobs_done, 3);
    close_client(client);
}

static void test_budget_without_limits_tells_nothing(void **state)
{
    struct client *client = open_client();

    client->lease->depth_max = 2;
    kicked(client);
    for (int i = 0; i < 3; i++)
        send_job(client);
    client_run(client);
    assert_false(kicked(client));
    assert_int_equal(client->report->wants, 0);
    close_client(client);
}

static void test_budget_depth_used_up_is_told(void **state)
{
    struct client *client = open_client();

    client->lease->ask = VGPU_WANT_DEPTH | VGPU_WANT_BYTES;
    client->lease->depth_max = 2;
    kicked(client);
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    assert_false(kicked(client));
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    assert_true(kicked(client));
    assert_int_equal(client->report->wants, VGPU_WANT_DEPTH);
    assert_int_equal(client->report->held_by[VGPU_LIMIT_DEPTH], 1);
    test_driver_release();
    client_run(client);
    assert_int_equal(client->report->wants, 0);
    close_client(client);
}

/* A job's age is its own, not that of those before it: each of an unknown length has a mark. */
static void test_budget_oldest_job_begins_when_the_one_before_it_ends(void **state)
{
    struct client *client = open_client();
    uint64_t first_ns;

    for (int i = 0; i < 3; i++)
        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    client_run(client);
    first_ns = client->report->oldest_issued_ns;
    assert_true(first_ns > 0);
    test_driver_step(1);
    client_run(client);
    assert_true(client->report->oldest_issued_ns > first_ns);
    assert_int_equal(client->report->jobs_done, 1);
    test_driver_release();
    client_run(client);
    assert_int_equal(client->report->oldest_issued_ns, 0);
    close_client(client);
}

static uint32_t faults_after(CUresult result)
{
    struct client *client = open_client();
    uint32_t faults;

    kicked(client);
    test_driver_break(result);
    client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
    test_driver_release();
    assert_int_equal(client_await(client, client_sync_context(client))->result, result);
    client_run(client);
    faults = client->report->gpu_faults;
    assert_int_equal(kicked(client), faults > 0);
    close_client(client);
    return faults;
}

static void test_budget_gpu_fault_is_told(void **state)
{
    assert_int_equal(faults_after(CUDA_ERROR_ILLEGAL_ADDRESS), 1);
    assert_int_equal(faults_after(CUDA_ERROR_ASSERT), 1);
}

static void test_budget_fault_of_the_gpu_itself_is_not_the_guests(void **state)
{
    assert_int_equal(faults_after(CUDA_ERROR_ECC_UNCORRECTABLE), 0);
    assert_int_equal(faults_after(CUDA_ERROR_NVLINK_UNCORRECTABLE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_bytes_at_the_limit),
        cmocka_unit_test(test_budget_bytes_one_over_the_limit_wait),
        cmocka_unit_test(test_budget_copy_over_the_limit_runs_alone),
        cmocka_unit_test(test_budget_bytes_do_not_give_the_turn),
        cmocka_unit_test(test_budget_bytes_wait_for_no_host_function),
        cmocka_unit_test(test_budget_refusals_have_reasons),
        cmocka_unit_test(test_budget_without_a_gpu_only_explicit_jobs_are_refused),
        cmocka_unit_test(test_budget_used_up_is_told_once_for_each_grant),
        cmocka_unit_test(test_budget_job_over_the_rate_needs_no_gpu),
        cmocka_unit_test(test_budget_without_limits_tells_nothing),
        cmocka_unit_test(test_budget_depth_used_up_is_told),
        cmocka_unit_test(test_budget_oldest_job_begins_when_the_one_before_it_ends),
        cmocka_unit_test(test_budget_gpu_fault_is_told),
        cmocka_unit_test(test_budget_fault_of_the_gpu_itself_is_not_the_guests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
