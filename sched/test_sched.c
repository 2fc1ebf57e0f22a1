/* SPDX-License-Identifier: Apache-2.0 */
/* Leases and turns: one behaviour each, through the public interface. */
#include "sched/test_rig.h"

#include <errno.h>

static void test_sched_lone_vm_keeps_its_lease(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    assert_int_equal(rig.out.count, 1);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    assert_int_equal(rig.out.next_ns, SCHED_NEVER);
    rig.now += 3600000 * MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD);
    rig_close(&rig);
}

static void test_sched_holder_is_revoked_at_the_end_of_its_slice(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig.now += MS / 2;
    rig_work(&rig, 1);
    rig_expect_none(&rig);
    assert_int_equal(rig.out.next_ns, 1002 * MS);
    rig.now = 1002 * MS - 1;
    rig_tick(&rig);
    rig_expect_none(&rig);
    rig.now++;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_release(&rig, 0, 2 * MS);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    rig_close(&rig);
}

static void test_sched_full_slice_after_the_first_turn(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_turn(&rig, 0);
    rig_turn(&rig, 1);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    assert_int_equal(rig.out.items[0].slice_ns, 10 * MS);
    rig_close(&rig);
}

static void test_sched_long_holder_gives_way_at_once(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig.now += 5000 * MS;
    rig_work(&rig, 1);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_close(&rig);
}

static void test_sched_idle_holder_gives_up_when_somebody_waits(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += MS;
    rig_idle(&rig, 0);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_release(&rig, 0, MS);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    assert_int_equal(rig_state(&rig, 0), LEASE_NONE);
    rig_close(&rig);
}

static void test_sched_idle_holder_keeps_the_lease_until_then(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_idle(&rig, 0);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD_IDLE);
    rig_work(&rig, 0);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD);
    rig_idle(&rig, 0);
    rig_work(&rig, 1);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_close(&rig);
}

static void test_sched_voluntary_release(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += MS;
    rig_release(&rig, 0, MS);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    assert_int_equal(rig_state(&rig, 0), LEASE_WAITING);
    rig_close(&rig);
}

static void test_sched_illegal_calls_change_nothing(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    assert_int_equal(sched_lease_released(rig.sched, rig.vm[0], rig.now, 0, 0, &rig.out), -EINVAL);
    assert_int_equal(sched_worker_gone(rig.sched, rig.vm[0], rig.now, 0, &rig.out), -EINVAL);
    assert_int_equal(sched_charge(rig.sched, rig.vm[0], rig.now, 1, 1), -EINVAL);
    assert_int_equal(sched_lease_started(rig.sched, rig.vm[0], rig.now), -EINVAL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    assert_int_equal(sched_lease_released(rig.sched, rig.vm[1], rig.now, 0, 0, &rig.out), -EINVAL);
    assert_int_equal(sched_charge(rig.sched, rig.vm[1], rig.now, 1, 1), -EINVAL);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD);
    assert_int_equal(rig_state(&rig, 1), LEASE_WAITING);
    assert_int_equal(rig_stats(&rig, 1).charged_ns, 0);
    rig_close(&rig);
}

static void test_sched_unknown_vm(void **state)
{
    struct rig rig;
    struct sched_vm_stats stats;
    uint32_t old;

    rig_open(&rig, 1, NULL);
    old = rig.vm[0];
    assert_int_equal(sched_vm_remove(rig.sched, old, rig.now, &rig.out), 0);
    rig.count = 0;
    rig_add(&rig, SCHED_PRIORITY_LOW, 1000, RIG_POOL);
    assert_int_not_equal(rig.vm[0], old);
    assert_int_equal(sched_vm_has_work(rig.sched, old, rig.now, &rig.out), -ENOENT);
    assert_int_equal(sched_vm_idle(rig.sched, 0, rig.now, &rig.out), -ENOENT);
    assert_int_equal(sched_vm_stats(rig.sched, UINT32_MAX, rig.now, &stats), -ENOENT);
    rig_close(&rig);
}

