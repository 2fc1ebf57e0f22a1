/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c in virtual time: the test plays the workers on the report pages of real channels, and
 * reads what their lease pages grant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/budget.h"
#include "mediator/watch.h"
#include "mediator/test_channel_pair.h"
#include "sched/sim_stat.h"

#define MS         VGPU_NS_PER_MS
#define N_CHANNELS 4

struct bench {
    uint64_t now_ns;
    struct loop *loop;
    struct budget budget;
    struct channel *channels[N_CHANNELS];
    struct vgpu_report_page *reports[N_CHANNELS];
};

static unsigned audits;

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static void audit(struct channel *channel)
{
    audits++;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->loop = loop_new(clock_of, bench, NULL);
    budget_init(&bench->budget, bench->loop, audit);
    for (uint32_t i = 0; i < N_CHANNELS; i++)
        bench->reports[i] = pair_open(i + 1, &bench->channels[i]);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    budget_release(&bench->budget);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    for (int i = 0; i < N_CHANNELS; i++)
        pair_close(bench->channels[i], bench->reports[i]);
    loop_free(bench->loop);
    free(bench);
    return 0;
}

static void limit(struct bench *bench, uint32_t rate, uint32_t burst, uint32_t depth,
                  uint64_t bytes)
{
    const struct budget_limits limits = {{rate, burst}, depth, bytes};

    budget_configure(&bench->budget, &limits);
}

static void add(struct bench *bench, int i)
{
    budget_add(&bench->budget, bench->channels[i]);
}

static const struct vgpu_lease_page *lease(const struct bench *bench, int i)
{
    return bench->channels[i]->lease;
}

/* How many jobs the worker may take now. */
static uint64_t room(const struct bench *bench, int i)
{
    uint64_t allowed = lease(bench, i)->jobs_allowed, taken = bench->reports[i]->jobs_taken;

    return allowed > taken ? allowed - taken : 0;
}

/* The worker tells what it has used up, if it is asked, as worker/turn.c does. */
static void tell(struct bench *bench, int i)
{
    struct vgpu_report_page *report = bench->reports[i];

    report->grant_seen = lease(bench, i)->grant;
    report->wants = (room(bench, i) == 0 ? VGPU_WANT_JOBS : 0) |
                    (report->depth >= lease(bench, i)->depth_max ? VGPU_WANT_DEPTH : 0) |
                    (report->wants & VGPU_WANT_BYTES);
    report->wants &= lease(bench, i)->ask;
    if (report->wants)
        budget_reported(&bench->budget, bench->channels[i]);
}

/* Its guest sends that many jobs; those over the limit are refused. How many it took. */
static uint64_t send_jobs(struct bench *bench, int i, uint64_t jobs)
{
    uint64_t taken = 0;

    for (; jobs > 0; jobs--) {
        if (room(bench, i) == 0)
            tell(bench, i);
        if (room(bench, i) == 0)
            bench->reports[i]->refused_by[VGPU_LIMIT_RATE]++;
        else
            taken++, bench->reports[i]->jobs_taken++, bench->reports[i]->jobs_done++;
    }
    tell(bench, i);
    return taken;
}

static void pass(struct bench *bench, uint64_t ns)
{
    uint64_t end = bench->now_ns + ns;

    while (loop_next_due(bench->loop) <= end) {
        if (bench->now_ns < loop_next_due(bench->loop))
            bench->now_ns = loop_next_due(bench->loop);
        loop_turn(bench->loop, false);
    }
    bench->now_ns = end;
}

static void test_budget_without_limits_costs_nothing(void **state)
{
    struct bench *bench = *state;
    uint64_t kicks;

    add(bench, 0);
    add(bench, 1);
    assert_true(lease(bench, 0)->jobs_allowed == UINT64_MAX);
    assert_int_equal(lease(bench, 0)->depth_max, 4096);
    assert_int_equal(lease(bench, 0)->bytes_max, 0);
    assert_int_equal(lease(bench, 0)->ask, 0);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    /* Not one kick for it either. */
    assert_int_equal(read(bench->channels[0]->fds[VGPU_FD_LEASE_KICK], &kicks, 8), -1);
    bench->reports[0]->wants = VGPU_WANT_JOBS;
    budget_reported(&bench->budget, bench->channels[0]);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
}

