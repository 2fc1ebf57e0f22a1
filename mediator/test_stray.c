/* SPDX-License-Identifier: Apache-2.0 */
/* stray.c in virtual time: a channel with and without the turn, and what NVML shows of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/mediator.h"

#define S VGPU_NS_PER_S

struct bench {
    uint64_t now_ns;
    struct loop *loop;
    struct mediator_settings settings;
    struct mediator mediator;
    struct vm vm;
    struct channel *channel;
    struct seat seat;
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static const struct link_hooks no_hooks;

static int setup(void **state)
{
    const struct channel_ask ask = {
        .number = 1, .sub_granules = 2, .comp_granules = 2, .data_bytes = 4096, .process = "test"};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = 100 * S;
    bench->loop = loop_new(clock_of, bench, NULL);
    bench->settings.stray_samples = STRAY_SAMPLES_DEFAULT;
    bench->mediator =
        (struct mediator){.settings = &bench->settings, .loop = bench->loop, .vms = &bench->vm};
    link_init(&bench->mediator.link, bench->loop, "/nonexistent", &no_hooks, &bench->mediator);
    bench->mediator.store.stream.fd = -1; /* nobody is told of faults */
    stray_init(&bench->mediator);
    bench->vm = (struct vm){.mediator = &bench->mediator, .config = {.id = 7}};
    assert_int_equal(channel_new(&ask, &bench->channel, NULL), 0);
    bench->channel->vm = &bench->vm;
    bench->channel->pid = 1000;
    bench->channel->state = CHANNEL_OPEN;
    bench->channel->seat = &bench->seat;
    bench->channel->stray.off_ns = bench->now_ns;
    bench->vm.channels = bench->channel;
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    faults_free(&bench->vm);
    stray_release(&bench->mediator);
    channel_free(bench->channel);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    loop_free(bench->loop);
    free(bench);
    return 0;
}

/* A second later NVML shows that of its process. */
static void shows(struct bench *bench, int percent)
{
    json_t *gpu = json_pack("{s:[{s:i, s:i}, {s:i, s:i}]}", "processes", "pid", 1000, "sm_percent",
                            percent, "pid", 5, "sm_percent", 100);

    bench->now_ns += S;
    stray_sampled(&bench->mediator, 0, gpu);
    json_decref(gpu);
}

static bool killed(const struct bench *bench)
{
    return bench->channel->state == CHANNEL_KILLING;
}

static void test_stray_worker_is_ended(void **state)
{
    struct bench *bench = *state;

    shows(bench, 100);
    shows(bench, 100); /* what it did with its turn may show until now */
    assert_int_equal(bench->channel->stray.times, 0);
    shows(bench, 100);
    shows(bench, 10);
    assert_false(killed(bench));
    shows(bench, 100);
    assert_true(killed(bench));
    assert_int_equal(bench->channel->end_status, VGPU_KILLED);
    assert_int_equal(faults_counted(&bench->vm), 1);
}

static void test_stray_needs_three_in_a_row(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < 20; i++)
        shows(bench, i % 3 == 0 ? 9 : 100);
    assert_false(killed(bench));
}

static void test_stray_is_not_who_has_the_turn(void **state)
{
    struct bench *bench = *state;

    bench->seat.turn = bench->channel;
    for (int i = 0; i < 20; i++)
        shows(bench, 100);
    bench->seat.turn = NULL;
    bench->channel->stray.off_ns = bench->now_ns;
    shows(bench, 100);
    shows(bench, 100);
    shows(bench, 0);
    assert_false(killed(bench));
}

static void test_stray_samples_in_a_hurry_count_once(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < 3; i++)
        shows(bench, 0);
    for (int i = 0; i < 30; i++) {
        shows(bench, 100);
        bench->now_ns -= S;
    }
    assert_int_equal(bench->channel->stray.times, 1);
}

static void test_stray_unknown_is_not_held_against_anybody(void **state)
{
    struct bench *bench = *state;
    json_t *gpu = json_pack("{s:[{s:i, s:i}]}", "processes", "pid", 1000, "memory_bytes", 7);

    for (int i = 0; i < 10; i++) {
        bench->now_ns += S;
        stray_sampled(&bench->mediator, 0, gpu);
    }
    json_decref(gpu);
    assert_false(killed(bench));
}

static void test_stray_may_be_switched_off(void **state)
{
    struct bench *bench = *state;

    bench->settings.stray_samples = 0;
    for (int i = 0; i < 20; i++)
        shows(bench, 100);
    assert_false(killed(bench));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_stray_worker_is_ended),
        CASE(test_stray_needs_three_in_a_row),
        CASE(test_stray_is_not_who_has_the_turn),
        CASE(test_stray_samples_in_a_hurry_count_once),
        CASE(test_stray_unknown_is_not_held_against_anybody),
        CASE(test_stray_may_be_switched_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