static void test_sched_repeated_reports_are_harmless(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_idle(&rig, 0);
    rig_work(&rig, 0);
    rig_work(&rig, 0);
    rig_expect_none(&rig);
    rig_work(&rig, 1);
    rig_work(&rig, 1);
    rig_idle(&rig, 1);
    rig_idle(&rig, 1);
    assert_int_equal(rig_state(&rig, 1), LEASE_NONE);
    rig_close(&rig);
}

static void test_sched_overrunner_loses_the_turn_after_the_grace(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_run(&rig, 1002 * MS);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    assert_int_equal(rig.out.next_ns, 1005 * MS);
    rig.now = 1005 * MS - 1;
    rig_tick(&rig);
    rig_expect_none(&rig);
    rig.now++;
    rig_tick(&rig);
    assert_int_equal(rig.out.count, 2);
    rig_expect(&rig, 0, SCHED_OVERRUN, 0);
    rig_expect(&rig, 1, SCHED_GRANT, 1);
    rig_close(&rig);
}

static void make_overrunner(struct rig *rig)
{
    rig_open(rig, 3, NULL);
    for (uint32_t i = 0; i < 3; i++)
        rig_work(rig, i);
    rig->now = 1002 * MS;
    rig_tick(rig);
    rig->now = 1005 * MS;
    rig_tick(rig);
    rig_expect(rig, 0, SCHED_OVERRUN, 0);
    rig_expect(rig, 1, SCHED_GRANT, 1);
}

static void ending(struct rig *rig, uint32_t i, int wanted)
{
    assert_int_equal(sched_lease_ending(rig->sched, rig->vm[i], rig->now, &rig->out), wanted);
}

static void test_sched_ending_turn_lets_the_next_begin(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_run(&rig, 1002 * MS);
    rig.now = 1003 * MS;
    ending(&rig, 0, 0);
    assert_int_equal(rig.out.count, 2);
    rig_expect(&rig, 0, SCHED_OVERRUN, 0);
    rig_expect(&rig, 1, SCHED_GRANT, 1);
    rig.now += MS / 10;
    rig_release(&rig, 0, UINT64_MAX);
    assert_int_equal(rig_stats(&rig, 0).overruns, 0);
    /* 3 ms of its own, and half of the time beside the other. */
    assert_int_equal(rig_stats(&rig, 0).charged_ns, 3 * MS + MS / 20);
    rig_close(&rig);
}

static void test_sched_ending_turn_that_goes_on_is_an_overrun(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_run(&rig, 1002 * MS);
    ending(&rig, 0, 0);
    rig_expect(&rig, 1, SCHED_GRANT, 1);
    rig.now = 1005 * MS;
    rig_release(&rig, 0, UINT64_MAX);
    assert_int_equal(rig_stats(&rig, 0).overruns, 1);
    rig_close(&rig);
}

static void test_sched_ending_turn_needs_a_revoke(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    ending(&rig, 0, -EINVAL);
    rig_work(&rig, 1);
    ending(&rig, 0, -EINVAL);
    ending(&rig, 1, -EINVAL);
    rig_close(&rig);
}

/* There is room for one beside the holder: the word of a second is worth nothing. */
static void test_sched_ending_turn_beside_an_overrunner_changes_nothing(void **state)
{
    struct rig rig;

    make_overrunner(&rig);
    rig.now = 1007 * MS;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_REVOKE, 1);
    ending(&rig, 1, 0);
    rig_expect_none(&rig);
    rig_release(&rig, 0, 0);
    rig.now += MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    rig_release(&rig, 1, 2 * MS);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    rig_close(&rig);
}

