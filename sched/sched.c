/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public events, and the decision that follows each of them; see sched.h and state.h.
 *
 * Each event first checks that it is legal, then changes the state, then sched_decide() carries on
 * from there. The decision depends on the state and the time only, never on which event led to it.
 */
#include "sched/state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SLOT_MASK (SCHED_VMS_MAX - 1)

_Static_assert((SCHED_VMS_MAX & SLOT_MASK) == 0, "handles need a power of two");

struct sched_vm *sched_find(const struct sched *sched, uint32_t handle)
{
    uint32_t slot = handle & SLOT_MASK;
    struct sched_vm *vm = slot < sched->n_slots ? sched->vms[slot] : NULL;

    return vm && vm->handle == handle ? vm : NULL;
}

void sched_begin(struct sched *sched, uint64_t *now_ns, struct sched_actions *actions)
{
    if (*now_ns < sched->now_ns)
        *now_ns = sched->now_ns;
    sched->now_ns = *now_ns;
    if (actions) {
        actions->count = 0;
        actions->next_ns = SCHED_NEVER;
    }
}

static void act(struct sched_actions *actions, enum sched_action_kind kind,
                const struct sched_vm *vm, uint64_t slice_ns)
{
    struct sched_action *action = &actions->items[actions->count++];

    assert(actions->count <= SCHED_ACTIONS_MAX);
    action->kind = kind;
    action->vm = vm->handle;
    action->tag = vm->params.tag;
    action->slice_ns = slice_ns;
}

static void step(struct sched_vm *vm, enum lease_event event)
{
    bool legal = lease_step(&vm->state, event);

    assert(legal);
    (void)legal;
}

static void count_wait(struct sched_vm *vm, uint64_t wait_ns)
{
    uint64_t us = wait_ns / 1000;
    unsigned bucket = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

    vm->waits++;
    vm->wait_total_ns += wait_ns;
    if (wait_ns > vm->wait_max_ns)
        vm->wait_max_ns = wait_ns;
    vm->wait_histogram[bucket < SCHED_WAIT_BUCKETS ? bucket : SCHED_WAIT_BUCKETS - 1]++;
}

static void open_turn(struct sched *sched, struct sched_vm *vm, uint64_t since_ns)
{
    vm->slice_ns = charge_slice(sched, vm);
    vm->granted_ns = vm->mark_ns = since_ns;
    vm->slice_end_ns = since_ns + vm->slice_ns;
    vm->beside_ns = vm->run_beside_ns = vm->turn_ns = 0;
    vm->turn_allow_ns = vm->slice_ns;
    charge_run(vm, true, since_ns);
    vm->run_acc_ns = 0;
    vm->detached = vm->ending = false;
    vm->grants++;
    sched->grants++;
}

static void note_early(struct sched *sched, struct sched_vm *vm, uint64_t cost_ns)
{
    choose_note_early(sched, vm, cost_ns,
                      vm->entity.v + fairq_distance(cost_ns, vm->entity.weight));
}

static void grant(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                  struct sched_actions *actions)
{
    choose_dequeue(sched, vm);
    if (vm->early)
        note_early(sched, vm, choose_early_cost(sched, vm));
    step(vm, LEASE_EV_GRANT);
    count_wait(vm, now_ns - vm->wait_since_ns);
    open_turn(sched, vm, now_ns);
    charge_beside(sched, now_ns);
    sched->holder = vm;
    act(actions, SCHED_GRANT, vm, vm->slice_ns);
}

static void revoke(struct sched *sched, struct sched_vm *vm, bool early, uint64_t now_ns,
                   struct sched_actions *actions)
{
    step(vm, LEASE_EV_REVOKE);
    vm->revoked_ns = now_ns;
    vm->revokes++;
    sched->revokes++;
    vm->early_revokes += early;
    sched->early_revokes += early;
    act(actions, SCHED_REVOKE, vm, 0);
}