static void test_budget_rate_at_the_burst(void **state)
{
    struct bench *bench = *state;

    limit(bench, 10, 5, 0, 0);
    add(bench, 0);
    assert_int_equal(send_jobs(bench, 0, 4), 4);
    assert_int_equal(send_jobs(bench, 0, 2), 1); /* the fifth, and not the sixth */
    pass(bench, 99 * MS);
    assert_int_equal(send_jobs(bench, 0, 1), 0);
    pass(bench, 1 * MS);
    assert_int_equal(send_jobs(bench, 0, 2), 1);
}

static void test_budget_rate_over_time(void **state)
{
    struct bench *bench = *state;
    uint64_t taken = 0;

    limit(bench, 1000, 20, 0, 0);
    add(bench, 0);
    for (int i = 0; i < 2000; i++) {
        taken += send_jobs(bench, 0, 3);
        pass(bench, MS);
    }
    assert_in_range(taken, 2000 - 10, 2000 + 20);
}

/* Whoever of a VM's channels works has all of its rate, and never more together. */
static void test_budget_rate_is_the_vms(void **state)
{
    struct bench *bench = *state;
    uint64_t random = 7, taken = 0, busy[2] = {0, 0};

    limit(bench, 1000, 50, 0, 0);
    for (int i = 0; i < N_CHANNELS; i++)
        add(bench, i);
    for (int i = 0; i < 4000; i++) {
        taken += send_jobs(bench, (int)(sim_random_next(&random) % N_CHANNELS),
                           sim_random_next(&random) % 4);
        pass(bench, MS / 2);
        assert_true(taken <= 50 + (bench->now_ns - VGPU_NS_PER_S) / MS);
    }
    assert_true(taken > 1900);
    for (int i = 0; i < 2000; i++) { /* two work, two sleep */
        busy[0] += send_jobs(bench, 0, 5);
        busy[1] += send_jobs(bench, 1, 5);
        pass(bench, MS);
    }
    assert_in_range(busy[0] + busy[1], 1900, 2060);
    assert_in_range(busy[0] * 100 / (busy[0] + busy[1]), 40, 60);
}

/* One job a second, and it is granted to a channel that does not want it. */
static void test_budget_idle_channel_gives_its_job_to_another(void **state)
{
    struct bench *bench = *state;

    limit(bench, 1, 1, 0, 0);
    add(bench, 0);
    assert_int_equal(room(bench, 0), 1);
    pass(bench, 50 * MS);
    add(bench, 1);
    assert_int_equal(send_jobs(bench, 1, 1), 1);
    assert_int_equal(send_jobs(bench, 1, 1), 0);
    /* Nor does the one that lost it starve. */
    tell(bench, 0);
    for (int i = 0; i < 4000 && room(bench, 0) == 0; i++) {
        pass(bench, MS);
        send_jobs(bench, 1, 1);
    }
    assert_int_equal(room(bench, 0), 1);
}

static void test_budget_many_idle_channels_wake_seldom(void **state)
{
    struct bench *bench = *state;
    uint32_t before;

    limit(bench, 100, 4, 0, 0);
    for (int i = 0; i < N_CHANNELS; i++)
        add(bench, i);
    for (int i = 0; i < 1000; i++) {
        send_jobs(bench, 0, 2);
        pass(bench, MS);
    }
    before = lease(bench, 3)->grant;
    for (int i = 0; i < 1000; i++) {
        send_jobs(bench, 0, 2);
        tell(bench, 3);
        pass(bench, MS);
    }
    assert_true(lease(bench, 3)->grant - before <= 40);
}

static void test_budget_limits_change_live(void **state)
{
    struct bench *bench = *state;

    add(bench, 0);
    bench->reports[0]->jobs_taken = 1000;
    bench->reports[0]->jobs_done = 1000;
    limit(bench, 10, 3, 2, 5 << 20);
    assert_int_equal(room(bench, 0), 3);
    assert_int_equal(lease(bench, 0)->depth_max, 2);
    assert_int_equal(lease(bench, 0)->bytes_max, 5 << 20);
    assert_int_equal(send_jobs(bench, 0, 10), 3);
    limit(bench, 1000000, 1000, 0, 0);
    pass(bench, 10 * MS);
    assert_true(room(bench, 0) >= 900);
    limit(bench, 0, 0, 0, 0);
    assert_true(lease(bench, 0)->jobs_allowed == UINT64_MAX);
    assert_int_equal(lease(bench, 0)->depth_max, 4096);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
}

static uint64_t depth_sum(const struct bench *bench)
{
    uint64_t sum = 0;

    for (const struct channel *c = bench->budget.channels; c; c = c->budget_next)
        sum += c->lease->depth_max;
    return sum;
}

