/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Costs: what a VM's time on the GPU is charged as, membership of the fair queue, slice lengths,
 * and the ideal that the status screen compares with.
 *
 * The true cost of a turn is known when the caller reports it. Until then the time on the GPU with
 * work stands in for it ("unsettled"), which matters where something must be put in relation to V
 * in mid-turn. While nobody else waits, positions mean nothing; so when the first VM begins to
 * wait, the holder's unsettled time is charged as it is and never comes up again: how busy a lone
 * VM really was can give no credit and no debt.
 */
#include "sched/state.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t run_ns(const struct sched_vm *vm, uint64_t now_ns)
{
    return vm->run_acc_ns + (vm->running ? now_ns - vm->run_since_ns : 0);
}

/* The hardware divides the GPU between an overrunner and the holder: each pays for its half. */
static uint64_t less_beside(uint64_t ns, uint64_t beside_ns)
{
    return ns - min_u64(ns, beside_ns) / 2;
}

uint64_t charge_unsettled(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns)
{
    uint64_t beside_ns = vm->run_beside_ns;

    if (sched->holder && sched->overrunner && (vm == sched->holder || vm == sched->overrunner))
        beside_ns += now_ns - sched->beside_since_ns;
    return less_beside(run_ns(vm, now_ns), beside_ns);
}

uint64_t charge_pool_unsettled(const struct sched *sched, const struct sched_pool *pool,
                               uint64_t now_ns)
{
    uint64_t sum = 0;

    if (sched->holder && (!pool || sched->holder->pool == pool))
        sum += charge_unsettled(sched, sched->holder, now_ns);
    if (sched->overrunner && (!pool || sched->overrunner->pool == pool))
        sum += charge_unsettled(sched, sched->overrunner, now_ns);
    return sum;
}

uint64_t charge_time(const struct sched *sched, const struct fairq *queue, uint64_t now_ns)
{
    const struct sched_pool *pool = NULL;

    if (queue != &sched->root)
        pool =
            (const struct sched_pool *)((const char *)queue - offsetof(struct sched_pool, queue));
    return fairq_time(queue, charge_pool_unsettled(sched, pool, now_ns));
}

static uint64_t pool_deadline(const struct sched *sched, const struct sched_pool *pool)
{
    return pool->entity.v + fairq_distance(sched->config.slice_ns, pool->entity.weight);
}

static void charge_fair(struct sched *sched, struct sched_vm *vm, uint64_t ns)
{
    struct sched_pool *pool = vm->pool;

    vm->turn_ns += ns;
    if (!sched_is_fair(sched))
        return;
    fairq_charge(sched_queue_of(sched, vm), &vm->entity, ns);
    if (!sched->pools_weighted)
        return;
    if (pool->entity.wait.height)
        fairq_dequeue(&sched->root, &pool->entity);
    fairq_charge(&sched->root, &pool->entity, ns);
    if (pool->queue.waiting.count)
        fairq_enqueue(&sched->root, &pool->entity, pool_deadline(sched, pool),
                      pool->entity.wait.seq);
}

static void add_beside(struct sched_vm *vm, uint64_t ns)
{
    vm->beside_ns += ns;
    vm->run_beside_ns += ns;
}

void charge_beside(struct sched *sched, uint64_t now_ns)
{
    if (sched->holder && sched->overrunner) {
        add_beside(sched->holder, now_ns - sched->beside_since_ns);
        add_beside(sched->overrunner, now_ns - sched->beside_since_ns);
    }
    sched->beside_since_ns = now_ns;
}

void charge_run(struct sched_vm *vm, bool running, uint64_t now_ns)
{
    vm->run_acc_ns = run_ns(vm, now_ns);
    vm->run_since_ns = now_ns;
    vm->running = running;
}

static void restart_run(struct sched_vm *vm, uint64_t now_ns)
{
    vm->run_acc_ns = vm->run_beside_ns = 0;
    vm->run_since_ns = now_ns;
}

