/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler with a few VMs, for the unit tests: calls that must succeed, and what they answered.
 * VMs are named by index; time is set by hand.
 */
#ifndef VGPU_SCHED_TEST_RIG_H
#define VGPU_SCHED_TEST_RIG_H

#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MS       UINT64_C(1000000)
#define RIG_VMS  16
#define RIG_POOL 7

struct rig {
    struct sched *sched;
    struct sched_config config;
    struct sched_actions out;
    uint32_t vm[RIG_VMS];
    uint32_t count;
    uint64_t now;
};

static inline struct sched_vm_stats rig_stats(const struct rig *rig, uint32_t i)
{
    struct sched_vm_stats stats;

    assert_int_equal(sched_vm_stats(rig->sched, rig->vm[i], rig->now, &stats), 0);
    return stats;
}

static inline enum lease_state rig_state(const struct rig *rig, uint32_t i)
{
    return rig_stats(rig, i).state;
}

static inline uint32_t rig_add(struct rig *rig, enum sched_priority priority, uint32_t weight_milli,
                               uint32_t pool)
{
    struct sched_vm_params params = {rig->count, pool, priority, weight_milli};

    assert_int_equal(sched_vm_add(rig->sched, &params, rig->now, &rig->vm[rig->count]), 0);
    return rig->count++;
}

/* n VMs of medium priority and default weight, in one pool. change may alter the configuration. */
static inline void rig_open(struct rig *rig, uint32_t n, void (*change)(struct sched_config *))
{
    *rig = (struct rig){.now = 1000 * MS};
    sched_config_default(&rig->config);
    if (change)
        change(&rig->config);
    rig->sched = sched_new(&rig->config, NULL);
    assert_non_null(rig->sched);
    assert_int_equal(sched_pool_add(rig->sched, RIG_POOL, 0, rig->now, &rig->out), 0);
    for (uint32_t i = 0; i < n; i++)
        rig_add(rig, SCHED_PRIORITY_MEDIUM, SCHED_WEIGHT_DEFAULT, RIG_POOL);
}

static inline void rig_close(struct rig *rig)
{
    sched_free(rig->sched);
}

static inline void rig_work(struct rig *rig, uint32_t i)
{
    assert_int_equal(sched_vm_has_work(rig->sched, rig->vm[i], rig->now, &rig->out), 0);
}

static inline void rig_idle(struct rig *rig, uint32_t i)
{
    assert_int_equal(sched_vm_idle(rig->sched, rig->vm[i], rig->now, &rig->out), 0);
}

static inline void rig_release(struct rig *rig, uint32_t i, uint64_t busy_ns)
{
    assert_int_equal(sched_lease_released(rig->sched, rig->vm[i], rig->now, busy_ns, 0, &rig->out),
                     0);
}

static inline void rig_gone(struct rig *rig, uint32_t i, uint64_t busy_ns)
{
    assert_int_equal(sched_worker_gone(rig->sched, rig->vm[i], rig->now, busy_ns, &rig->out), 0);
}

static inline void rig_tick(struct rig *rig)
{
    assert_int_equal(sched_tick(rig->sched, rig->now, &rig->out), 0);
}

/* Ticks at each time asked for, up to `until`. */
static inline void rig_run(struct rig *rig, uint64_t until)
{
    while (rig->out.next_ns <= until && !rig->out.count) {
        rig->now = rig->out.next_ns > rig->now ? rig->out.next_ns : rig->now;
        rig_tick(rig);
    }
    if (!rig->out.count)
        rig->now = until;
}

static inline void rig_expect(const struct rig *rig, uint32_t at, enum sched_action_kind kind,
                              uint32_t i)
{
    assert_true(at < rig->out.count);
    assert_int_equal(rig->out.items[at].kind, kind);
    assert_int_equal(rig->out.items[at].vm, rig->vm[i]);
    assert_int_equal(rig->out.items[at].tag, i);
}

static inline bool rig_holds(const struct rig *rig, uint32_t i)
{
    enum lease_state state = rig_state(rig, i);

    return state == LEASE_HELD || state == LEASE_REVOKING;
}

static inline void rig_expect_none(const struct rig *rig)
{
    assert_int_equal(rig->out.count, 0);
}

/* The next revoke, then the release at that time: the holder was busy all the time. */
static inline void rig_turn(struct rig *rig, uint32_t i)
{
    if (rig_state(rig, i) == LEASE_REVOKING) { /* cut short by the last call already */
        rig_release(rig, i, UINT64_MAX);
        return;
    }
    do {
        rig->out.count = 0;
        rig_run(rig, rig->now + 100000 * MS);
        assert_true(rig->out.count > 0);
    } while (rig->out.items[0].kind == SCHED_EXTEND);
    rig_expect(rig, 0, SCHED_REVOKE, i);
    rig_release(rig, i, UINT64_MAX);
}

/* The turn of whoever has the GPU. */
static inline void rig_next_turn(struct rig *rig)
{
    uint32_t i = 0;

    while (!rig_holds(rig, i))
        i++;
    rig_turn(rig, i);
}

#endif
