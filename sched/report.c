/* SPDX-License-Identifier: Apache-2.0 */
/* What the scheduler knows of each VM: statistics, and accounts for a restart. Decides nothing. */
#include "sched/state.h"

#include <errno.h>

#define LOADED_DEBT_MAX_NS (INT64_C(3600) * 1000000000)

/* GPU time since the last charge, as far as known. */
static uint64_t uncharged(const struct sched_vm *vm, uint64_t now_ns)
{
    return vm->running ? now_ns - vm->mark_ns : 0;
}

static int64_t lag(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns)
{
    const struct fairq *queue = sched->pools_weighted ? &vm->pool->queue : &sched->root;
    uint64_t time, v = vm->entity.v, unsettled = 0;

    if (!vm->entity.member || !sched_is_fair(sched))
        return 0;
    if (vm == sched->holder || vm == sched->overrunner)
        unsettled = charge_unsettled(sched, vm, now_ns);
    v += fairq_distance(unsettled, vm->entity.weight);
    time = fairq_time(
        queue, charge_pool_unsettled(sched, sched->pools_weighted ? vm->pool : NULL, now_ns));
    return fairq_lag_ns(time, v, vm->entity.weight);
}

static uint64_t used_in_window(const struct sched_vm *vm, uint64_t now_ns)
{
    struct window used = vm->used;
    uint64_t more = uncharged(vm, now_ns);

    window_add(&used, vm->mark_ns, now_ns, more);
    return window_sum(&used, now_ns);
}

static uint32_t ppm(uint64_t part, uint64_t whole)
{
    uint64_t value = whole ? (uint64_t)((unsigned __int128)part * 1000000 / whole) : 0;

    return value > 1000000 ? 1000000 : (uint32_t)value;
}

/* What the VM was entitled to of the time in which any VM had work. */
static uint32_t entitled_ppm(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns)
{
    struct sched_pool pool = *vm->pool;
    struct sched scratch = *sched;
    struct sched_vm copy = *vm;

    copy.pool = &pool;
    charge_entitle(&scratch, &copy, now_ns);
    return ppm(window_sum(&copy.entitled, now_ns), window_sum(&scratch.with_work, now_ns));
}

static uint64_t used_by_all(const struct sched *sched, uint64_t now_ns)
{
    struct window used = sched->used;

    if (sched->holder)
        window_add(&used, sched->holder->mark_ns, now_ns, uncharged(sched->holder, now_ns));
    if (sched->overrunner)
        window_add(&used, sched->overrunner->mark_ns, now_ns, uncharged(sched->overrunner, now_ns));
    return window_sum(&used, now_ns);
}

int sched_vm_stats(const struct sched *sched, uint32_t handle, uint64_t now_ns,
                   struct sched_vm_stats *ret)
{
    const struct sched_vm *vm = sched_find(sched, handle);

    if (!vm)
        return -ENOENT;
    if (now_ns < sched->now_ns)
        now_ns = sched->now_ns;
    *ret = (struct sched_vm_stats){
        .tag = vm->params.tag,
        .state = vm->state,
        .pool_id = vm->params.pool_id,
        .priority = vm->params.priority,
        .weight_milli = vm->params.weight_milli,
        .has_work = vm->has_work,
        .depth = vm->depth,
        .charged_ns = vm->charged_ns,
        .jobs = vm->jobs,
        .window_ns = used_in_window(vm, now_ns),
        .share_ppm = ppm(used_in_window(vm, now_ns), used_by_all(sched, now_ns)),
        .entitled_ppm = entitled_ppm(sched, vm, now_ns),
        .lag_ns = lag(sched, vm, now_ns),
        .job_mean_ns = vm->job_mean_ns,
        .slice_ns = charge_slice(sched, vm),
        .waiting_ns = vm->state == LEASE_WAITING ? now_ns - vm->wait_since_ns : 0,
        .waits = vm->waits,
        .wait_total_ns = vm->wait_total_ns,
        .wait_max_ns = vm->wait_max_ns,
        .grants = vm->grants,
        .revokes = vm->revokes,
        .early_revokes = vm->early_revokes,
        .overruns = vm->overruns,
        .kills = vm->kills,
    };
    for (unsigned i = 0; i < SCHED_WAIT_BUCKETS; i++)
        ret->wait_histogram[i] = vm->wait_histogram[i];
    return 0;
}

void sched_stats(const struct sched *sched, uint64_t now_ns, struct sched_stats *ret)
{
    if (now_ns < sched->now_ns)
        now_ns = sched->now_ns;
    *ret = (struct sched_stats){
        .vms = sched->n_vms,
        .pools = sched->n_pools,
        .waiting = sched->waiting,
        .holder = sched->holder ? sched->holder->handle : 0,
        .overrunner = sched->overrunner ? sched->overrunner->handle : 0,
        .paused = sched->paused,
        .pools_weighted = sched->pools_weighted,
        .virtual_time = sched->root.base + sched->root.shift,
        .window_ns = used_by_all(sched, now_ns),
        .charged_ns = sched->charged_ns,
        .grants = sched->grants,
        .revokes = sched->revokes,
        .early_revokes = sched->early_revokes,
        .overruns = sched->overruns,
        .kills = sched->kills,
    };
}

uint32_t sched_vm_list(const struct sched *sched, uint32_t *vms, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sched->n_slots; i++) {
        if (!sched->vms[i])
            continue;
        if (n < max)
            vms[n] = sched->vms[i]->handle;
        n++;
    }
    return n;
}

int sched_vm_save(const struct sched *sched, uint32_t handle, uint64_t now_ns,
                  struct sched_account *ret)
{
    const struct sched_vm *vm = sched_find(sched, handle);

    if (!vm)
        return -ENOENT;
    if (now_ns < sched->now_ns)
        now_ns = sched->now_ns;
    *ret = (struct sched_account){
        .version = SCHED_ACCOUNT_VERSION,
        .state = (uint32_t)vm->state,
        .tag = vm->params.tag,
        .charged_ns = vm->charged_ns,
        .lag_ns = lag(sched, vm, now_ns),
        .saved_ns = now_ns,
        .lease_since_ns = lease_on_gpu(vm->state) ? vm->granted_ns : 0,
        .jobs = vm->jobs,
    };
    return 0;
}

int sched_vm_load(struct sched *sched, uint32_t handle, const struct sched_account *account)
{
    struct sched_vm *vm = sched_find(sched, handle);
    int64_t lag_ns = account->lag_ns, most = (int64_t)sched->config.slice_max_ns;

    if (!vm)
        return -ENOENT;
    if (account->version != SCHED_ACCOUNT_VERSION || account->state >= LEASE_N_STATES ||
        account->tag != vm->params.tag || account->reserved)
        return -EINVAL;
    if (vm->state != LEASE_NONE || vm->charged_ns || vm->entity.member || vm->loaded)
        return -EINVAL;
    if (lag_ns > most)
        lag_ns = most;
    if (lag_ns < -LOADED_DEBT_MAX_NS)
        lag_ns = -LOADED_DEBT_MAX_NS;
    vm->charged_ns = account->charged_ns;
    vm->jobs = account->jobs;
    vm->loaded = true;
    vm->loaded_lag_ns = account->state == LEASE_NONE && lag_ns > 0 ? 0 : lag_ns;
    vm->loaded_ns = account->saved_ns;
    return 0;
}