static void test_sched_overrunner_pays_for_what_it_holds(void **state)
{
    struct rig rig;

    make_overrunner(&rig);
    rig.now = 1007 * MS;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_REVOKE, 1);
    rig_release(&rig, 1, 2 * MS);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    /* 2 ms beside the overrunner: half of the GPU. */
    assert_int_equal(rig_stats(&rig, 1).charged_ns, MS);
    rig.now = 1009 * MS;
    rig_release(&rig, 0, 9 * MS);
    assert_int_equal(rig_stats(&rig, 0).charged_ns, 5 * MS + 2 * MS);
    assert_int_equal(rig_state(&rig, 0), LEASE_WAITING);
    rig_close(&rig);
}

static void test_sched_overrunner_is_not_granted_before_it_releases(void **state)
{
    struct rig rig;

    make_overrunner(&rig);
    rig_idle(&rig, 2);
    rig.now = 1100 * MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_OVERRUN);
    rig_release(&rig, 0, 100 * MS);
    assert_int_equal(rig_state(&rig, 0), LEASE_WAITING);
    rig_expect(&rig, 0, SCHED_EXTEND, 1);
    rig_close(&rig);
}

static void test_sched_second_overrunner_is_killed(void **state)
{
    struct rig rig;
    uint64_t revoked;

    make_overrunner(&rig);
    rig.now = revoked = 1007 * MS;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_REVOKE, 1);
    /* It runs at half speed beside the first: twice the patience. */
    assert_int_equal(rig.out.next_ns, revoked + 200 * MS);
    rig.now = revoked + 200 * MS - 1;
    rig_tick(&rig);
    rig_expect_none(&rig);
    rig.now++;
    rig_tick(&rig);
    assert_int_equal(rig.out.count, 1);
    rig_expect(&rig, 0, SCHED_KILL, 1);
    rig.now += 5 * MS;
    rig_gone(&rig, 1, 200 * MS);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    assert_int_equal(rig_state(&rig, 1), LEASE_WAITING);
    assert_int_equal(rig_state(&rig, 0), LEASE_OVERRUN);
    rig_close(&rig);
}

static void test_sched_slow_death_does_not_hold_up_the_gpu(void **state)
{
    struct rig rig;

    make_overrunner(&rig);
    rig.now = 1007 * MS;
    rig_tick(&rig);
    rig.now = 1207 * MS;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_KILL, 1);
    assert_int_equal(rig.out.next_ns, 1227 * MS);
    rig.now = 1227 * MS;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    assert_int_equal(rig_state(&rig, 1), LEASE_KILLING);
    rig_release(&rig, 1, 200 * MS);
    assert_int_equal(rig_state(&rig, 1), LEASE_KILLING);
    rig_gone(&rig, 1, 0);
    assert_int_equal(rig_state(&rig, 1), LEASE_WAITING);
    rig_close(&rig);
}

static void test_sched_second_becomes_overrunner_when_the_first_ends(void **state)
{
    struct rig rig;

    make_overrunner(&rig);
    rig.now = 1007 * MS;
    rig_tick(&rig);
    rig.now = 1020 * MS;
    rig_release(&rig, 0, 20 * MS);
    rig_expect(&rig, 0, SCHED_OVERRUN, 1);
    rig_expect(&rig, 1, SCHED_GRANT, 2);
    rig_close(&rig);
}

static void test_sched_nobody_waits_nobody_overruns(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now = 1002 * MS;
    rig_tick(&rig);
    rig_idle(&rig, 1);
    assert_int_equal(rig.out.next_ns, SCHED_NEVER);
    rig.now = 2000 * MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    rig_work(&rig, 1);
    rig_expect(&rig, 0, SCHED_OVERRUN, 0);
    rig_close(&rig);
}

static void test_sched_dead_worker_frees_the_gpu(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += MS;
    rig_gone(&rig, 0, MS);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    assert_int_equal(rig_state(&rig, 0), LEASE_WAITING);
    assert_int_equal(rig_stats(&rig, 0).charged_ns, MS);
    rig_close(&rig);
}