void charge_settle(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    charge_beside(sched, now_ns);
    charge_fair(sched, vm, charge_unsettled(sched, vm, now_ns));
    restart_run(vm, now_ns);
}

static void learn_jobs(struct sched_vm *vm, uint64_t busy_ns, uint32_t jobs)
{
    uint64_t mean = busy_ns / jobs;

    vm->jobs += jobs;
    if (!vm->job_mean_ns)
        vm->job_mean_ns = mean;
    else
        vm->job_mean_ns += mean / 4 - vm->job_mean_ns / 4;
}

void charge_busy(struct sched *sched, struct sched_vm *vm, uint64_t now_ns, uint64_t busy_ns,
                 uint32_t jobs)
{
    uint64_t cost;

    busy_ns = min_u64(busy_ns, now_ns - vm->mark_ns);
    if (jobs)
        learn_jobs(vm, busy_ns, jobs);
    charge_beside(sched, now_ns);
    charge_entitle(sched, vm, now_ns);
    cost = less_beside(busy_ns, vm->beside_ns);
    charge_fair(sched, vm, min_u64(cost, charge_unsettled(sched, vm, now_ns)));
    restart_run(vm, now_ns);
    window_add(&vm->used, vm->mark_ns, now_ns, cost);
    window_add(&sched->used, vm->mark_ns, now_ns, cost);
    vm->charged_ns += cost;
    sched->charged_ns += cost;
    vm->beside_ns = 0;
    vm->mark_ns = now_ns;
}

static void pool_join(struct sched *sched, struct sched_pool *pool, uint64_t now_ns)
{
    if (pool->active++ == 0)
        fairq_join(&sched->root, &pool->entity, charge_time(sched, &sched->root, now_ns));
}

/* A VM with a standing from before a restart takes its place as of when that was saved. */
static void join(struct sched *sched, struct fairq *queue, struct sched_vm *vm, uint64_t now_ns)
{
    uint64_t time = charge_time(sched, queue, now_ns);
    int64_t lag = vm->loaded_lag_ns;

    if (vm->loaded && !vm->entity.member) {
        time = queue->reset_at; /* fixed, while each that joins moves V */
        if (lag >= 0)
            time -= fairq_distance((uint64_t)lag, vm->entity.weight);
        else
            time += fairq_distance((uint64_t)-lag, vm->entity.weight);
    }
    vm->loaded = false;
    fairq_join(queue, &vm->entity, time);
}

void charge_end_loading(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    struct fairq *queue = sched_queue_of(sched, vm);

    if (vm->loaded && vm->loaded_lag_ns < 0 && sched_is_fair(sched)) {
        join(sched, queue, vm, now_ns);
        fairq_leave(queue, &vm->entity);
    }
    vm->loaded = false;
}

void charge_membership(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    bool wanted = vm->has_work || lease_on_gpu(vm->state);
    struct fairq *queue = sched_queue_of(sched, vm);

    if (wanted == vm->active)
        return;
    vm->active = wanted;
    if (!sched_is_fair(sched))
        return;
    if (wanted) {
        join(sched, queue, vm, now_ns);
        if (sched->pools_weighted)
            pool_join(sched, vm->pool, now_ns);
        return;
    }
    fairq_leave(queue, &vm->entity);
    if (sched->pools_weighted && --vm->pool->active == 0)
        fairq_leave(&sched->root, &vm->pool->entity);
}

/* Moves an ideal clock on by what the layer above gave it, in units of 2^-20 ns. */
static void ideal_advance(struct entitlement *ideal, uint64_t ahead)
{
    unsigned __int128 sum = ahead;

    if (!ideal->weight)
        return;
    sum += ideal->remainder;
    if (sum >> 64) {
        ideal->v += (uint64_t)(sum / ideal->weight);
        ideal->remainder = (uint64_t)(sum % ideal->weight);
    } else {
        ideal->v += (uint64_t)sum / ideal->weight;
        ideal->remainder = (uint64_t)sum % ideal->weight;
    }
}

