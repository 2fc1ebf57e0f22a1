/* SPDX-License-Identifier: Apache-2.0 */
/* Stages: what is counted, what is sampled, and that it reaches the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)

static void take_records(struct stages *stages, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        stages_begin(stages);
        stages_note(stages, &stages->sum.take_ns);
        stages_end(stages);
    }
}

static void test_stages_one_record_of_a_sample_is_timed(void **state)
{
    struct stages stages = {0};

    take_records(&stages, STAGES_SAMPLE);
    assert_int_equal(stages.sum.samples, 1);
    take_records(&stages, 1);
    assert_int_equal(stages.sum.samples, 2);
    take_records(&stages, 10 * STAGES_SAMPLE - 1);
    assert_int_equal(stages.sum.samples, 11);
    assert_int_equal(stages.sum.records, 11 * STAGES_SAMPLE);
}

static void test_stages_nothing_taken_is_no_sample(void **state)
{
    struct stages stages = {0};
    uint64_t check_ns = 0;

    for (unsigned i = 0; i < 1000; i++) {
        stages_begin(&stages);
        stages_cancel(&stages);
    }
    stages_note(&stages, &check_ns);
    assert_int_equal(check_ns, 0);
    take_records(&stages, 1);
    assert_int_equal(stages.sum.samples, 1);
    assert_int_equal(stages.sum.records, 1);
}

static void test_stages_wait_in_the_ring(void **state)
{
    struct stages stages = {0};

    /* Empty, then ten granules: five on the average; emptied; a sleep is not counted. */
    stages_round(&stages, 1000, 0);
    stages_round_end(&stages, 0);
    stages_round(&stages, 1100, 10);
    assert_int_equal(stages.sum.ring_granule_ns, 500);
    stages_round_end(&stages, 10);
    stages_round(&stages, 1200, 10);
    assert_int_equal(stages.sum.ring_granule_ns, 1500);
    stages_round_end(&stages, 0);
    stages_rest(&stages, 1250);
    stages_slept(&stages, 9250);
    stages_round(&stages, 9300, 2);
    assert_int_equal(stages.sum.ring_granule_ns, 1500);
    assert_int_equal(stages.sum.sleep_ns, 8000);
    assert_int_equal(stages.sum.poll_ns, 0);
    stages_rest(&stages, 9400);
    stages_round(&stages, 9450, 0);
    assert_int_equal(stages.sum.poll_ns, 50);
}

static void test_stages_reach_the_page(void **state)
{
    const struct client_options options = {0};
    const struct vgpu_channel_stages *told;
    struct client *client;
    uint64_t before;

    test_driver_reset();
    client = client_open(&options);
    told = &client->page->stages;
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    client_stream(client, STREAM);
    client_run(client);
    before = client->channel->stages.sum.records;
    for (unsigned i = 0; i < 4 * STAGES_SAMPLE; i++)
        client_launch(client, KERNEL, STREAM);
    client_await(client, client_sync_stream(client, STREAM));
    assert_int_equal(client->channel->stages.sum.records, before + 4 * STAGES_SAMPLE + 1);
    assert_in_range(page_load_u64(&told->records), 4 * STAGES_SAMPLE,
                    before + 4 * STAGES_SAMPLE + 1);
    assert_in_range(page_load_u64(&told->samples), 4, 6);
    assert_true(page_load_u64(&told->granules) >= 2 * 4 * STAGES_SAMPLE);
    assert_true(page_load_u64(&told->take_ns) > 0);
    assert_true(page_load_u64(&told->driver_ns) > 0);
    assert_true(page_load_u64(&told->marks) > 0);
    assert_in_range(page_load_u64(&told->marks_timed), 1, page_load_u64(&told->marks));
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_one_record_of_a_sample_is_timed),
        cmocka_unit_test(test_stages_nothing_taken_is_no_sample),
        cmocka_unit_test(test_stages_wait_in_the_ring),
        cmocka_unit_test(test_stages_reach_the_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
