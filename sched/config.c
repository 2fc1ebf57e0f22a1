/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration, pools and VMs: everything that allocates, and everything that changes weights.
 *
 * All changes of weight, policy or structure go one way: take the standings (lag in ns of GPU
 * time), change, enter everybody anew with the same standing. That costs O(n log n), and happens
 * when an administrator changes something, never on a decision.
 */
#include "sched/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

#define MIN(a, b) ((a) < (b) ? (a) : (b))

void sched_config_default(struct sched_config *config)
{
    *config = (struct sched_config){
        .policy = SCHED_POLICY_WFQ,
        .slice_ns = 10 * MS,
        .slice_min_ns = 2 * MS,
        .slice_max_ns = 40 * MS,
        .grace_ns = 3 * MS,
        .second_grace_ns = 100 * MS,
        .kill_grace_ns = 20 * MS,
        .max_wait_ns = 10000 * MS,
        .urgency_ns = 10 * MS,
        .urgency_wait_ns = 500 * MS,
        .urgency_depth = 64,
        .preempt_burst = 8,
        .preempt_interval_ns = 5 * MS,
        .aging_ns = 5000 * MS,
    };
}

static int check_time(const char *name, uint64_t value, uint64_t min, uint64_t max,
                      struct vgpu_err *err)
{
    if (value >= min && value <= max)
        return 0;
    return vgpu_err_set(err, EINVAL, "%s is %llu ns: it must be %llu to %llu ns", name,
                        (unsigned long long)value, (unsigned long long)min,
                        (unsigned long long)max);
}

int sched_config_check(const struct sched_config *c, struct vgpu_err *err)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } times[] = {
        {"slice-min", c->slice_min_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_SLICE_LIMIT_MAX_NS},
        {"slice", c->slice_ns, c->slice_min_ns, SCHED_SLICE_LIMIT_MAX_NS},
        {"slice-max", c->slice_max_ns, c->slice_ns, SCHED_SLICE_LIMIT_MAX_NS},
        {"grace", c->grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"second-grace", c->second_grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"kill-grace", c->kill_grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"max-wait", c->max_wait_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"urgency", c->urgency_ns, 0, SCHED_SLICE_LIMIT_MAX_NS},
        {"urgency-wait", c->urgency_wait_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"preempt-interval", c->preempt_interval_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"aging", c->aging_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_TIME_LIMIT_MAX_NS},
    };

    if (c->policy != SCHED_POLICY_WFQ && c->policy != SCHED_POLICY_STRICT)
        return vgpu_err_set(err, EINVAL, "policy %d does not exist", (int)c->policy);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int r = check_time(times[i].name, times[i].value, times[i].min, times[i].max, err);

        if (r < 0)
            return r;
    }
    return 0;
}

struct sched *sched_new(const struct sched_config *config, struct vgpu_err *err)
{
    struct sched *sched;

    if (sched_config_check(config, err) < 0)
        return NULL;
    sched = calloc(1, sizeof(*sched));
    if (!sched) {
        vgpu_err_set(err, ENOMEM, "cannot make a scheduler: out of memory");
        return NULL;
    }
    sched->config = *config;
    return sched;
}

void sched_free(struct sched *sched)
{
    if (!sched)
        return;
    for (uint32_t i = 0; i < sched->n_slots; i++)
        free(sched->vms[i]);
    for (uint32_t i = 0; i < sched->n_pools; i++)
        free(sched->pools[i]);
    free(sched->vms);
    free(sched->generations);
    free(sched->pools);
    free(sched);
}

static struct sched_pool *find_pool(const struct sched *sched, uint32_t id)
{
    for (uint32_t i = 0; i < sched->n_pools; i++) {
        if (sched->pools[i]->id == id)
            return sched->pools[i];
    }
    return NULL;
}