/* Brings the GPU's ideal clock, and that of a pool, up to date. */
static void charge_ideal(struct sched *sched, struct sched_pool *pool, uint64_t now_ns)
{
    uint64_t ns = now_ns - sched->ideal.time, distance;

    /* A pause of hours in which nothing happened needs no more precision than this. */
    ideal_advance(&sched->ideal, min_u64(ns, UINT64_MAX >> FAIRQ_UNIT_BITS) << FAIRQ_UNIT_BITS);
    if (sched->ideal.weight)
        window_add(&sched->with_work, sched->ideal.time, now_ns, ns);
    sched->ideal.time = now_ns;
    if (!sched->pools_weighted)
        return;
    distance = sched->ideal.v - pool->ideal.time;
    if (pool->with_work)
        ideal_advance(&pool->ideal, distance * pool->weight_milli);
    pool->ideal.time = sched->ideal.v;
}

void charge_entitle(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    uint64_t v, amount;

    charge_ideal(sched, vm->pool, now_ns);
    v = sched->pools_weighted ? vm->pool->ideal.v : sched->ideal.v;
    amount = (uint64_t)(((unsigned __int128)(v - vm->entitled_v) * vm->entity.weight) >>
                        FAIRQ_UNIT_BITS);
    if (vm->has_work)
        window_add(&vm->entitled, vm->entitled_mark_ns, now_ns, amount);
    vm->entitled_v = v;
    vm->entitled_mark_ns = now_ns;
}

void charge_set_work(struct sched *sched, struct sched_vm *vm, bool has_work, uint64_t now_ns)
{
    struct entitlement *ideal = sched->pools_weighted ? &vm->pool->ideal : &sched->ideal;
    struct sched_pool *pool = vm->pool;

    if (vm->has_work == has_work)
        return;
    charge_entitle(sched, vm, now_ns);
    vm->has_work = has_work;
    ideal->remainder = 0;
    if (has_work) {
        ideal->weight += vm->entity.weight;
        if (pool->with_work++ == 0 && sched->pools_weighted)
            sched->ideal.weight += pool->weight_milli;
    } else {
        ideal->weight -= vm->entity.weight;
        if (--pool->with_work == 0 && sched->pools_weighted)
            sched->ideal.weight -= pool->weight_milli;
    }
}

/*
 * Where jobs are long against the slice, a slice that holds a whole number of them wastes none of
 * the next VM's time on draining; a little less, so that the last one is in flight when it ends.
 */
uint64_t charge_slice(const struct sched *sched, const struct sched_vm *vm)
{
    const struct sched_config *config = &sched->config;
    uint64_t job = vm->job_mean_ns, slice = config->slice_ns, n;

    if (vm->forced || vm->waking)
        return config->slice_min_ns;
    if (job > slice / 8) {
        n = (slice + job / 2) / job;
        slice = (n ? n : 1) * job - job / 8;
    }
    if (slice < config->slice_min_ns)
        return config->slice_min_ns;
    return min_u64(slice, config->slice_max_ns);
}

uint64_t charge_request(const struct sched *sched, const struct sched_vm *vm)
{
    return charge_slice(sched, vm) + vm->over_ns;
}

void charge_end_turn(struct sched *sched, struct sched_vm *vm)
{
    uint64_t limit = sched->config.slice_max_ns + sched->config.grace_ns;
    uint64_t over = vm->turn_ns > vm->turn_allow_ns ? vm->turn_ns - vm->turn_allow_ns : 0;

    vm->paying = vm->paying || over > limit;
    vm->over_ns -= vm->over_ns / 8;
    if (over > vm->over_ns)
        vm->over_ns = min_u64(over, limit);
    vm->turn_ns = 0;
    vm->turn_allow_ns = 0;
}
