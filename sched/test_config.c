/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration, pools, live changes, policy strict, and restarts of the mediator. */
#include "sched/test_rig.h"

#include <errno.h>
#include <string.h>

static void check_config(void (*change)(struct sched_config *), bool good)
{
    struct vgpu_err err = {0};
    struct sched_config config;

    sched_config_default(&config);
    change(&config);
    assert_int_equal(sched_config_check(&config, &err), good ? 0 : -EINVAL);
    assert_int_equal(err.text[0] != 0, !good);
}

static void slice_min_at_limit(struct sched_config *c)
{
    c->slice_min_ns = SCHED_SLICE_LIMIT_MIN_NS;
}

static void slice_min_below_limit(struct sched_config *c)
{
    c->slice_min_ns = SCHED_SLICE_LIMIT_MIN_NS - 1;
}

static void slice_max_at_limit(struct sched_config *c)
{
    c->slice_max_ns = SCHED_SLICE_LIMIT_MAX_NS;
}

static void slice_max_above_limit(struct sched_config *c)
{
    c->slice_max_ns = SCHED_SLICE_LIMIT_MAX_NS + 1;
}

static void slice_below_its_min(struct sched_config *c)
{
    c->slice_ns = c->slice_min_ns - 1;
}

static void slice_above_its_max(struct sched_config *c)
{
    c->slice_ns = c->slice_max_ns + 1;
}

static void grace_at_limit(struct sched_config *c)
{
    c->grace_ns = SCHED_TIME_LIMIT_MAX_NS;
}

static void grace_above_limit(struct sched_config *c)
{
    c->grace_ns = SCHED_TIME_LIMIT_MAX_NS + 1;
}

static void no_aging(struct sched_config *c)
{
    c->aging_ns = 0;
}

static void no_such_policy(struct sched_config *c)
{
    c->policy = (enum sched_policy)2;
}

static void test_config_edges(void **state)
{
    check_config(slice_min_at_limit, true);
    check_config(slice_min_below_limit, false);
    check_config(slice_max_at_limit, true);
    check_config(slice_max_above_limit, false);
    check_config(slice_below_its_min, false);
    check_config(slice_above_its_max, false);
    check_config(grace_at_limit, true);
    check_config(grace_above_limit, false);
    check_config(no_aging, false);
    check_config(no_such_policy, false);
}

static void test_config_refused_changes_nothing(void **state)
{
    struct rig rig;
    struct sched_config now;

    rig_open(&rig, 1, NULL);
    rig.config.slice_ns = 0;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), -EINVAL);
    sched_get_config(rig.sched, &now);
    assert_int_equal(now.slice_ns, 10 * MS);
    assert_null(sched_new(&rig.config, NULL));
    rig_close(&rig);
}

static int add_vm(struct rig *rig, uint32_t pool, unsigned priority, uint32_t weight)
{
    struct sched_vm_params params = {0, pool, (enum sched_priority)priority, weight};
    uint32_t vm;

    return sched_vm_add(rig->sched, &params, rig->now, &vm);
}

static void test_config_vm_edges(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, NULL);
    assert_int_equal(add_vm(&rig, RIG_POOL, 0, SCHED_WEIGHT_MIN), 0);
    assert_int_equal(add_vm(&rig, RIG_POOL, 2, SCHED_WEIGHT_MAX), 0);
    assert_int_equal(add_vm(&rig, RIG_POOL, 0, SCHED_WEIGHT_MIN - 1), -EINVAL);
    assert_int_equal(add_vm(&rig, RIG_POOL, 0, SCHED_WEIGHT_MAX + 1), -EINVAL);
    assert_int_equal(add_vm(&rig, RIG_POOL, 3, SCHED_WEIGHT_MIN), -EINVAL);
    assert_int_equal(add_vm(&rig, RIG_POOL + 1, 0, SCHED_WEIGHT_MIN), -ENOENT);
    rig_close(&rig);
}

static void test_config_as_many_vms_as_allowed(void **state)
{
    struct rig rig;
    uint32_t handle = 0;
    struct sched_vm_params params = {0, RIG_POOL, SCHED_PRIORITY_LOW, 1000};

    rig_open(&rig, 0, NULL);
    for (uint32_t i = 0; i < SCHED_VMS_MAX; i++)
        assert_int_equal(sched_vm_add(rig.sched, &params, rig.now, &handle), 0);
    assert_int_equal(sched_vm_add(rig.sched, &params, rig.now, &handle), -ENOSPC);
    assert_int_equal(sched_vm_remove(rig.sched, handle, rig.now, &rig.out), 0);
    assert_int_equal(sched_vm_add(rig.sched, &params, rig.now, &handle), 0);
    assert_int_equal(sched_vm_list(rig.sched, NULL, 0), SCHED_VMS_MAX);
    rig_close(&rig);
}