static void test_budget_depth_of_a_lone_channel_is_all(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 10, 0);
    add(bench, 0);
    assert_int_equal(lease(bench, 0)->depth_max, 10);
    assert_int_equal(lease(bench, 0)->ask, 0); /* there is nothing to ask for */
}

static void test_budget_depth_goes_where_it_is_wanted(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 10, 0);
    add(bench, 0);
    add(bench, 1);
    add(bench, 2);
    assert_true(depth_sum(bench) <= 10);
    for (int i = 0; i < 5; i++) {
        bench->reports[0]->depth = lease(bench, 0)->depth_max;
        tell(bench, 0);
        pass(bench, 10 * MS);
        assert_true(depth_sum(bench) <= 10);
    }
    assert_int_equal(lease(bench, 0)->depth_max, 8);
    assert_int_equal(lease(bench, 1)->depth_max, 1);
    /* Another one wants some: what the first has in use is not given twice. */
    bench->reports[1]->depth = 1;
    tell(bench, 1);
    pass(bench, 30 * MS);
    assert_true(lease(bench, 1)->depth_max + bench->reports[0]->depth <= 10);
    bench->reports[0]->depth = lease(bench, 0)->depth_max;
    bench->reports[1]->depth = lease(bench, 1)->depth_max;
    pass(bench, 30 * MS);
    assert_in_range(lease(bench, 1)->depth_max, 4, 5);
    assert_true(depth_sum(bench) <= 10);
}

static void test_budget_depth_below_the_channels_is_one_each(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 2, 0);
    for (int i = 0; i < N_CHANNELS; i++)
        add(bench, i);
    for (int i = 0; i < N_CHANNELS; i++) {
        bench->reports[i]->depth = lease(bench, i)->depth_max;
        tell(bench, i);
    }
    pass(bench, 100 * MS);
    for (int i = 0; i < N_CHANNELS; i++)
        assert_int_equal(lease(bench, i)->depth_max, 1);
}

static void test_budget_depth_lowered_live_holds_for_all(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 100, 0);
    for (int i = 0; i < N_CHANNELS; i++)
        add(bench, i);
    limit(bench, 0, 0, 8, 0);
    assert_true(depth_sum(bench) <= 8);
}

static void test_budget_bytes_are_divided(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 0, 100);
    add(bench, 0);
    assert_int_equal(lease(bench, 0)->bytes_max, 100);
    add(bench, 1);
    assert_true(lease(bench, 0)->bytes_max + lease(bench, 1)->bytes_max <= 100);
    bench->reports[1]->bytes_in_flight = 1;
    bench->reports[1]->wants = VGPU_WANT_BYTES;
    tell(bench, 1);
    assert_true(lease(bench, 1)->bytes_max > 90);
    assert_true(lease(bench, 0)->bytes_max >= 1);
    budget_remove(&bench->budget, bench->channels[0]);
    assert_int_equal(lease(bench, 1)->bytes_max, 100);
}

static void test_budget_of_a_dead_channel_goes_back(void **state)
{
    struct bench *bench = *state;

    limit(bench, 1, 6, 4, 0);
    add(bench, 0);
    assert_int_equal(room(bench, 0), 6);
    assert_int_equal(send_jobs(bench, 0, 1), 1);
    budget_remove(&bench->budget, bench->channels[0]);
    add(bench, 1);
    assert_int_equal(room(bench, 1), 5);
    assert_int_equal(lease(bench, 1)->depth_max, 4);
}

static void test_budget_is_adopted(void **state)
{
    struct bench *bench = *state;

    limit(bench, 1, 6, 0, 0);
    add(bench, 0);
    assert_int_equal(send_jobs(bench, 0, 4), 4);
    /* As the next mediator finds it: two granted and not spent, four spent. */
    budget_release(&bench->budget);
    budget_init(&bench->budget, bench->loop, audit);
    limit(bench, 1, 6, 0, 0);
    budget_adopt(&bench->budget, bench->channels[0]);
    assert_int_equal(send_jobs(bench, 0, 10), 2);
    pass(bench, VGPU_NS_PER_S);
    assert_int_equal(send_jobs(bench, 0, 10), 1);
}

static void test_budget_limited_channels_are_audited(void **state)
{
    struct bench *bench = *state;

    audits = 0;
    limit(bench, 0, 0, 10, 0);
    add(bench, 0);
    pass(bench, 5 * VGPU_NS_PER_S);
    assert_in_range(audits, 9, 11);
}