static void end_slice(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                      struct sched_actions *actions)
{
    vm->waking = vm->forced = vm->early = false;
    if (choose_successor(sched, vm, now_ns)) {
        revoke(sched, vm, false, now_ns, actions);
        return;
    }
    vm->slice_ns = charge_slice(sched, vm);
    vm->slice_end_ns = now_ns + vm->slice_ns;
    vm->turn_allow_ns += vm->slice_ns;
    choose_extend(sched, vm, now_ns);
    act(actions, SCHED_EXTEND, vm, vm->slice_ns);
}

/* When the holder's turn is to be looked at again. */
static void say_when(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns,
                     struct sched_actions *actions)
{
    actions->next_ns = vm->slice_end_ns;
    if (now_ns + SCHED_RECHECK_NS < vm->slice_end_ns && choose_cut_later(sched, vm))
        actions->next_ns = now_ns + SCHED_RECHECK_NS;
}

/* The holder has work and somebody waits. */
static void decide_held(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                        struct sched_actions *actions)
{
    if (now_ns >= vm->slice_end_ns)
        end_slice(sched, vm, now_ns, actions);
    else if (choose_cut(sched, vm, now_ns))
        revoke(sched, vm, true, now_ns, actions);
    if (vm->state == LEASE_HELD)
        say_when(sched, vm, now_ns, actions);
}

static void count_overrun(struct sched *sched, struct sched_vm *vm)
{
    vm->overruns++;
    sched->overruns++;
}

/* The holder has been revoked and somebody waits. True: it no longer holds up the turn. */
static bool decide_revoking(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                            struct sched_actions *actions)
{
    uint64_t patience = sched->config.grace_ns;

    /* Beside an overrunner a VM gets half of the GPU: its own time passes half as fast. */
    if (sched->overrunner)
        patience = 2 * sched->config.second_grace_ns;
    else if (vm->ending)
        patience = 0;
    if (now_ns - vm->revoked_ns < patience) {
        actions->next_ns = vm->revoked_ns + patience;
        return false;
    }
    if (sched->overrunner) {
        step(vm, LEASE_EV_KILL);
        vm->killed_ns = now_ns;
        vm->kills++;
        sched->kills++;
        act(actions, SCHED_KILL, vm, 0);
        return false;
    }
    step(vm, LEASE_EV_OVERRUN);
    if (!vm->ending)
        count_overrun(sched, vm);
    sched->overrunner = vm;
    sched->holder = NULL;
    act(actions, SCHED_OVERRUN, vm, 0);
    return true;
}

static bool decide_killing(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                           struct sched_actions *actions)
{
    if (now_ns - vm->killed_ns < sched->config.kill_grace_ns) {
        actions->next_ns = vm->killed_ns + sched->config.kill_grace_ns;
        return false;
    }
    charge_settle(sched, vm, now_ns);
    vm->detached = true;
    sched->holder = NULL;
    return true;
}

/* True: the turn has become free. */
static bool decide_holder(struct sched *sched, struct sched_vm *vm, uint64_t now_ns,
                          struct sched_actions *actions)
{
    switch (vm->state) {
    case LEASE_HELD:
        decide_held(sched, vm, now_ns, actions);
        if (vm->state != LEASE_REVOKING)
            return false;
        return decide_revoking(sched, vm, now_ns, actions);
    case LEASE_HELD_IDLE:
        revoke(sched, vm, false, now_ns, actions);
        return decide_revoking(sched, vm, now_ns, actions);
    case LEASE_REVOKING:
        if (decide_revoking(sched, vm, now_ns, actions))
            return true;
        return vm->state == LEASE_KILLING && decide_killing(sched, vm, now_ns, actions);
    case LEASE_KILLING:
        return decide_killing(sched, vm, now_ns, actions);
    default:
        assert(!"holder without a lease");
        return false;
    }
}