static void test_config_pools(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, NULL);
    assert_int_equal(sched_pool_add(rig.sched, RIG_POOL, 0, rig.now, &rig.out), -EEXIST);
    assert_int_equal(sched_pool_add(rig.sched, 1, SCHED_WEIGHT_MIN - 1, rig.now, &rig.out),
                     -EINVAL);
    assert_int_equal(sched_pool_remove(rig.sched, RIG_POOL, rig.now, &rig.out), -EBUSY);
    assert_int_equal(sched_pool_remove(rig.sched, 1, rig.now, &rig.out), -ENOENT);
    assert_int_equal(sched_pool_set_weight(rig.sched, 1, 0, rig.now, &rig.out), -ENOENT);
    for (uint32_t i = 1; i < SCHED_POOLS_MAX; i++)
        assert_int_equal(sched_pool_add(rig.sched, 1000 + i, 0, rig.now, &rig.out), 0);
    assert_int_equal(sched_pool_add(rig.sched, 1, 0, rig.now, &rig.out), -ENOSPC);
    assert_int_equal(sched_pool_remove(rig.sched, 1001, rig.now, &rig.out), 0);
    assert_int_equal(sched_pool_add(rig.sched, 1, 0, rig.now, &rig.out), 0);
    rig_close(&rig);
}

static void run_turns(struct rig *rig, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        rig_next_turn(rig);
}

/* Pools 3:1; the first has one VM of low weight, the second three of high weight. */
static void open_two_pools(struct rig *rig)
{
    rig_open(rig, 0, NULL);
    sched_pool_set_weight(rig->sched, RIG_POOL, 75000, rig->now, &rig->out);
    sched_pool_add(rig->sched, 8, 25000, rig->now, &rig->out);
    rig_add(rig, SCHED_PRIORITY_LOW, 1000, RIG_POOL);
    for (unsigned i = 0; i < 3; i++)
        rig_add(rig, SCHED_PRIORITY_HIGH, 100000, 8);
    for (unsigned i = 0; i < 4; i++)
        rig_work(rig, i);
}

static uint64_t charged(const struct rig *rig, uint32_t i)
{
    return rig_stats(rig, i).charged_ns;
}

static void test_config_pool_weights_divide_the_gpu(void **state)
{
    struct rig rig;
    uint64_t all = 0;

    open_two_pools(&rig);
    run_turns(&rig, 600);
    for (unsigned i = 0; i < 4; i++)
        all += charged(&rig, i);
    assert_in_range(charged(&rig, 0) * 1000 / all, 745, 755);
    assert_in_range(charged(&rig, 1) * 1000 / charged(&rig, 2), 970, 1030);
    rig_close(&rig);
}

static void test_config_one_pool_without_weight_makes_one_queue(void **state)
{
    struct rig rig;
    struct sched_stats stats;

    open_two_pools(&rig);
    sched_stats(rig.sched, rig.now, &stats);
    assert_true(stats.pools_weighted);
    sched_pool_set_weight(rig.sched, 8, 0, rig.now, &rig.out);
    sched_stats(rig.sched, rig.now, &stats);
    assert_false(stats.pools_weighted);
    run_turns(&rig, 100);
    assert_true(charged(&rig, 0) < 60 * MS);
    rig_close(&rig);
}

static void test_config_idle_pool_leaves_its_part_to_others(void **state)
{
    struct rig rig;

    open_two_pools(&rig);
    run_turns(&rig, 10);
    rig_idle(&rig, 0);
    if (rig_holds(&rig, 0))
        rig_release(&rig, 0, UINT64_MAX);
    run_turns(&rig, 90);
    assert_true(charged(&rig, 1) + charged(&rig, 2) + charged(&rig, 3) > 850 * MS);
    rig_work(&rig, 0);
    assert_in_range(rig_stats(&rig, 0).lag_ns + (int64_t)MS, 0, 2 * MS);
    rig_close(&rig);
}

static void set_params(struct rig *rig, uint32_t i, enum sched_priority priority, uint32_t weight)
{
    struct sched_vm_params params = {i, RIG_POOL, priority, weight};

    assert_int_equal(sched_vm_update(rig->sched, rig->vm[i], &params, rig->now, &rig->out), 0);
}