static void test_sched_removed_holder_frees_the_gpu(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    assert_int_equal(sched_vm_remove(rig.sched, rig.vm[0], rig.now, &rig.out), 0);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    rig_close(&rig);
}

static void test_sched_pause_grants_nothing(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_expect_none(&rig);
    sched_pause(rig.sched, false, rig.now, &rig.out);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    rig.now += 100 * MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD);
    rig_close(&rig);
}

static void test_sched_charge_is_at_most_the_time_that_passed(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, NULL);
    rig_work(&rig, 0);
    rig.now += 5 * MS;
    assert_int_equal(sched_charge(rig.sched, rig.vm[0], rig.now, 50 * MS, 1), 0);
    assert_int_equal(rig_stats(&rig, 0).charged_ns, 5 * MS);
    rig.now += 5 * MS;
    rig_release(&rig, 0, 3 * MS);
    assert_int_equal(rig_stats(&rig, 0).charged_ns, 8 * MS);
    rig_close(&rig);
}

static void test_sched_time_never_goes_back(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig.now += 100 * MS;
    rig_tick(&rig);
    assert_int_equal(sched_charge(rig.sched, rig.vm[0], 1000 * MS, 100 * MS, 0), 0);
    assert_int_equal(rig_stats(&rig, 0).charged_ns, 100 * MS);
    rig_close(&rig);
}

/* Weights 80:20 of the same priority: four turns to one. */
static void test_sched_shares_follow_weights(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    rig_add(&rig, SCHED_PRIORITY_MEDIUM, 80000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_MEDIUM, 20000, RIG_POOL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    for (unsigned i = 0; i < 200; i++)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 0).charged_ns * 100 /
                        (rig_stats(&rig, 0).charged_ns + rig_stats(&rig, 1).charged_ns),
                    79, 80);
    rig_close(&rig);
}

static void test_sched_shares_follow_priorities(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    for (unsigned p = 0; p < SCHED_N_PRIORITIES; p++) {
        rig_add(&rig, (enum sched_priority)p, SCHED_WEIGHT_DEFAULT, RIG_POOL);
        rig_work(&rig, p);
    }
    for (unsigned i = 0; i < 700; i++)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 2).charged_ns * 100 / rig_stats(&rig, 0).charged_ns, 395, 405);
    assert_in_range(rig_stats(&rig, 1).charged_ns * 100 / rig_stats(&rig, 0).charged_ns, 197, 203);
    rig_close(&rig);
}

static void test_sched_extends_who_would_be_next_anyway(void **state)
{
    struct rig rig;
    unsigned extended = 0;

    rig_open(&rig, 0, NULL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 100000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 1000, RIG_POOL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    for (unsigned i = 0; i < 50; i++) {
        rig.now = rig.out.next_ns;
        rig_tick(&rig);
        extended += rig.out.count && rig.out.items[0].kind == SCHED_EXTEND;
        if (rig.out.count && rig.out.items[0].kind == SCHED_REVOKE)
            rig_next_turn(&rig);
    }
    assert_in_range(extended, 40, 49);
    rig_close(&rig);
}

/* Both run alternately; one sleeps for a minute. Neither pays back or is paid for that minute. */
static void test_sched_sleep_gives_no_credit_and_no_debt(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig.now += 60000 * MS;
    rig_work(&rig, 1);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    assert_int_equal(rig_stats(&rig, 1).lag_ns, 0);
    /* It was busy for only a tenth of the minute, which makes no difference. */
    rig_release(&rig, 0, 6000 * MS);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    assert_in_range(rig_stats(&rig, 0).lag_ns + 1000, 0, 2000);
    for (unsigned i = 0; i < 40; i++)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 1).charged_ns, 180 * MS, 220 * MS);
    assert_in_range(rig_stats(&rig, 0).charged_ns - 6000 * MS, 180 * MS, 220 * MS);
    rig_close(&rig);
}