/* Until take_end(), v of each member holds its lag in ns, and nobody is in a tree. */
static void take_entity(const struct fairq *queue, struct fairq_entity *entity)
{
    int64_t lag = 0;

    if (entity->member)
        lag = fairq_lag_ns(queue->base, entity->v, entity->weight);
    entity->v = (uint64_t)lag;
    entity->wait.height = 0;
    entity->leave.height = 0;
}

static void take_standings(struct sched *sched, uint64_t now_ns)
{
    if (sched->holder)
        charge_settle(sched, sched->holder, now_ns);
    if (sched->overrunner)
        charge_settle(sched, sched->overrunner, now_ns);
    for (uint32_t i = 0; i < sched->n_slots; i++) {
        struct sched_vm *vm = sched->vms[i];

        if (!vm)
            continue;
        charge_entitle(sched, vm, now_ns);
        take_entity(sched_queue_of(sched, vm), &vm->entity);
    }
    for (uint32_t i = 0; i < sched->n_pools; i++)
        take_entity(&sched->root, &sched->pools[i]->entity);
}

static void enter(struct fairq *queue, struct fairq_entity *entity, bool active)
{
    int64_t lag = (int64_t)entity->v;
    uint64_t time = queue->reset_at;

    if (lag >= 0)
        fairq_join_at(queue, entity, time - fairq_distance((uint64_t)lag, entity->weight));
    else
        fairq_join_at(queue, entity, time + fairq_distance((uint64_t)-lag, entity->weight));
    if (!active)
        fairq_leave(queue, entity);
}

static void reset_structure(struct sched *sched)
{
    bool weighted = sched->n_pools > 0;

    fairq_reset(&sched->root);
    memset(sched->strict, 0, sizeof(sched->strict));
    memset(sched->early, 0, sizeof(sched->early));
    sched->registered = 0;
    sched->ideal.weight = sched->ideal.remainder = 0;
    for (uint32_t i = 0; i < sched->n_pools; i++) {
        struct sched_pool *pool = sched->pools[i];

        fairq_reset(&pool->queue);
        pool->active = pool->with_work = pool->vms = 0;
        pool->registered = 0;
        pool->ideal.weight = pool->ideal.remainder = 0;
        pool->ideal.time = sched->ideal.v;
        pool->entity.weight = pool->weight_milli;
        weighted = weighted && pool->weight_milli;
    }
    sched->pools_weighted = weighted && sched_is_fair(sched);
}

static void count_vm(struct sched *sched, struct sched_vm *vm)
{
    struct sched_pool *pool = vm->pool;

    vm->entity.weight =
        (uint64_t)sched_priority_multiplier(vm->params.priority) * vm->params.weight_milli;
    pool->vms++;
    pool->registered += vm->entity.weight;
    pool->active += vm->active;
    sched->registered += vm->entity.weight;
    if (vm->has_work) {
        if (!sched->pools_weighted)
            sched->ideal.weight += vm->entity.weight;
        else if (pool->with_work == 0)
            sched->ideal.weight += pool->weight_milli;
        pool->ideal.weight += vm->entity.weight;
        pool->with_work++;
    }
    vm->entitled_v = sched->pools_weighted ? pool->ideal.v : sched->ideal.v;
}

/* First those with work, then those that only owe: else V would seem to have reached them. */
static void enter_pools(struct sched *sched, bool active)
{
    for (uint32_t i = 0; i < sched->n_pools; i++) {
        struct sched_pool *pool = sched->pools[i];

        if (sched->pools_weighted && (pool->active != 0) == active &&
            (active || pool->entity.member))
            enter(&sched->root, &pool->entity, active);
    }
}

static void enter_vms(struct sched *sched, bool active)
{
    for (uint32_t i = 0; i < sched->n_slots; i++) {
        struct sched_vm *vm = sched->vms[i];

        if (vm && sched_is_fair(sched) && vm->active == active && (active || vm->entity.member))
            enter(sched_queue_of(sched, vm), &vm->entity, active);
    }
}