/* Standings survive a change of weight, and what follows converges to the new shares. */
static void test_config_weight_change_live(void **state)
{
    struct rig rig;
    uint64_t before[2];
    int64_t lag;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    run_turns(&rig, 51);
    lag = rig_stats(&rig, 0).lag_ns;
    set_params(&rig, 0, SCHED_PRIORITY_MEDIUM, 100000);
    assert_in_range(rig_stats(&rig, 0).lag_ns - lag + 1000, 0, 2000);
    for (unsigned i = 0; i < 2; i++)
        before[i] = charged(&rig, i);
    run_turns(&rig, 600);
    assert_in_range((charged(&rig, 0) - before[0]) * 100 / (charged(&rig, 1) - before[1]), 198,
                    202);
    rig_close(&rig);
}

static void test_config_priority_change_live(void **state)
{
    struct rig rig;
    uint64_t before[2];

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    run_turns(&rig, 51);
    set_params(&rig, 1, SCHED_PRIORITY_HIGH, SCHED_WEIGHT_DEFAULT);
    for (unsigned i = 0; i < 2; i++)
        before[i] = charged(&rig, i);
    run_turns(&rig, 600);
    assert_in_range((charged(&rig, 1) - before[1]) * 100 / (charged(&rig, 0) - before[0]), 198,
                    202);
    rig_close(&rig);
}

static void test_config_slice_change_live(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    run_turns(&rig, 10);
    rig.config.slice_ns = 4 * MS;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    run_turns(&rig, 1);
    rig_expect(&rig, 0, SCHED_GRANT, rig_holds(&rig, 0) ? 0 : 1);
    assert_int_equal(rig.out.items[0].slice_ns, 4 * MS);
    rig_close(&rig);
}

/* A turn that began under a long slice ends as the new one says: at once, if that is over. */
static void test_config_slice_change_reaches_the_turn_in_hand(void **state)
{
    struct rig rig;

    rig_open(&rig, 2, NULL);
    rig.config.slice_ns = rig.config.slice_max_ns = 10000 * MS;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    run_turns(&rig, 2);
    rig.now += 5 * MS;
    rig_tick(&rig);
    rig_expect_none(&rig);
    assert_int_equal(rig.out.next_ns, rig.now + 9995 * MS);
    rig.config.slice_ns = 20 * MS;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    rig_expect_none(&rig);
    assert_int_equal(rig.out.next_ns, rig.now + 15 * MS);
    rig.config.slice_ns = 5 * MS;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    assert_int_equal(rig.out.count, 1);
    assert_int_equal(rig.out.items[0].kind, SCHED_REVOKE);
    rig_close(&rig);
}

static void test_config_policy_change_carries_no_old_debts(void **state)
{
    struct rig rig;
    uint64_t before[2];

    rig_open(&rig, 0, NULL);
    rig_add(&rig, SCHED_PRIORITY_MEDIUM, 50000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 100000, RIG_POOL);
    rig.config.policy = SCHED_POLICY_STRICT;
    sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    rig.now += 3000 * MS;
    rig_tick(&rig);
    assert_int_equal(rig_state(&rig, 0), LEASE_HELD);
    rig.config.policy = SCHED_POLICY_WFQ;
    assert_int_equal(sched_configure(rig.sched, &rig.config, rig.now, &rig.out, NULL), 0);
    assert_int_equal(rig_stats(&rig, 1).lag_ns, 0);
    run_turns(&rig, 1);
    for (unsigned i = 0; i < 2; i++)
        before[i] = charged(&rig, i);
    run_turns(&rig, 200);
    assert_in_range((charged(&rig, 1) - before[1]) * 100 / (charged(&rig, 0) - before[0]), 95, 105);
    rig_close(&rig);
}

static void test_config_removal_of_a_debtor_disturbs_nobody(void **state)
{
    struct rig rig;
    struct sched_stats before, after;

    rig_open(&rig, 3, NULL);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    rig_next_turn(&rig);
    sched_stats(rig.sched, rig.now, &before);
    assert_true(rig_stats(&rig, 0).lag_ns < 0);
    assert_int_equal(sched_vm_remove(rig.sched, rig.vm[0], rig.now, &rig.out), 0);
    sched_stats(rig.sched, rig.now, &after);
    assert_true(after.virtual_time >= before.virtual_time);
    assert_in_range(rig_stats(&rig, 1).lag_ns + rig_stats(&rig, 2).lag_ns + 10, 0, 20);
    rig_close(&rig);
}

static void strict(struct sched_config *config)
{
    config->policy = SCHED_POLICY_STRICT;
    config->aging_ns = 1000 * MS;
}