/* Leaving for a moment after a long turn does not wipe out what it owes. */
static void test_sched_napping_does_not_escape_debt(void **state)
{
    struct rig rig;
    int64_t lag;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig_turn(&rig, 0);
    rig_turn(&rig, 1);
    rig.now += 10 * MS;
    rig_idle(&rig, 0);
    rig_release(&rig, 0, 10 * MS);
    lag = rig_stats(&rig, 0).lag_ns;
    assert_true(lag < -4 * (int64_t)MS);
    rig_work(&rig, 0);
    assert_true(rig_stats(&rig, 0).lag_ns <= lag);
    rig_close(&rig);
}

static void test_sched_high_priority_cuts_a_slice_short(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    for (unsigned i = 0; i < 8; i++)
        rig_add(&rig, SCHED_PRIORITY_LOW, SCHED_WEIGHT_DEFAULT, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, SCHED_WEIGHT_DEFAULT, RIG_POOL);
    for (unsigned i = 0; i < 8; i++)
        rig_work(&rig, i);
    rig.now += MS;
    rig_work(&rig, 8);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_release(&rig, 0, MS);
    rig_expect(&rig, 0, SCHED_GRANT, 8);
    assert_int_equal(rig_stats(&rig, 0).early_revokes, 1);
    rig_close(&rig);
}

static void test_sched_equal_priority_does_not_cut(void **state)
{
    struct rig rig;

    rig_open(&rig, 3, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += MS;
    rig_work(&rig, 2);
    rig_expect_none(&rig);
    rig_close(&rig);
}

/* What is ahead of its share by more than the urgency budget waits its turn, priority or not. */
static void test_sched_high_priority_ahead_of_its_share_waits(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 100000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 100000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 1000, RIG_POOL);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    while (rig_state(&rig, 2) != LEASE_HELD)
        rig_next_turn(&rig);
    rig.now += 30 * MS;
    rig_idle(&rig, 2);
    rig_release(&rig, 2, 30 * MS);
    rig.now += MS;
    rig_work(&rig, 2);
    rig_expect_none(&rig);
    assert_int_equal(rig_state(&rig, 2), LEASE_WAITING);
    rig_close(&rig);
}

static void no_urgency(struct sched_config *config)
{
    config->urgency_ns = 0;
}

static void tight_preemption(struct sched_config *config)
{
    config->preempt_burst = 2;
    config->preempt_interval_ns = 1000 * MS;
    config->urgency_ns = 1000 * MS;
}

static void test_sched_early_revokes_are_limited(void **state)
{
    struct rig rig;
    unsigned cuts = 0;

    rig_open(&rig, 0, tight_preemption);
    rig_add(&rig, SCHED_PRIORITY_LOW, SCHED_WEIGHT_DEFAULT, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, SCHED_WEIGHT_DEFAULT, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, SCHED_WEIGHT_DEFAULT, RIG_POOL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    for (unsigned i = 0; i < 5; i++) {
        rig.now += MS / 10;
        rig_work(&rig, 2);
        if (!rig.out.count)
            continue;
        rig_expect(&rig, 0, SCHED_REVOKE, rig_state(&rig, 0) == LEASE_REVOKING ? 0 : 1);
        cuts++;
        rig_release(&rig, rig_state(&rig, 0) == LEASE_REVOKING ? 0 : 1, MS / 10);
        rig_idle(&rig, 2);
        rig_release(&rig, 2, 0);
    }
    assert_int_equal(cuts, 2);
    rig_close(&rig);
}

static void short_wait(struct sched_config *config)
{
    config->max_wait_ns = 100 * MS;
}

/* 1 : 400, the small one's own turn comes after seconds; max_wait brings it forward. */
static void test_sched_nobody_waits_longer_than_max_wait(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, short_wait);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 100000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 1000, RIG_POOL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    for (unsigned i = 0; i < 20; i++)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 1).wait_max_ns, 100 * MS, 110 * MS);
    rig_close(&rig);
}