void sched_decide(struct sched *sched, uint64_t now_ns, struct sched_actions *actions)
{
    if (sched->paused)
        return;
    choose_age(sched, now_ns);
    if (sched->holder && sched->waiting && !decide_holder(sched, sched->holder, now_ns, actions))
        return;
    if (sched->holder || !sched->waiting)
        return;
    /* So that its pool is not taken to be behind by what it is using right now. */
    if (sched->overrunner)
        charge_settle(sched, sched->overrunner, now_ns);
    grant(sched, choose_next(sched, now_ns), now_ns, actions);
    if (sched->waiting)
        say_when(sched, sched->holder, now_ns, actions);
}

/* Until now the holder was alone: its time so far counts as used, and its slice goes on. */
static void end_solitude(struct sched *sched, uint64_t now_ns)
{
    struct sched_vm *vm = sched->holder;

    charge_settle(sched, vm, now_ns);
    vm->turn_ns = 0;
    vm->turn_allow_ns = vm->slice_end_ns > now_ns ? vm->slice_end_ns - now_ns : 0;
}

int sched_vm_has_work(struct sched *sched, uint32_t handle, uint64_t now_ns,
                      struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    if (!vm->has_work) {
        charge_set_work(sched, vm, true, now_ns);
        step(vm, LEASE_EV_WORK);
        if (vm->state == LEASE_HELD)
            charge_run(vm, true, now_ns);
        if (vm->state == LEASE_WAITING) {
            if (!sched->waiting && sched->holder)
                end_solitude(sched, now_ns);
            charge_membership(sched, vm, now_ns);
            vm->waking = true;
            choose_enqueue(sched, vm, now_ns);
        }
    }
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_vm_idle(struct sched *sched, uint32_t handle, uint64_t now_ns,
                  struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    if (vm->has_work) {
        charge_set_work(sched, vm, false, now_ns);
        if (vm->state == LEASE_WAITING)
            choose_dequeue(sched, vm);
        else
            charge_run(vm, false, now_ns);
        step(vm, LEASE_EV_NO_WORK);
        charge_membership(sched, vm, now_ns);
    }
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_vm_backlog(struct sched *sched, uint32_t handle, uint32_t depth, uint64_t oldest_ns,
                     uint64_t now_ns, struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);
    bool fair = sched_is_fair(sched), moved;

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    moved = fair ? vm->depth != depth : vm->oldest_ns != oldest_ns;
    vm->depth = depth;
    vm->oldest_ns = oldest_ns;
    if (moved && vm->state == LEASE_WAITING)
        choose_requeue(sched, vm);
    if (actions)
        sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_charge(struct sched *sched, uint32_t handle, uint64_t now_ns, uint64_t busy_ns,
                 uint32_t jobs)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, NULL);
    if (!vm)
        return -ENOENT;
    if (!lease_on_gpu(vm->state))
        return -EINVAL;
    charge_busy(sched, vm, now_ns, busy_ns, jobs);
    return 0;
}

int sched_lease_started(struct sched *sched, uint32_t handle, uint64_t now_ns)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, NULL);
    if (!vm)
        return -ENOENT;
    if (vm->state != LEASE_HELD && vm->state != LEASE_HELD_IDLE && vm->state != LEASE_REVOKING)
        return -EINVAL;
    vm->run_acc_ns = vm->run_beside_ns = vm->beside_ns = 0;
    vm->run_since_ns = now_ns;
    sched->beside_since_ns = now_ns;
    return 0;
}

int sched_lease_ending(struct sched *sched, uint32_t handle, uint64_t now_ns,
                       struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    if (vm->state != LEASE_REVOKING)
        return -EINVAL;
    vm->ending = !sched->overrunner;
    sched_decide(sched, now_ns, actions);
    return 0;
}

