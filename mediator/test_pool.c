/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of a GPU in virtual time: workers that always have work obey their lease pages, and the
 * test counts who has the GPU for how long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/lease.h"
#include "mediator/test_channel_pair.h"

#define MS      VGPU_NS_PER_MS
#define N_VMS   4
#define N_POOLS 3

struct bench {
    uint64_t now_ns;
    struct loop *loop;
    struct lease_settings settings;
    struct gpu *gpu;
    struct accounts accounts;
    struct config config;
    struct config_pool pools[N_POOLS];
    struct config_vm vms[N_VMS];
    struct channel *channels[N_VMS];
    struct vgpu_report_page *reports[N_VMS];
    unsigned held_ms[N_VMS];
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static void never_kill(void *context, struct channel *channel, enum fault_kind kind,
                       enum vgpu_status status, const char *text)
{
    fail_msg("killed: %s", text);
}

/* Pools A, B and C; A and B on GPU 0. VMs 1 and 2 in A, 3 and 4 in B, all the same. */
static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->loop = loop_new(clock_of, bench, NULL);
    bench->settings = (struct lease_settings){.job_timeout_ns = 30 * VGPU_NS_PER_S,
                                              .drain_ns = 2 * VGPU_NS_PER_S,
                                              .kill = never_kill,
                                              .context = bench};
    bench->config = (struct config){.n_pools = N_POOLS, .pools = bench->pools};
    for (int i = 0; i < N_POOLS; i++)
        bench->pools[i] = (struct config_pool){.name = {(char)('A' + i)}, .gpus = i < 2 ? 1 : 2};
    bench->gpu = gpu_new(bench->loop, &bench->settings, 0, NULL);
    gpu_configure(bench->gpu, &bench->config);
    for (uint32_t i = 0; i < N_VMS; i++) {
        bench->vms[i] = (struct config_vm){
            .id = i + 1, .priority = 1, .weight_hundredths = 5000, .pool = {(char)('A' + i / 2)}};
        bench->reports[i] = pair_open(i + 1, &bench->channels[i]);
    }
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    gpu_free(bench->gpu);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    for (int i = 0; i < N_VMS; i++)
        pair_close(bench->channels[i], bench->reports[i]);
    loop_free(bench->loop);
    free(bench);
    return 0;
}

static void reconfigure(struct bench *bench)
{
    gpu_configure(bench->gpu, &bench->config);
}

static struct seat *seat_of(struct bench *bench, int i)
{
    return gpu_find_seat(bench->gpu, bench->vms[i].id);
}

/* A program of VM i that always has work. */
static void begin(struct bench *bench, int i)
{
    struct seat *seat = gpu_seat(bench->gpu, &bench->vms[i], &bench->accounts);

    assert_non_null(seat);
    lease_channel_add(seat, bench->channels[i]);
    bench->reports[i]->need = VGPU_NEED_GPU;
    lease_channel_reported(bench->channels[i]);
}

static void begin_all(struct bench *bench)
{
    for (int i = 0; i < N_VMS; i++)
        begin(bench, i);
}

static bool granted(const struct bench *bench, int i)
{
    return bench->channels[i]->lease->turn & VGPU_TURN_GRANTED;
}

static void step(struct bench *bench)
{
    bench->now_ns += MS;
    while (loop_next_due(bench->loop) <= bench->now_ns)
        loop_turn(bench->loop, false);
    for (int i = 0; i < N_VMS; i++) {
        struct channel *channel = bench->channels[i];

        if (!channel->seat)
            continue;
        if (!granted(bench, i) && channel->revoked) {
            bench->reports[i]->turn_done = channel->lease->turn;
            lease_channel_reported(channel);
        }
    }
}

static unsigned charged_ms(struct bench *bench, int i)
{
    struct seat *seat = gpu_find_seat(bench->gpu, bench->vms[i].id);
    struct sched_vm_stats stats = {.charged_ns = 0};

    if (seat) {
        seat_charge(seat);
        sched_vm_stats(bench->gpu->sched, seat->handle, bench->now_ns, &stats);
    }
    return (unsigned)(stats.charged_ns / MS);
}

/* Counts from nothing who has the GPU for how many of so many ms. */
static void run(struct bench *bench, unsigned ms)
{
    for (int i = 0; i < N_VMS; i++)
        bench->held_ms[i] = charged_ms(bench, i);
    for (unsigned i = 0; i < ms; i++)
        step(bench);
    for (int i = 0; i < N_VMS; i++)
        bench->held_ms[i] = charged_ms(bench, i) - bench->held_ms[i];
}

static unsigned percent(const struct bench *bench, int i)
{
    unsigned sum = 0;

    for (int k = 0; k < N_VMS; k++)
        sum += bench->held_ms[k];
    return (100 * bench->held_ms[i] + sum / 2) / sum;
}