static void test_config_strict_priority_order(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, strict);
    rig_add(&rig, SCHED_PRIORITY_LOW, 100000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 1000, RIG_POOL);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    sched_pause(rig.sched, false, rig.now, &rig.out);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    rig_idle(&rig, 2);
    rig_release(&rig, 2, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    rig_idle(&rig, 0);
    rig_release(&rig, 0, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    rig_close(&rig);
}

static void test_config_strict_preempts_at_once(void **state)
{
    struct rig rig;

    rig_open(&rig, 1, strict);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 1000, RIG_POOL);
    rig_work(&rig, 0);
    rig.now += MS / 10;
    rig_work(&rig, 1);
    rig_expect(&rig, 0, SCHED_REVOKE, 0);
    rig_close(&rig);
}

/* The oldest job goes first, whoever asked for the lease first. */
static void test_config_strict_fifo_by_arrival(void **state)
{
    struct rig rig;

    rig_open(&rig, 4, strict);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    for (unsigned i = 0; i < 4; i++)
        rig_work(&rig, i);
    sched_vm_backlog(rig.sched, rig.vm[0], 1, 900 * MS, rig.now, &rig.out);
    sched_vm_backlog(rig.sched, rig.vm[1], 1, 700 * MS, rig.now, &rig.out);
    sched_vm_backlog(rig.sched, rig.vm[2], 1, 800 * MS, rig.now, &rig.out);
    sched_pause(rig.sched, false, rig.now, &rig.out);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    /* At the end of its slice it still has the oldest job: it goes on. */
    rig.now = rig.out.next_ns;
    rig_tick(&rig);
    rig_expect(&rig, 0, SCHED_EXTEND, 1);
    sched_vm_backlog(rig.sched, rig.vm[1], 1, 1000 * MS - 1, rig.now, &rig.out);
    rig_turn(&rig, 1);
    rig_expect(&rig, 0, SCHED_GRANT, 2);
    rig_idle(&rig, 2);
    rig_release(&rig, 2, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    rig_idle(&rig, 0);
    rig_release(&rig, 0, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 1);
    rig_close(&rig);
}

static void test_config_strict_takes_turns_when_arrivals_are_not_known(void **state)
{
    struct rig rig;

    rig_open(&rig, 3, strict);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    for (unsigned i = 0; i < 9; i++) {
        assert_true(rig_holds(&rig, i % 3));
        rig_next_turn(&rig);
    }
    rig_close(&rig);
}

static void test_config_strict_low_runs_in_the_end(void **state)
{
    struct rig rig;

    rig_open(&rig, 0, strict);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 1000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_HIGH, 1000, RIG_POOL);
    rig_add(&rig, SCHED_PRIORITY_LOW, 1000, RIG_POOL);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    while (rig.now < 20000 * MS)
        rig_next_turn(&rig);
    assert_in_range(rig_stats(&rig, 2).wait_max_ns, 2000 * MS, 2020 * MS);
    assert_true(rig_stats(&rig, 2).grants >= 8);
    rig_close(&rig);
}

/* Saves all, and opens a second scheduler with the same VMs. */
static void restart(const struct rig *old, struct rig *fresh, struct sched_account *accounts)
{
    for (uint32_t i = 0; i < old->count; i++)
        assert_int_equal(sched_vm_save(old->sched, old->vm[i], old->now, &accounts[i]), 0);
    rig_open(fresh, old->count, NULL);
    fresh->now = old->now + 500 * MS;
    sched_pause(fresh->sched, true, fresh->now, &fresh->out);
}

static void test_config_restart_keeps_standings(void **state)
{
    struct rig rig, fresh;
    struct sched_account accounts[RIG_VMS];

    rig_open(&rig, 3, NULL);
    for (unsigned i = 0; i < 3; i++)
        rig_work(&rig, i);
    run_turns(&rig, 14);
    rig.now += 3 * MS;
    restart(&rig, &fresh, accounts);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sched_vm_load(fresh.sched, fresh.vm[i], &accounts[i]), 0);
        assert_int_equal(charged(&fresh, i), charged(&rig, i));
    }
    /* The holder has run on meanwhile, and the others' lag has grown by their shares of that. */
    for (unsigned i = 0; i < 3; i++) {
        if (rig_state(&rig, i) == LEASE_HELD)
            assert_int_equal(sched_adopt(fresh.sched, fresh.vm[i], LEASE_HELD,
                                         accounts[i].lease_since_ns, fresh.now, &fresh.out),
                             0);
        else
            rig_work(&fresh, i);
    }
    for (unsigned i = 0; i < 3; i++) {
        int64_t grown = rig_holds(&rig, i) ? -1000 * (int64_t)MS / 3 : 500 * (int64_t)MS / 3;

        assert_in_range(rig_stats(&fresh, i).lag_ns - accounts[i].lag_ns - grown + 10000, 0, 20000);
    }
    sched_pause(fresh.sched, false, fresh.now, &fresh.out);
    assert_int_equal(fresh.out.items[0].kind, SCHED_REVOKE);
    rig_close(&rig);
    rig_close(&fresh);
}