/* One that owes for a long overrun is not brought forward by max_wait. */
static void test_sched_max_wait_is_ten_times_longer_for_debtors(void **state)
{
    struct rig rig;
    uint64_t waits_from;

    make_overrunner(&rig);
    rig.config.max_wait_ns = 20 * MS;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    while (rig.now < 3000 * MS)
        rig_next_turn(&rig);
    rig_release(&rig, 0, 2000 * MS);
    assert_true(rig_stats(&rig, 0).lag_ns < -300 * (int64_t)MS);
    waits_from = rig.now;
    while (rig.now < waits_from + 10 * rig.config.max_wait_ns) {
        rig_next_turn(&rig);
        if (rig.now < waits_from + 10 * rig.config.max_wait_ns)
            assert_int_equal(rig_state(&rig, 0), LEASE_WAITING);
    }
    assert_true(rig_stats(&rig, 0).lag_ns < -50 * (int64_t)MS); /* it owes as much as before */
    rig_next_turn(&rig);
    assert_true(rig_stats(&rig, 0).grants == 2);
    rig_close(&rig);
}

/* Depth reorders equals; without urgency the first come is first. */
static void test_sched_depth_adds_urgency(void **state)
{
    struct rig rig;

    for (unsigned urgent = 0; urgent < 2; urgent++) {
        rig_open(&rig, 3, urgent ? NULL : no_urgency);
        for (unsigned i = 0; i < 3; i++)
            rig_work(&rig, i);
        sched_vm_backlog(rig.sched, rig.vm[2], 1000, 0, rig.now, &rig.out);
        rig.now += 2 * MS;
        rig_tick(&rig);
        rig_release(&rig, 0, 2 * MS);
        rig_expect(&rig, 0, SCHED_GRANT, urgent ? 2 : 1);
        rig_close(&rig);
    }
}

static void test_sched_slice_adapts_to_job_length(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, NULL);
    rig_work(&rig, 0);
    rig.now += 100 * MS;
    sched_charge(rig.sched, rig.vm[0], rig.now, 100 * MS, 1000);
    rig_idle(&rig, 0);
    rig_release(&rig, 0, 0);
    assert_int_equal(rig_stats(&rig, 0).slice_ns, 10 * MS);
    rig_work(&rig, 0);
    for (unsigned i = 0; i < 30; i++) {
        rig.now += 16 * MS;
        sched_charge(rig.sched, rig.vm[0], rig.now, 16 * MS, 1);
    }
    rig_idle(&rig, 0);
    rig_work(&rig, 0);
    rig_release(&rig, 0, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    assert_in_range(rig.out.items[0].slice_ns, 13 * MS, 15 * MS);
    for (unsigned i = 0; i < 60; i++) {
        rig.now += 500 * MS;
        sched_charge(rig.sched, rig.vm[0], rig.now, 500 * MS, 1);
    }
    assert_int_equal(rig_stats(&rig, 0).slice_ns, 40 * MS);
    rig_close(&rig);
}

static void test_sched_status_share_and_entitlement(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    rig_add(&rig, SCHED_PRIORITY_MEDIUM, 75000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_MEDIUM, 25000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 100000, RIG_POOL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    for (unsigned i = 0; i < 2000; i++)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 0).entitled_ppm, 749000, 751000);
    assert_in_range(rig_stats(&rig, 0).share_ppm, 745000, 755000);
    assert_in_range(rig_stats(&rig, 1).entitled_ppm, 249000, 251000);
    assert_int_equal(rig_stats(&rig, 2).entitled_ppm, 0);
    assert_int_equal(rig_stats(&rig, 2).share_ppm, 0);
    rig_close(&rig);
}

static void test_sched_status_counts_a_lone_holder(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, NULL);
    rig_work(&rig, 0);
    rig.now += 60000 * MS;
    assert_int_equal(rig_stats(&rig, 0).share_ppm, 1000000);
    assert_int_equal(rig_stats(&rig, 0).entitled_ppm, 1000000);
    rig_close(&rig);
}