static struct sched_config present(const struct bench *bench)
{
    struct sched_config config;

    sched_get_config(bench->gpu->sched, &config);
    return config;
}

static bool weighted(const struct bench *bench)
{
    struct sched_stats stats;

    sched_stats(bench->gpu->sched, bench->now_ns, &stats);
    return stats.pools_weighted;
}

static void test_pool_without_weights_makes_one_queue(void **state)
{
    struct bench *bench = *state;

    bench->vms[3].priority = 2;
    begin_all(bench);
    run(bench, 4000);
    assert_false(weighted(bench));
    for (int i = 0; i < 3; i++)
        assert_in_range(percent(bench, i), 18, 22);
    assert_in_range(percent(bench, 3), 38, 42);
}

static void test_pool_weights_divide_the_gpu_live(void **state)
{
    struct bench *bench = *state;

    begin_all(bench);
    bench->pools[0].weight_hundredths = 7500;
    reconfigure(bench);
    assert_false(weighted(bench)); /* B has none */
    bench->pools[1].weight_hundredths = 2500;
    reconfigure(bench);
    assert_true(weighted(bench));
    run(bench, 4000);
    assert_in_range(percent(bench, 0) + percent(bench, 1), 73, 77);
    assert_in_range(percent(bench, 2), 11, 14);
    bench->pools[0].weight_hundredths = 2500;
    reconfigure(bench);
    run(bench, 4000);
    assert_in_range(percent(bench, 0) + percent(bench, 1), 48, 52);
    bench->pools[1].weight_hundredths = 0;
    reconfigure(bench);
    assert_false(weighted(bench));
}

/* Within one pool nobody is divided from anybody: it is one queue, with its early turns. */
static void test_pool_alone_needs_no_weight(void **state)
{
    struct bench *bench = *state;

    bench->pools[0].weight_hundredths = 100;
    bench->pools[1].gpus = 0;
    reconfigure(bench);
    begin(bench, 0);
    assert_false(weighted(bench));
}

static void test_pool_change_moves_a_vm_live(void **state)
{
    struct bench *bench = *state;

    bench->pools[0].weight_hundredths = bench->pools[1].weight_hundredths = 5000;
    reconfigure(bench);
    begin_all(bench);
    run(bench, 4000);
    assert_in_range(percent(bench, 3), 23, 27);
    strcpy(bench->vms[2].pool, "A");
    seat_update(seat_of(bench, 2), &bench->vms[2]);
    run(bench, 4000);
    assert_in_range(percent(bench, 3), 48, 52);
    for (int i = 0; i < 3; i++)
        assert_in_range(percent(bench, i), 15, 19);
}

/* What runs on a GPU that the new pool has not goes on there, in the old pool. */
static void test_pool_elsewhere_leaves_what_runs(void **state)
{
    struct bench *bench = *state;

    bench->pools[0].weight_hundredths = bench->pools[1].weight_hundredths = 5000;
    reconfigure(bench);
    begin_all(bench);
    strcpy(bench->vms[2].pool, "C");
    bench->vms[2].priority = 2;
    seat_update(seat_of(bench, 2), &bench->vms[2]);
    assert_string_equal(seat_of(bench, 2)->pool->name, "B");
    run(bench, 4000);
    assert_in_range(percent(bench, 2), 31, 35); /* its priority counts all the same */
    assert_in_range(percent(bench, 3), 15, 18);
    /* Once the GPU serves that pool too, it goes there. */
    bench->pools[2].gpus = 1;
    bench->pools[2].weight_hundredths = 5000;
    reconfigure(bench);
    seat_update(seat_of(bench, 2), &bench->vms[2]);
    assert_string_equal(seat_of(bench, 2)->pool->name, "C");
    run(bench, 4000);
    assert_in_range(percent(bench, 2), 31, 35);
    assert_in_range(percent(bench, 3), 31, 35);
}

/* A pool that the GPU no longer serves stays until its last VM goes, at the least weight. */
static void test_pool_taken_away_stays_while_it_is_used(void **state)
{
    struct bench *bench = *state;
    struct pool *pool;

    bench->pools[0].weight_hundredths = bench->pools[2].weight_hundredths = 5000;
    bench->pools[1].weight_hundredths = 5000;
    bench->pools[2].gpus = 1;
    reconfigure(bench);
    begin_all(bench);
    bench->pools[1].gpus = 0;
    reconfigure(bench);
    assert_true(weighted(bench));
    run(bench, 10000);
    assert_in_range(percent(bench, 0) + percent(bench, 1), 96, 99);
    for (int i = 2; i < 4; i++) {
        struct seat *seat = seat_of(bench, i);

        assert_string_equal(seat->pool->name, "B");
        lease_channel_gone(bench->channels[i]);
        seat_free(seat);
    }
    for (pool = bench->gpu->pools; pool; pool = pool->next)
        assert_string_not_equal(pool->name, "B");
}