static void test_config_restart_adopts_an_overrunner(void **state)
{
    struct rig rig;

    rig_open(&rig, 3, NULL);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    rig_work(&rig, 2);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[0], LEASE_OVERRUN, 900 * MS, rig.now, &rig.out),
                     0);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[1], LEASE_HELD, 990 * MS, rig.now, &rig.out), 0);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[2], LEASE_OVERRUN, 900 * MS, rig.now, &rig.out),
                     -EBUSY);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[2], LEASE_HELD, 900 * MS, rig.now, &rig.out),
                     -EBUSY);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[1], LEASE_HELD, 900 * MS, rig.now, &rig.out),
                     -EINVAL);
    assert_int_equal(sched_adopt(rig.sched, rig.vm[2], LEASE_WAITING, 900 * MS, rig.now, &rig.out),
                     -EINVAL);
    sched_pause(rig.sched, false, rig.now, &rig.out);
    rig_expect(&rig, 0, SCHED_REVOKE, 1);
    rig_release(&rig, 0, 100 * MS);
    assert_int_equal(charged(&rig, 0), 100 * MS);
    rig_close(&rig);
}

static void test_config_restart_gives_no_credit_to_late_comers(void **state)
{
    struct rig rig;
    struct sched_account account = {.version = SCHED_ACCOUNT_VERSION,
                                    .state = LEASE_WAITING,
                                    .tag = 1,
                                    .lag_ns = 9 * (int64_t)MS};

    rig_open(&rig, 2, NULL);
    sched_pause(rig.sched, true, rig.now, &rig.out);
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[1], &account), 0);
    sched_pause(rig.sched, false, rig.now, &rig.out);
    rig_work(&rig, 0);
    rig_work(&rig, 1);
    assert_int_equal(rig_stats(&rig, 1).lag_ns, 0);
    rig_close(&rig);
}

static void test_config_account_is_checked(void **state)
{
    struct rig rig;
    struct sched_account good, bad;

    rig_open(&rig, 2, NULL);
    assert_int_equal(sched_vm_save(rig.sched, rig.vm[0], rig.now, &good), 0);
    bad = good;
    bad.version++;
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[0], &bad), -EINVAL);
    bad = good;
    bad.state = LEASE_N_STATES;
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[0], &bad), -EINVAL);
    bad = good;
    bad.reserved = 1;
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[0], &bad), -EINVAL);
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[1], &good), -EINVAL);
    bad = good;
    bad.lag_ns = INT64_MIN;
    bad.charged_ns = 5;
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[0], &bad), 0);
    assert_int_equal(sched_vm_load(rig.sched, rig.vm[0], &good), -EINVAL);
    rig_work(&rig, 0);
    rig_expect(&rig, 0, SCHED_GRANT, 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_edges),
        cmocka_unit_test(test_config_refused_changes_nothing),
        cmocka_unit_test(test_config_vm_edges),
        cmocka_unit_test(test_config_as_many_vms_as_allowed),
        cmocka_unit_test(test_config_pools),
        cmocka_unit_test(test_config_pool_weights_divide_the_gpu),
        cmocka_unit_test(test_config_one_pool_without_weight_makes_one_queue),
        cmocka_unit_test(test_config_idle_pool_leaves_its_part_to_others),
        cmocka_unit_test(test_config_weight_change_live),
        cmocka_unit_test(test_config_priority_change_live),
        cmocka_unit_test(test_config_slice_change_live),
        cmocka_unit_test(test_config_slice_change_reaches_the_turn_in_hand),
        cmocka_unit_test(test_config_policy_change_carries_no_old_debts),
        cmocka_unit_test(test_config_removal_of_a_debtor_disturbs_nobody),
        cmocka_unit_test(test_config_strict_priority_order),
        cmocka_unit_test(test_config_strict_preempts_at_once),
        cmocka_unit_test(test_config_strict_fifo_by_arrival),
        cmocka_unit_test(test_config_strict_takes_turns_when_arrivals_are_not_known),
        cmocka_unit_test(test_config_strict_low_runs_in_the_end),
        cmocka_unit_test(test_config_restart_keeps_standings),
        cmocka_unit_test(test_config_restart_adopts_an_overrunner),
        cmocka_unit_test(test_config_restart_gives_no_credit_to_late_comers),
        cmocka_unit_test(test_config_account_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