static void restore_standings(struct sched *sched)
{
    uint64_t shown = sched->root.base + sched->root.shift;

    reset_structure(sched);
    for (uint32_t i = 0; i < sched->n_slots; i++) {
        if (sched->vms[i])
            count_vm(sched, sched->vms[i]);
    }
    enter_pools(sched, true);
    enter_pools(sched, false);
    enter_vms(sched, true);
    enter_vms(sched, false);
    for (uint32_t i = 0; !sched->pools_weighted && i < sched->n_pools; i++)
        sched->pools[i]->entity.member = false;
    for (uint32_t i = 0; !sched_is_fair(sched) && i < sched->n_slots; i++) {
        if (sched->vms[i])
            sched->vms[i]->entity.member = false;
    }
    sched->root.shift = shown - sched->root.base;
    choose_refill(sched);
}

/* The slice in hand ends when it would have, had it begun under the present configuration. */
static void retime_slice(struct sched *sched)
{
    struct sched_vm *vm = sched->holder;
    uint64_t slice_ns, began_ns;

    if (!vm)
        return;
    began_ns = vm->slice_end_ns - vm->slice_ns;
    slice_ns = charge_slice(sched, vm);
    if (slice_ns > vm->slice_ns)
        vm->turn_allow_ns += slice_ns - vm->slice_ns;
    else
        vm->turn_allow_ns -= MIN(vm->turn_allow_ns, vm->slice_ns - slice_ns);
    vm->slice_ns = slice_ns;
    vm->slice_end_ns = began_ns + slice_ns;
}

int sched_configure(struct sched *sched, const struct sched_config *config, uint64_t now_ns,
                    struct sched_actions *actions, struct vgpu_err *err)
{
    int r = sched_config_check(config, err);
    bool slices;

    if (r < 0)
        return r;
    sched_begin(sched, &now_ns, actions);
    take_standings(sched, now_ns);
    slices = config->slice_ns != sched->config.slice_ns ||
             config->slice_min_ns != sched->config.slice_min_ns ||
             config->slice_max_ns != sched->config.slice_max_ns;
    sched->config = *config;
    if (slices)
        retime_slice(sched);
    if (sched->preempt_ns > now_ns)
        sched->preempt_ns = now_ns;
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}

void sched_get_config(const struct sched *sched, struct sched_config *ret_config)
{
    *ret_config = sched->config;
}

static bool weight_valid(uint32_t weight_milli)
{
    return weight_milli >= SCHED_WEIGHT_MIN && weight_milli <= SCHED_WEIGHT_MAX;
}

int sched_pool_add(struct sched *sched, uint32_t pool_id, uint32_t weight_milli, uint64_t now_ns,
                   struct sched_actions *actions)
{
    struct sched_pool **pools, *pool;