/* Channels that a new mediator adopts on a GPU that their pool has lost meanwhile. */
static void test_pool_that_is_not_served_takes_adopted_vms(void **state)
{
    struct bench *bench = *state;
    struct sched_stats stats;

    strcpy(bench->vms[0].pool, "C");
    begin(bench, 0);
    assert_true(granted(bench, 0));
    sched_stats(bench->gpu->sched, bench->now_ns, &stats);
    assert_int_equal(stats.pools, 3);
    lease_channel_gone(bench->channels[0]);
    seat_free(seat_of(bench, 0));
    sched_stats(bench->gpu->sched, bench->now_ns, &stats);
    assert_int_equal(stats.pools, 2);
}

static void test_pool_least_values_count(void **state)
{
    struct bench *bench = *state;
    struct sched_config defaults = present(bench), config;

    bench->pools[0].slice_us = 4000;
    bench->pools[1].slice_us = 50000;
    bench->pools[1].grace_us = 1000;
    bench->pools[1].max_wait_ms = 700;
    bench->pools[2].urgency_us = 1; /* serves another GPU */
    reconfigure(bench);
    config = present(bench);
    assert_int_equal(config.slice_ns, 4 * MS);
    assert_int_equal(config.slice_min_ns, 800000);
    assert_int_equal(config.slice_max_ns, 16 * MS);
    assert_int_equal(config.grace_ns, MS);
    assert_int_equal(config.max_wait_ns, 700 * MS);
    assert_int_equal(config.aging_ns, 350 * MS);
    assert_int_equal(config.urgency_ns, defaults.urgency_ns);
    assert_int_equal(config.policy, SCHED_POLICY_WFQ);
    bench->pools[0].slice_us = bench->pools[1].slice_us = 0;
    bench->pools[1].grace_us = bench->pools[1].max_wait_ms = 0;
    reconfigure(bench);
    config = present(bench);
    assert_int_equal(config.slice_ns, defaults.slice_ns);
    assert_int_equal(config.slice_min_ns, defaults.slice_min_ns);
    assert_int_equal(config.slice_max_ns, defaults.slice_max_ns);
    assert_int_equal(config.grace_ns, defaults.grace_ns);
    assert_int_equal(config.max_wait_ns, defaults.max_wait_ns);
    assert_int_equal(config.aging_ns, defaults.aging_ns);
}

/* Every value that the store takes makes a configuration that the scheduler takes. */
static void test_pool_extremes_are_accepted(void **state)
{
    static const uint32_t extremes[][4] = {{100, 1, 1, 1},
                                           {10000000, 10000000, 86400000, 10000000}};
    struct bench *bench = *state;

    for (int i = 0; i < 2; i++) {
        bench->pools[0].slice_us = extremes[i][0];
        bench->pools[0].grace_us = extremes[i][1];
        bench->pools[0].max_wait_ms = extremes[i][2];
        bench->pools[0].urgency_us = extremes[i][3];
        reconfigure(bench);
        assert_int_equal(present(bench).slice_ns, extremes[i][0] * UINT64_C(1000));
        assert_int_equal(present(bench).urgency_ns, extremes[i][3] * UINT64_C(1000));
    }
}

static void test_pool_strict_if_any_says_so(void **state)
{
    struct bench *bench = *state;

    bench->pools[2].strict = true; /* serves another GPU */
    reconfigure(bench);
    assert_int_equal(present(bench).policy, SCHED_POLICY_WFQ);
    bench->vms[3].priority = 2;
    begin_all(bench);
    bench->pools[1].strict = true;
    reconfigure(bench);
    run(bench, 1000);
    assert_int_equal(percent(bench, 3), 100);
    bench->pools[1].strict = false;
    reconfigure(bench);
    run(bench, 4000);
    assert_in_range(percent(bench, 3), 38, 42);
}

/* 10 s of slice become 5 ms: the turn in hand ends within that, not seconds later. */
static void test_pool_slice_is_live_within_the_turn(void **state)
{
    struct bench *bench = *state;
    int holder;

    bench->pools[0].slice_us = 10000000;
    reconfigure(bench);
    begin(bench, 0);
    begin(bench, 1);
    run(bench, 2500); /* first turns are short: what runs now has 10 s */
    run(bench, 100);
    holder = granted(bench, 0) ? 0 : 1;
    assert_int_equal(bench->held_ms[holder], 100);
    bench->pools[0].slice_us = 5000;
    reconfigure(bench);
    run(bench, 8);
    assert_true(bench->held_ms[1 - holder] >= 5);
}