/* What is held against a worker, as conduct.c asks. */
static const char *contradiction(struct bench *bench, int i)
{
    struct channel_report report;

    channel_report(bench->channels[i], &report);
    channel_grant_seen(bench->channels[i], &report);
    return watch_contradiction(bench->channels[i], &report);
}

static void test_budget_overtaking_is_seen(void **state)
{
    struct bench *bench = *state;

    limit(bench, 1, 5, 0, 0);
    add(bench, 0);
    for (uint64_t taken = 4; taken <= 6; taken++) {
        bench->reports[0]->jobs_taken = taken;
        bench->reports[0]->grant_seen = lease(bench, 0)->grant;
        assert_null(contradiction(bench, 0)); /* the sixth may be the one that waits */
    }
    bench->reports[0]->jobs_taken = 7;
    assert_non_null(contradiction(bench, 0));
}

static void test_budget_depth_over_the_grant_is_seen(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 4, 0);
    add(bench, 0);
    bench->reports[0]->jobs_taken = 100;
    bench->reports[0]->grant_seen = lease(bench, 0)->grant;
    bench->reports[0]->depth = 3;
    assert_null(contradiction(bench, 0));
    bench->reports[0]->depth = 5;
    assert_null(contradiction(bench, 0));
    bench->reports[0]->depth = 6;
    assert_non_null(contradiction(bench, 0));
}

/* A worker that has not seen a smaller grant goes by the larger one, and that is not held against
 * it, nor what it had in flight when it saw it. */
static void test_budget_lowered_grant_is_not_held_against_a_slow_worker(void **state)
{
    struct bench *bench = *state;

    limit(bench, 0, 0, 8, 0);
    add(bench, 0);
    bench->reports[0]->grant_seen = lease(bench, 0)->grant;
    assert_null(contradiction(bench, 0));
    limit(bench, 0, 0, 4, 0);
    bench->reports[0]->jobs_taken = 8;
    bench->reports[0]->depth = 8;
    assert_null(contradiction(bench, 0));
    bench->reports[0]->grant_seen = lease(bench, 0)->grant;
    assert_null(contradiction(bench, 0));
    bench->reports[0]->depth = 4;
    assert_null(contradiction(bench, 0));
    bench->reports[0]->depth = 8;
    assert_non_null(contradiction(bench, 0));
}

static void test_budget_impossible_counters_are_seen(void **state)
{
    struct bench *bench = *state;
    struct vgpu_report_page *report = bench->reports[0];

    limit(bench, 1000, 1000, 0, 0);
    add(bench, 0);
    report->jobs_taken = report->jobs_done = 10;
    budget_reported(&bench->budget, bench->channels[0]);
    assert_null(contradiction(bench, 0));
    report->jobs_done = 11;
    assert_non_null(contradiction(bench, 0));
    report->jobs_done = 9;
    report->jobs_failed = UINT64_MAX;
    assert_non_null(contradiction(bench, 0));
    report->jobs_failed = 1;
    assert_null(contradiction(bench, 0));
    report->jobs_taken = 9;
    report->jobs_failed = 0;
    assert_non_null(contradiction(bench, 0));
    report->jobs_taken = 10;
    report->turn_done = 2;
    assert_non_null(contradiction(bench, 0));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_budget_without_limits_costs_nothing),
        CASE(test_budget_rate_at_the_burst),
        CASE(test_budget_rate_over_time),
        CASE(test_budget_rate_is_the_vms),
        CASE(test_budget_idle_channel_gives_its_job_to_another),
        CASE(test_budget_many_idle_channels_wake_seldom),
        CASE(test_budget_limits_change_live),
        CASE(test_budget_depth_of_a_lone_channel_is_all),
        CASE(test_budget_depth_goes_where_it_is_wanted),
        CASE(test_budget_depth_below_the_channels_is_one_each),
        CASE(test_budget_depth_lowered_live_holds_for_all),
        CASE(test_budget_bytes_are_divided),
        CASE(test_budget_of_a_dead_channel_goes_back),
        CASE(test_budget_is_adopted),
        CASE(test_budget_limited_channels_are_audited),
        CASE(test_budget_overtaking_is_seen),
        CASE(test_budget_depth_over_the_grant_is_seen),
        CASE(test_budget_lowered_grant_is_not_held_against_a_slow_worker),
        CASE(test_budget_impossible_counters_are_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