static void test_sched_status_waits(void **state)
{
    struct rig rig;
    struct sched_vm_stats stats;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += MS;
    assert_int_equal(rig_stats(&rig, 1).waiting_ns, MS);
    rig_turn(&rig, 0);
    stats = rig_stats(&rig, 1);
    assert_int_equal(stats.waits, 1);
    assert_int_equal(stats.wait_max_ns, 2 * MS);
    /* 2000 us lie under 2^11. */
    assert_int_equal(stats.wait_histogram[11], 1);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sched_lone_vm_keeps_its_lease),
        cmocka_unit_test(test_sched_holder_is_revoked_at_the_end_of_its_slice),
        cmocka_unit_test(test_sched_full_slice_after_the_first_turn),
        cmocka_unit_test(test_sched_long_holder_gives_way_at_once),
        cmocka_unit_test(test_sched_idle_holder_gives_up_when_somebody_waits),
        cmocka_unit_test(test_sched_idle_holder_keeps_the_lease_until_then),
        cmocka_unit_test(test_sched_voluntary_release),
        cmocka_unit_test(test_sched_illegal_calls_change_nothing),
        cmocka_unit_test(test_sched_unknown_vm),
        cmocka_unit_test(test_sched_repeated_reports_are_harmless),
        cmocka_unit_test(test_sched_overrunner_loses_the_turn_after_the_grace),
        cmocka_unit_test(test_sched_ending_turn_lets_the_next_begin),
        cmocka_unit_test(test_sched_ending_turn_that_goes_on_is_an_overrun),
        cmocka_unit_test(test_sched_ending_turn_needs_a_revoke),
        cmocka_unit_test(test_sched_ending_turn_beside_an_overrunner_changes_nothing),
        cmocka_unit_test(test_sched_overrunner_pays_for_what_it_holds),
        cmocka_unit_test(test_sched_overrunner_is_not_granted_before_it_releases),
        cmocka_unit_test(test_sched_second_overrunner_is_killed),
        cmocka_unit_test(test_sched_slow_death_does_not_hold_up_the_gpu),
        cmocka_unit_test(test_sched_second_becomes_overrunner_when_the_first_ends),
        cmocka_unit_test(test_sched_nobody_waits_nobody_overruns),
        cmocka_unit_test(test_sched_dead_worker_frees_the_gpu),
        cmocka_unit_test(test_sched_removed_holder_frees_the_gpu),
        cmocka_unit_test(test_sched_pause_grants_nothing),
        cmocka_unit_test(test_sched_charge_is_at_most_the_time_that_passed),
        cmocka_unit_test(test_sched_time_never_goes_back),
        cmocka_unit_test(test_sched_shares_follow_weights),
        cmocka_unit_test(test_sched_shares_follow_priorities),
        cmocka_unit_test(test_sched_extends_who_would_be_next_anyway),
        cmocka_unit_test(test_sched_sleep_gives_no_credit_and_no_debt),
        cmocka_unit_test(test_sched_napping_does_not_escape_debt),
        cmocka_unit_test(test_sched_high_priority_cuts_a_slice_short),
        cmocka_unit_test(test_sched_equal_priority_does_not_cut),
        cmocka_unit_test(test_sched_high_priority_ahead_of_its_share_waits),
        cmocka_unit_test(test_sched_early_revokes_are_limited),
        cmocka_unit_test(test_sched_nobody_waits_longer_than_max_wait),
        cmocka_unit_test(test_sched_max_wait_is_ten_times_longer_for_debtors),
        cmocka_unit_test(test_sched_depth_adds_urgency),
        cmocka_unit_test(test_sched_slice_adapts_to_job_length),
        cmocka_unit_test(test_sched_status_share_and_entitlement),
        cmocka_unit_test(test_sched_status_counts_a_lone_holder),
        cmocka_unit_test(test_sched_status_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