/* So many jobs of VM i are taken now. */
static void takes(struct bench *bench, int i, unsigned jobs)
{
    bench->reports[i]->jobs_taken += jobs;
    bench->reports[i]->depth += jobs;
}

/* The worker of VM i has done so many, and needs the GPU for the rest. */
static void does(struct bench *bench, int i, unsigned jobs)
{
    bench->reports[i]->jobs_done += jobs;
    bench->reports[i]->depth -= jobs;
    bench->reports[i]->need = bench->reports[i]->depth ? VGPU_NEED_GPU : VGPU_NEED_NOTHING;
    lease_channel_reported(bench->channels[i]);
}

static struct sched_vm_stats stats_of(struct bench *bench, int i)
{
    struct sched_vm_stats stats;

    assert_int_equal(
        sched_vm_stats(bench->gpu->sched, seat_of(bench, i)->handle, bench->now_ns, &stats), 0);
    return stats;
}

/* 100 jobs of VM 1 have arrived before one of VM 2, so they are done before it: FIFO, by jobs. */
static void test_pool_strict_serves_jobs_in_order_of_arrival(void **state)
{
    struct bench *bench = *state;

    bench->pools[0].strict = true;
    reconfigure(bench);
    takes(bench, 0, 100);
    begin(bench, 0);
    run(bench, 1);
    takes(bench, 1, 1);
    begin(bench, 1);
    takes(bench, 0, 1); /* one more, after that of VM 2 */
    for (int i = 0; i < 99; i++) {
        run(bench, 1);
        does(bench, 0, 1);
    }
    run(bench, 10);
    assert_true(granted(bench, 0));
    does(bench, 0, 1); /* the last that came before */
    run(bench, 11);
    assert_true(granted(bench, 1));
    does(bench, 1, 1);
    run(bench, 2);
    assert_true(granted(bench, 0));
}

/* One that says for ever that its oldest job is old has its neighbours wait for a second longer. */
static void test_pool_strict_bounds_a_lie_about_arrivals(void **state)
{
    struct bench *bench = *state;
    unsigned waited = 0;

    bench->pools[0].strict = true;
    reconfigure(bench);
    takes(bench, 0, 1000000);
    begin(bench, 0);
    run(bench, 5000);
    takes(bench, 1, 1);
    begin(bench, 1);
    while (!granted(bench, 1)) {
        run(bench, 1);
        waited++;
    }
    assert_in_range(waited, 900, 1020);
    run(bench, 5);
    does(bench, 1, 1);
    takes(bench, 1, 1);
    bench->reports[1]->need = VGPU_NEED_GPU;
    lease_channel_reported(bench->channels[1]);
    for (waited = 0; !granted(bench, 1); waited++)
        run(bench, 1);
    assert_in_range(waited, 900, 1020);
}

/* Depth is told when somebody decides, and never for more than what it can add. */
static void test_pool_depth_is_told_bounded(void **state)
{
    struct bench *bench = *state;

    takes(bench, 0, 1);
    begin(bench, 0);
    begin(bench, 1);
    takes(bench, 1, 7);
    run(bench, 30);
    assert_int_equal(stats_of(bench, 1).depth, 7);
    bench->reports[1]->depth = UINT32_MAX;
    run(bench, 30);
    assert_int_equal(stats_of(bench, 1).depth, 64);
}

/* Nobody waits: no timer runs, whatever is queued. */
static void test_pool_depth_wakes_nobody_up(void **state)
{
    struct bench *bench = *state;

    begin(bench, 0);
    takes(bench, 0, 100);
    assert_true(loop_next_due(bench->loop) >= bench->now_ns + 10 * VGPU_NS_PER_S);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pool_without_weights_makes_one_queue),
        CASE(test_pool_weights_divide_the_gpu_live),
        CASE(test_pool_alone_needs_no_weight),
        CASE(test_pool_change_moves_a_vm_live),
        CASE(test_pool_elsewhere_leaves_what_runs),
        CASE(test_pool_taken_away_stays_while_it_is_used),
        CASE(test_pool_that_is_not_served_takes_adopted_vms),
        CASE(test_pool_least_values_count),
        CASE(test_pool_extremes_are_accepted),
        CASE(test_pool_strict_if_any_says_so),
        CASE(test_pool_slice_is_live_within_the_turn),
        CASE(test_pool_strict_serves_jobs_in_order_of_arrival),
        CASE(test_pool_strict_bounds_a_lie_about_arrivals),
        CASE(test_pool_depth_is_told_bounded),
        CASE(test_pool_depth_wakes_nobody_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