/* Takes vm off the GPU; what it used has been charged. */
static void leave_gpu(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    /* It was not as near to its end as it said. */
    if (vm->state == LEASE_OVERRUN && vm->ending &&
        now_ns - vm->revoked_ns >= sched->config.grace_ns)
        count_overrun(sched, vm);
    charge_beside(sched, now_ns);
    if (sched->holder == vm)
        sched->holder = NULL;
    if (sched->overrunner == vm)
        sched->overrunner = NULL;
    vm->running = false;
    vm->run_acc_ns = 0;
}

static int end_lease(struct sched *sched, uint32_t handle, enum lease_event event, uint64_t now_ns,
                     uint64_t busy_ns, uint32_t jobs, struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    if (lease_next(vm->state, event) == LEASE_N_STATES)
        return -EINVAL;
    charge_busy(sched, vm, now_ns, busy_ns, jobs);
    leave_gpu(sched, vm, now_ns);
    step(vm, event);
    if (vm->state == LEASE_NONE) {
        if (vm->early)
            choose_note_early(sched, vm, vm->turn_ns, vm->entity.v);
        charge_end_turn(sched, vm);
        vm->waking = vm->forced = vm->early = vm->detached = false;
        if (vm->has_work) {
            step(vm, LEASE_EV_WORK);
            choose_enqueue(sched, vm, now_ns);
        }
        charge_membership(sched, vm, now_ns);
    }
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_lease_released(struct sched *sched, uint32_t vm, uint64_t now_ns, uint64_t busy_ns,
                         uint32_t jobs, struct sched_actions *actions)
{
    return end_lease(sched, vm, LEASE_EV_RELEASED, now_ns, busy_ns, jobs, actions);
}

int sched_worker_gone(struct sched *sched, uint32_t vm, uint64_t now_ns, uint64_t busy_ns,
                      struct sched_actions *actions)
{
    return end_lease(sched, vm, LEASE_EV_GONE, now_ns, busy_ns, 0, actions);
}

int sched_tick(struct sched *sched, uint64_t now_ns, struct sched_actions *actions)
{
    sched_begin(sched, &now_ns, actions);
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_pause(struct sched *sched, bool paused, uint64_t now_ns, struct sched_actions *actions)
{
    sched_begin(sched, &now_ns, actions);
    sched->paused = paused;
    for (uint32_t i = 0; !paused && i < sched->n_slots; i++) {
        if (sched->vms[i])
            charge_end_loading(sched, sched->vms[i], now_ns);
    }
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_adopt(struct sched *sched, uint32_t handle, enum lease_state state, uint64_t since_ns,
                uint64_t now_ns, struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    if ((state != LEASE_HELD && state != LEASE_OVERRUN) || lease_on_gpu(vm->state))
        return -EINVAL;
    if (state == LEASE_HELD ? sched->holder != NULL : sched->overrunner != NULL)
        return -EBUSY;
    if (since_ns > now_ns)
        since_ns = now_ns;
    if (vm->state == LEASE_WAITING) {
        choose_dequeue(sched, vm);
    } else {
        charge_set_work(sched, vm, true, now_ns);
        step(vm, LEASE_EV_WORK);
        charge_membership(sched, vm, now_ns);
    }
    step(vm, LEASE_EV_GRANT);
    open_turn(sched, vm, since_ns);
    if (vm->run_since_ns < vm->loaded_ns) /* before that, its saved standing has it */
        vm->run_since_ns = vm->loaded_ns < now_ns ? vm->loaded_ns : now_ns;
    charge_beside(sched, now_ns);
    if (state == LEASE_HELD) {
        sched->holder = vm;
    } else {
        step(vm, LEASE_EV_REVOKE);
        step(vm, LEASE_EV_OVERRUN);
        sched->overrunner = vm;
    }
    sched_decide(sched, now_ns, actions);
    return 0;
}

uint32_t sched_priority_multiplier(enum sched_priority priority)
{
    static const uint8_t multipliers[SCHED_N_PRIORITIES] = {1, 2, 4};

    return (unsigned)priority < SCHED_N_PRIORITIES ? multipliers[priority] : 0;
}
