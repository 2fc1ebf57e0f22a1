/* SPDX-License-Identifier: Apache-2.0 */
/* Resting: for how long, by what is known of the work in flight; and rounds that are cut short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/rest.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)
#define US     VGPU_NS_PER_US
#define MS     VGPU_NS_PER_MS

/* Work of `job_ns` that should take `due_ns`: how late its end is seen, and how long is polled. */
static uint64_t late_by(uint64_t job_ns, uint64_t due_ns, uint64_t *ret_polled_ns)
{
    uint64_t now = 50 * US;

    *ret_polled_ns = 0;
    while (now < job_ns) {
        uint64_t ns = rest_ns(0, now, due_ns);

        *ret_polled_ns += ns == 0 ? US : 0;
        now += ns == 0 ? US : ns;
    }
    return now - job_ns;
}

static void test_rest_sees_the_end_of_what_was_estimated(void **state)
{
    uint64_t polled;

    for (uint64_t job = 100 * US; job < 2000 * MS; job = job * 5 / 4) {
        /* The estimate is right, or a little off. */
        assert_in_range(late_by(job, job, &polled), 0, US);
        assert_true(polled <= job / 8 + 101 * US && polled <= MS + US);
        if (job <= 20 * MS) {
            assert_in_range(late_by(job, job + job / 50, &polled), 0, US);
            assert_in_range(late_by(job, job - job / 50, &polled), 0, US);
        }
    }
}

static void test_rest_is_late_in_proportion_where_estimates_are_wrong(void **state)
{
    uint64_t polled;

    for (uint64_t job = MS; job < 2000 * MS; job = job * 5 / 4) {
        assert_in_range(late_by(job, UINT64_MAX, &polled), 0, job / 64 + 10 * US);
        assert_int_equal(polled, 0);
        assert_in_range(late_by(job, job / 10, &polled), 0, job / 64 + 10 * US);
        assert_true(polled <= MS + US);
        assert_in_range(late_by(job, job * 10, &polled), 0, job / 8 + 10 * US);
    }
}

static void test_rest_is_bounded(void **state)
{
    /* A second in: no longer than a millisecond if nothing is known. */
    assert_int_equal(rest_ns(0, 1000 * MS, UINT64_MAX), MS);
    assert_int_equal(rest_ns(0, US, UINT64_MAX), 10 * US);
    /* Estimates of nonsense. */
    assert_int_equal(rest_ns(5 * MS, 6 * MS, 0), MS / 64);
    assert_int_equal(rest_ns(5 * MS, 6 * MS, 5 * MS), MS / 64);
    assert_int_equal(rest_ns(0, 8 * MS, UINT64_MAX / 2), MS);
    assert_int_equal(rest_ns(0, 8 * MS, UINT64_MAX - 1), MS / 8);
}

static struct client *revoked;
static unsigned launches;

static CUresult revoke_at_ten(CUfunction function, unsigned grid_x, unsigned grid_y,
                              unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                              unsigned shared, CUstream stream, void **params, void **extra)
{
    if (revoked && ++launches == 10)
        client_revoke(revoked);
    return CUDA_SUCCESS;
}

static void replace_launch(struct cuda_driver *driver)
{
    driver->cuLaunchKernel = revoke_at_ten;
}

/* Rounds are long while nobody waits; a revoke cuts them short. */
static void test_rest_round_ends_soon_after_a_revoke(void **state)
{
    const struct client_options options = {.sub_granules = 1024};
    struct client *client;
    struct function *function;

    revoked = NULL;
    launches = 0;
    test_driver_reset();
    client = client_open(&options);
    replace_launch(&client->driver);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_stream(client, STREAM);
    /* So that what is in flight is no limit: a kernel that was measured, on a quick machine. */
    client_launch(client, KERNEL, STREAM);
    client_await(client, client_sync_stream(client, STREAM));
    client_run(client);
    function = handle_get(client->channel->handles, CUDA_KIND_FUNCTION, KERNEL);
    assert_non_null(function);
    if (function) /* gcc does not know that the line above ends the test */
        function->estimate_ns = US;
    for (unsigned i = 0; i < 200; i++)
        client_launch(client, KERNEL, STREAM);
    revoked = client;
    consumer_round(client->channel);
    assert_int_equal(launches, 32);
    client_run(client);
    assert_int_equal(launches, 32);
    client_grant(client);
    client_run(client);
    assert_int_equal(launches, 200);
    revoked = NULL;
    client_close(client);
}

/*
 * A revoke while two kernels of a second each are in flight: not told to be ending before their
 * time is nearly over, and told then, with a kick, before they are done.
 */
static void test_rest_drain_is_told_before_its_end(void **state)
{
    const struct client_options options = {.sub_granules = 1024};
    struct client *client;
    struct function *function;
    uint64_t kicks;

    test_driver_reset();
    client = client_open(&options);
    test_driver_hold();
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_stream(client, STREAM);
    client_run(client);
    function = handle_get(client->channel->handles, CUDA_KIND_FUNCTION, KERNEL);
    assert_non_null(function);
    if (function)
        function->estimate_ns = 1000 * MS;
    client->lease->contended = 1;
    client->lease->inflight_max_ns = 3000 * MS;
    client_launch(client, KERNEL, STREAM);
    client_launch(client, KERNEL, STREAM);
    client_run(client);
    client_revoke(client);
    client_run(client);
    assert_int_equal(client->report->turn_ending, 0);
    assert_true(streams_end_ns(client->channel) > client->channel->now_ns + 1000 * MS);
    (void)!read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks));
    for (struct mark *mark = client->channel->active->marks; mark; mark = mark->next)
        mark->batch.first_ns -= 2000 * MS;
    client_run(client);
    assert_int_equal(client->report->turn_ending, client->lease->turn);
    assert_int_not_equal(client->report->turn_done, client->lease->turn);
    assert_int_equal(read(client->fds[VGPU_FD_REPORT_KICK], &kicks, sizeof(kicks)), 8);
    test_driver_step(2);
    client_run(client);
    assert_int_equal(client->report->turn_done, client->lease->turn);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest_sees_the_end_of_what_was_estimated),
        cmocka_unit_test(test_rest_is_late_in_proportion_where_estimates_are_wrong),
        cmocka_unit_test(test_rest_is_bounded),
        cmocka_unit_test(test_rest_round_ends_soon_after_a_revoke),
        cmocka_unit_test(test_rest_drain_is_told_before_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