    sched_begin(sched, &now_ns, actions);
    if (weight_milli && !weight_valid(weight_milli))
        return -EINVAL;
    if (find_pool(sched, pool_id))
        return -EEXIST;
    if (sched->n_pools == SCHED_POOLS_MAX)
        return -ENOSPC;
    pools = realloc(sched->pools, (sched->n_pools + 1) * sizeof(*pools));
    if (!pools)
        return -ENOMEM;
    sched->pools = pools;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pool->id = pool_id;
    pool->weight_milli = weight_milli;
    pool->entity.pool = true;
    take_standings(sched, now_ns);
    pools[sched->n_pools++] = pool;
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_pool_set_weight(struct sched *sched, uint32_t pool_id, uint32_t weight_milli,
                          uint64_t now_ns, struct sched_actions *actions)
{
    struct sched_pool *pool = find_pool(sched, pool_id);

    sched_begin(sched, &now_ns, actions);
    if (!pool)
        return -ENOENT;
    if (weight_milli && !weight_valid(weight_milli))
        return -EINVAL;
    take_standings(sched, now_ns);
    pool->weight_milli = weight_milli;
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_pool_remove(struct sched *sched, uint32_t pool_id, uint64_t now_ns,
                      struct sched_actions *actions)
{
    struct sched_pool *pool = find_pool(sched, pool_id);

    sched_begin(sched, &now_ns, actions);
    if (!pool)
        return -ENOENT;
    if (pool->vms)
        return -EBUSY;
    take_standings(sched, now_ns);
    for (uint32_t i = 0; i < sched->n_pools; i++) {
        if (sched->pools[i] == pool)
            sched->pools[i] = sched->pools[--sched->n_pools];
    }
    free(pool);
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}

static int check_params(const struct sched *sched, const struct sched_vm_params *params)
{
    if (!sched_priority_multiplier(params->priority) || !weight_valid(params->weight_milli))
        return -EINVAL;
    return find_pool(sched, params->pool_id) ? 0 : -ENOENT;
}

static int free_slot(struct sched *sched, uint32_t *ret_slot)
{
    uint32_t slot = 0, *generations;
    struct sched_vm **vms;

    while (slot < sched->n_slots && sched->vms[slot])
        slot++;
    if (slot == SCHED_VMS_MAX)
        return -ENOSPC;
    if (slot == sched->n_slots) {
        vms = realloc(sched->vms, (slot + 1) * sizeof(struct sched_vm *));
        if (!vms)
            return -ENOMEM;
        sched->vms = vms;
        generations = realloc(sched->generations, (slot + 1) * sizeof(*generations));
        if (!generations)
            return -ENOMEM;
        sched->generations = generations;
        vms[slot] = NULL;
        generations[slot] = 0;
        sched->n_slots++;
    }
    *ret_slot = slot;
    return 0;
}

int sched_vm_add(struct sched *sched, const struct sched_vm_params *params, uint64_t now_ns,
                 uint32_t *ret_vm)
{
    struct sched_vm *vm;
    uint32_t slot;
    int r = check_params(sched, params);

    sched_begin(sched, &now_ns, NULL);
    if (r < 0)
        return r;
    r = free_slot(sched, &slot);
    if (r < 0)
        return r;
    vm = calloc(1, sizeof(*vm));
    if (!vm)
        return -ENOMEM;
    take_standings(sched, now_ns);
    vm->params = *params;
    vm->pool = find_pool(sched, params->pool_id);
    if (++sched->generations[slot] > UINT32_MAX / SCHED_VMS_MAX)
        sched->generations[slot] = 1;
    vm->handle = sched->generations[slot] * SCHED_VMS_MAX + slot;
    vm->entitled_mark_ns = now_ns;
    sched->vms[slot] = vm;
    sched->n_vms++;
    restore_standings(sched);
    *ret_vm = vm->handle;
    return 0;
}

int sched_vm_remove(struct sched *sched, uint32_t handle, uint64_t now_ns,
                    struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    charge_beside(sched, now_ns);
    if (vm->state == LEASE_WAITING)
        choose_dequeue(sched, vm);
    take_standings(sched, now_ns);
    if (sched->holder == vm)
        sched->holder = NULL;
    if (sched->overrunner == vm)
        sched->overrunner = NULL;
    sched->vms[handle % SCHED_VMS_MAX] = NULL;
    sched->n_vms--;
    free(vm);
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}

int sched_vm_update(struct sched *sched, uint32_t handle, const struct sched_vm_params *params,
                    uint64_t now_ns, struct sched_actions *actions)
{
    struct sched_vm *vm = sched_find(sched, handle);
    int r;

    sched_begin(sched, &now_ns, actions);
    if (!vm)
        return -ENOENT;
    r = check_params(sched, params);
    if (r < 0)
        return r;
    take_standings(sched, now_ns);
    choose_set_priority(sched, vm, params->priority);
    vm->params = *params;
    vm->pool = find_pool(sched, params->pool_id);
    restore_standings(sched);
    sched_decide(sched, now_ns, actions);
    return 0;
}
