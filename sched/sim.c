/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated GPU, workers and guests; see sim.h.
 *
 * Virtual time jumps from event to event. A VM that holds the lease runs its jobs one after the
 * other; after a revoke it finishes the job in hand and what was issued ahead (in_flight_ns), then
 * releases. Contexts that run at the same time (beside an overrunner) get equal parts of the GPU,
 * as the hardware's time-slicing gives them. A hand-over costs switch_ns, in which nothing runs.
 *
 * The scheduler sees only what a mediator would see: work, no work, releases with busy time by the
 * clock.
 */
#include "sched/sim.h"

#include "common/cleanup.h"
#include "sched/sim_stat.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEVER      SCHED_NEVER
#define ON_GPU_MAX 8
#define NOBODY     UINT32_MAX

struct job {
    uint64_t arrival_ns, length_ns;
};

struct guest {
    const struct sim_vm *spec;
    struct fluid_vm *fluid;
    struct sim_vm_result *result;
    uint32_t handle;
    uint64_t random;
    struct job *queue; /* ring */
    uint32_t head, count, capacity;
    uint64_t next_arrival_ns; /* open arrivals; or the closed loop's beginning */
    uint64_t *thoughts;       /* closed with think time: when each sleeping job arrives */
    uint32_t n_thoughts;
    bool stopped;
    uint64_t wait_since_ns; /* for the lease; NEVER: does not wait */
    struct sim_histogram waits;
};

/* A worker's stay on the GPU, from the grant to the release. */
struct stay {
    uint32_t vm;
    uint64_t start_ns; /* hand-over done */
    bool running;      /* a job is in hand */
    double remaining;
    struct job job;
    bool revoked;
    double issued; /* revoked: work that was issued ahead and is still to be done */
    uint64_t kill_ns;
    uint64_t busy_ns; /* by the clock */
    uint32_t jobs;
    bool started; /* start_ns has come, and the scheduler knows */
    bool leave;   /* to be released, now */
};

struct sim {
    const struct sim_spec *spec;
    const struct sim_probe *probe;
    struct sim_result *result;
    struct sched *sched;
    struct fluid fluid;
    double *pool_weights; /* fluid's, where they are in force */
    struct guest *guests;
    struct stay stays[ON_GPU_MAX];
    unsigned n_stays;
    uint32_t last_vm; /* whose context was on the GPU last */
    uint64_t now_ns, tick_ns;
    uint32_t next_change;
    uint32_t with_work;
};

static uint64_t draw(const struct sim_dist *dist, uint64_t *random, uint64_t min)
{
    double value = (double)dist->ns;
    double u = sim_random_unit(random);

    if (dist->kind == SIM_EXPONENTIAL)
        value = -log(u) * (double)dist->ns;
    else if (dist->kind == SIM_BIMODAL && u * 1e6 <= (double)dist->long_ppm)
        value = (double)dist->long_ns;
    if (value > (double)SIM_JOB_MAX_NS)
        value = (double)SIM_JOB_MAX_NS;
    return value < (double)min ? min : (uint64_t)value;
}

static uint64_t open_gap(struct guest *guest)
{
    struct sim_dist gap = {.kind = SIM_EXPONENTIAL, .ns = guest->spec->gap_ns};

    if (guest->spec->arrivals == SIM_PERIODIC)
        return guest->spec->gap_ns;
    return draw(&gap, &guest->random, 1);
}

static bool saturates(const struct sim_vm *vm)
{
    return vm->arrivals == SIM_CLOSED && !vm->thinks;
}

static struct stay *stay_of(struct sim *sim, uint32_t vm)
{
    for (unsigned i = 0; i < sim->n_stays; i++) {
        if (sim->stays[i].vm == vm)
            return &sim->stays[i];
    }
    return NULL;
}

static void apply(struct sim *sim, const struct sched_actions *actions);

static bool busy(struct sim *sim, uint32_t vm)
{
    const struct stay *stay = stay_of(sim, vm);

    return sim->guests[vm].count || (stay && stay->running);
}

static void tell_backlog(struct sim *sim, uint32_t vm)
{
    struct guest *guest = &sim->guests[vm];
    const struct stay *stay = stay_of(sim, vm);
    struct sched_actions actions;
    uint64_t oldest = 0;

    if (stay && stay->running)
        oldest = stay->job.arrival_ns;
    else if (guest->count)
        oldest = guest->queue[guest->head].arrival_ns;
    sched_vm_backlog(sim->sched, guest->handle, guest->count, oldest, sim->now_ns, &actions);
    apply(sim, &actions);
}

static void begin_job(struct sim *sim, struct stay *stay)
{
    struct guest *guest = &sim->guests[stay->vm];
    uint64_t wait;

    if (stay->running || !guest->count || sim->now_ns < stay->start_ns)
        return;
    stay->job = guest->queue[guest->head];
    if (stay->revoked) {
        if ((double)stay->job.length_ns > stay->issued)
            return;
        stay->issued -= (double)stay->job.length_ns;
    }
    guest->head = (guest->head + 1) % guest->capacity;
    guest->count--;
    stay->running = true;
    stay->remaining = (double)stay->job.length_ns;
    wait = sim->now_ns - stay->job.arrival_ns;
    sim_histogram_add(&guest->waits, wait);
    if (wait > guest->result->wait_max_ns)
        guest->result->wait_max_ns = wait;
}

static void on_grant(struct sim *sim, uint32_t vm)
{
    struct stay *stay = &sim->stays[sim->n_stays];
    struct guest *guest = &sim->guests[vm];
    bool other = sim->last_vm != vm && sim->last_vm != NOBODY;
    uint64_t wait = sim->now_ns - guest->wait_since_ns;

    if (sim->n_stays == ON_GPU_MAX)
        abort(); /* the scheduler lets at most a holder, an overrunner and a few dying be here */
    sim->n_stays++;
    *stay = (struct stay){.vm = vm, .kill_ns = NEVER, .start_ns = sim->now_ns};
    if (other) {
        stay->start_ns += sim->spec->switch_ns;
        sim->result->switches++;
    }
    sim->last_vm = vm;
    guest->result->grants++;
    if (guest->wait_since_ns != NEVER && wait > guest->result->turn_wait_max_ns)
        guest->result->turn_wait_max_ns = wait;
    guest->wait_since_ns = NEVER;
    begin_job(sim, stay);
}

static void on_revoke(struct sim *sim, uint32_t vm)
{
    struct stay *stay = stay_of(sim, vm);

    if (!stay)
        return;
    stay->revoked = true;
    stay->issued = sim->now_ns < stay->start_ns ? 0 : (double)sim->spec->in_flight_ns;
    if (!stay->running)
        stay->leave = true;
}

static void apply(struct sim *sim, const struct sched_actions *actions)
{
    sim->tick_ns = actions->next_ns;
    for (uint32_t i = 0; i < actions->count; i++) {
        const struct sched_action *action = &actions->items[i];
        uint32_t vm = (uint32_t)action->tag;
        struct stay *stay = stay_of(sim, vm);

        if (sim->probe && sim->probe->action)
            sim->probe->action(sim->probe->context, sim->now_ns, action, vm);
        if (action->kind == SCHED_GRANT)
            on_grant(sim, vm);
        else if (action->kind == SCHED_REVOKE)
            on_revoke(sim, vm);
        else if (action->kind == SCHED_OVERRUN)
            sim->guests[vm].result->overruns++;
        else if (action->kind == SCHED_KILL && stay)
            stay->kill_ns = sim->now_ns + sim->spec->kill_ns;
    }
}

/* Says that the VM has work, or none, if that has changed. */
static void tell_work(struct sim *sim, uint32_t vm, bool before)
{
    struct sched_actions actions;
    bool after = busy(sim, vm);

    if (before == after) {
        tell_backlog(sim, vm);
        return;
    }
    sim->with_work += after ? 1 : -1;
    if (after && !stay_of(sim, vm))
        sim->guests[vm].wait_since_ns = sim->now_ns;
    if (!after && !stay_of(sim, vm))
        sim->guests[vm].wait_since_ns = NEVER;
    if (after)
        sched_vm_has_work(sim->sched, sim->guests[vm].handle, sim->now_ns, &actions);
    else
        sched_vm_idle(sim->sched, sim->guests[vm].handle, sim->now_ns, &actions);
    apply(sim, &actions);
}

static int push_job(struct guest *guest, const struct job *job)
{
    if (guest->count == guest->capacity) {
        uint32_t capacity = guest->capacity ? guest->capacity * 2 : 16;
        struct job *queue;

        if (guest->count == SIM_QUEUE_MAX) {
            guest->result->dropped++;
            return 1;
        }
        queue = calloc(capacity, sizeof(*queue));
        if (!queue)
            return -ENOMEM;
        for (uint32_t i = 0; i < guest->count; i++)
            queue[i] = guest->queue[(guest->head + i) % guest->capacity];
        free(guest->queue);
        guest->queue = queue;
        guest->capacity = capacity;
        guest->head = 0;
    }
    guest->queue[(guest->head + guest->count++) % guest->capacity] = *job;
    return 0;
}

static int arrive(struct sim *sim, uint32_t vm, uint32_t n)
{
    struct guest *guest = &sim->guests[vm];
    bool before = busy(sim, vm);
    struct stay *stay;

    for (uint32_t i = 0; i < n; i++) {
        struct job job = {.arrival_ns = sim->now_ns,
                          .length_ns = draw(&guest->spec->job, &guest->random, SIM_JOB_MIN_NS)};
        int r = push_job(guest, &job);

        if (r < 0)
            return r;
        if (r == 0)
            guest->fluid->backlog += (double)job.length_ns;
    }
    tell_work(sim, vm, before);
    stay = stay_of(sim, vm);
    if (stay && !stay->leave)
        begin_job(sim, stay);
    return 0;
}

/* A closed loop goes on: the next job comes now, or after a thought. */
static int follow(struct sim *sim, uint32_t vm)
{
    struct guest *guest = &sim->guests[vm];
    uint64_t think;

    if (guest->spec->arrivals != SIM_CLOSED || guest->stopped)
        return 0;
    think = guest->spec->thinks ? draw(&guest->spec->think, &guest->random, 0) : 0;
    if (!think)
        return arrive(sim, vm, 1);
    guest->thoughts[guest->n_thoughts++] = sim->now_ns + think;
    return 0;
}

static int finish_job(struct sim *sim, struct stay *stay)
{
    uint32_t vm = stay->vm;
    struct guest *guest = &sim->guests[vm];
    uint64_t arrival = stay->job.arrival_ns;
    int r;

    if (stay->job.length_ns > guest->result->longest_ns)
        guest->result->longest_ns = stay->job.length_ns;
    guest->result->jobs++;
    stay->jobs++;
    if (sim->probe && sim->probe->job_done)
        sim->probe->job_done(sim->probe->context, sim->now_ns, vm, arrival);
    /* The follow-up is there before the scheduler hears of an end: a closed loop never idles. */
    r = follow(sim, vm);
    stay->running = false;
    begin_job(sim, stay);
    if (stay->running) {
        tell_backlog(sim, vm);
        return r;
    }
    if (!guest->count)
        tell_work(sim, vm, true);
    if (stay->revoked)
        stay->leave = true;
    return r;
}

static void remove_stay(struct sim *sim, unsigned index)
{
    sim->stays[index] = sim->stays[--sim->n_stays];
}

static void release(struct sim *sim, unsigned index)
{
    struct stay stay = sim->stays[index];
    struct guest *guest = &sim->guests[stay.vm];
    struct sched_actions actions;

    remove_stay(sim, index);
    if (guest->count)
        guest->wait_since_ns = sim->now_ns;
    sched_lease_released(sim->sched, guest->handle, sim->now_ns, stay.busy_ns, stay.jobs, &actions);
    apply(sim, &actions);
}

static int die(struct sim *sim, unsigned index)
{
    struct stay stay = sim->stays[index];
    struct guest *guest = &sim->guests[stay.vm];
    struct sched_actions actions;

    remove_stay(sim, index);
    guest->result->kills++;
    if (stay.running) {
        guest->result->dropped++;
        guest->fluid->backlog -= fmin(stay.remaining, guest->fluid->backlog);
    }
    if (guest->count)
        guest->wait_since_ns = sim->now_ns;
    sched_worker_gone(sim->sched, guest->handle, sim->now_ns, stay.busy_ns, &actions);
    apply(sim, &actions);
    if (stay.running) {
        if (!guest->count)
            tell_work(sim, stay.vm, true);
        return follow(sim, stay.vm);
    }
    return 0;
}

/* Lets [now, until] pass. Nothing begins or ends within it. */
static void pass(struct sim *sim, uint64_t until_ns)
{
    uint64_t span = until_ns - sim->now_ns;
    unsigned running = 0, handing_over = 0;

    for (unsigned i = 0; i < sim->n_stays; i++) {
        running += sim->stays[i].running;
        handing_over += sim->stays[i].start_ns > sim->now_ns;
    }
    if (!running && handing_over)
        sim->result->switch_ns += span;
    else if (!running && sim->with_work)
        sim->result->idle_with_work_ns += span;
    for (unsigned i = 0; i < sim->n_stays && running; i++) {
        struct stay *stay = &sim->stays[i];
        double part = (double)span / running;

        if (!stay->running)
            continue;
        stay->remaining -= part;
        stay->busy_ns += span;
        sim->guests[stay->vm].fluid->received += part;
    }
    if (running) {
        sim->result->served_ns += span;
        fluid_advance(&sim->fluid, (double)span);
    }
    sim->now_ns = until_ns;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_event(const struct sim *sim)
{
    uint64_t next = min_u64(sim->tick_ns, sim->spec->duration_ns);
    unsigned running = 0;

    for (unsigned i = 0; i < sim->n_stays; i++)
        running += sim->stays[i].running;
    for (unsigned i = 0; i < sim->n_stays; i++) {
        const struct stay *stay = &sim->stays[i];

        next = min_u64(next, stay->kill_ns);
        if (stay->leave)
            next = sim->now_ns;
        if (stay->start_ns > sim->now_ns)
            next = min_u64(next, stay->start_ns);
        if (stay->running)
            next = min_u64(next, sim->now_ns + (uint64_t)ceil(fmax(stay->remaining, 0) * running));
    }
    for (uint32_t i = 0; i < sim->spec->n_vms; i++) {
        const struct guest *guest = &sim->guests[i];

        next = min_u64(next, guest->next_arrival_ns);
        if (!guest->stopped && guest->spec->stop_ns)
            next = min_u64(next, guest->spec->stop_ns);
        for (uint32_t t = 0; t < guest->n_thoughts; t++)
            next = min_u64(next, guest->thoughts[t]);
    }
    if (sim->next_change < sim->spec->n_changes)
        next = min_u64(next, sim->spec->changes[sim->next_change].at_ns);
    return next < sim->now_ns ? sim->now_ns : next;
}

static void stop(struct sim *sim, struct guest *guest)
{
    const struct stay *stay = stay_of(sim, (uint32_t)(guest - sim->guests));
    double left = 0;

    guest->stopped = true;
    guest->next_arrival_ns = NEVER;
    guest->n_thoughts = 0;
    if (!saturates(guest->spec))
        return;
    /* Its work in the fluid system ends as well: what is left in reality, and the difference. */
    for (uint32_t i = 0; i < guest->count; i++)
        left += (double)guest->queue[(guest->head + i) % guest->capacity].length_ns;
    if (stay && stay->running)
        left += stay->remaining;
    guest->fluid->backlog = fmax(0, left + guest->fluid->received - guest->fluid->served);
}

static int guest_events(struct sim *sim, uint32_t vm)
{
    struct guest *guest = &sim->guests[vm];
    int r = 0;

    if (!guest->stopped && guest->spec->stop_ns && guest->spec->stop_ns <= sim->now_ns)
        stop(sim, guest);
    if (guest->next_arrival_ns <= sim->now_ns) {
        bool closed = guest->spec->arrivals == SIM_CLOSED;

        guest->next_arrival_ns = closed ? NEVER : sim->now_ns + open_gap(guest);
        if (saturates(guest->spec))
            guest->fluid->backlog = INFINITY;
        r = arrive(sim, vm, closed ? guest->spec->depth : 1);
    }
    for (uint32_t t = 0; r == 0 && t < guest->n_thoughts;) {
        if (guest->thoughts[t] > sim->now_ns) {
            t++;
            continue;
        }
        guest->thoughts[t] = guest->thoughts[--guest->n_thoughts];
        r = arrive(sim, vm, 1);
    }
    return r;
}

static void set_fluid_weight(struct guest *guest, const struct sched_vm_params *params)
{
    static const double multipliers[] = {1, 2, 4};

    guest->fluid->weight = multipliers[params->priority] * params->weight_milli;
}

/* The fluid system has pools as long as each has a weight. */
static void set_fluid_pools(struct sim *sim)
{
    bool weighted = true;

    for (uint32_t p = 0; p < sim->fluid.n_pools; p++)
        weighted = weighted && sim->pool_weights[p] > 0;
    sim->fluid.pool_weights = weighted ? sim->pool_weights : NULL;
}

static void change_vm(struct sim *sim, const struct sim_change *what, struct sched_actions *actions)
{
    struct guest *guest = &sim->guests[what->vm];
    struct sched_vm_params params;
    struct sched_vm_stats stats;

    if (sched_vm_stats(sim->sched, guest->handle, sim->now_ns, &stats) < 0)
        return;
    params = (struct sched_vm_params){.tag = stats.tag,
                                      .pool_id = stats.pool_id,
                                      .priority = stats.priority,
                                      .weight_milli = stats.weight_milli};
    if (what->kind == SIM_SET_WEIGHT)
        params.weight_milli = (uint32_t)what->value;
    else if (what->kind == SIM_SET_POOL)
        params.pool_id = guest->fluid->pool = (uint32_t)what->value;
    else
        params.priority = (enum sched_priority)what->value;
    set_fluid_weight(guest, &params);
    sched_vm_update(sim->sched, guest->handle, &params, sim->now_ns, actions);
}

static void change(struct sim *sim, const struct sim_change *what)
{
    struct sched_actions actions = {.next_ns = sim->tick_ns};
    struct sched_config config;

    sched_get_config(sim->sched, &config);
    if (what->kind == SIM_SET_POLICY || what->kind == SIM_SET_SLICE) {
        if (what->kind == SIM_SET_POLICY)
            config.policy = (enum sched_policy)what->value;
        else
            config.slice_ns = what->value;
        if (config.slice_max_ns < config.slice_ns)
            config.slice_max_ns = config.slice_ns;
        if (config.slice_min_ns > config.slice_ns)
            config.slice_min_ns = config.slice_ns;
        sched_configure(sim->sched, &config, sim->now_ns, &actions, NULL);
    } else if (what->kind == SIM_SET_POOL_WEIGHT) {
        sim->pool_weights[what->vm] = (double)what->value;
        set_fluid_pools(sim);
        sched_pool_set_weight(sim->sched, what->vm, (uint32_t)what->value, sim->now_ns, &actions);
    } else {
        change_vm(sim, what, &actions);
    }
    apply(sim, &actions);
}

static int gpu_events(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_stays;) {
        struct stay *stay = &sim->stays[i];
        int r = 0;

        if (stay->kill_ns <= sim->now_ns) {
            r = die(sim, i);
        } else if (stay->leave) {
            release(sim, i);
        } else if (stay->running && stay->remaining < 0.5) {
            r = finish_job(sim, stay);
        } else {
            if (!stay->started && stay->start_ns <= sim->now_ns) {
                stay->started = true;
                sched_lease_started(sim->sched, sim->guests[stay->vm].handle, sim->now_ns);
            }
            begin_job(sim, stay);
            i++;
            continue;
        }
        if (r < 0)
            return r;
        i = 0; /* the list has changed */
    }
    return 0;
}

static int play_events(struct sim *sim)
{
    struct sched_actions actions;
    int r = gpu_events(sim);

    while (sim->next_change < sim->spec->n_changes &&
           sim->spec->changes[sim->next_change].at_ns <= sim->now_ns)
        change(sim, &sim->spec->changes[sim->next_change++]);
    for (uint32_t i = 0; r == 0 && i < sim->spec->n_vms; i++)
        r = guest_events(sim, i);
    if (r == 0 && sim->tick_ns <= sim->now_ns) {
        sched_tick(sim->sched, sim->now_ns, &actions);
        apply(sim, &actions);
    }
    if (sim->probe && sim->probe->step)
        sim->probe->step(sim->probe->context, sim->now_ns, sim->sched);
    return r;
}

static int set_up_vm(struct sim *sim, uint32_t i)
{
    const struct sim_vm *vm = &sim->spec->vms[i];
    struct guest *guest = &sim->guests[i];
    struct sched_vm_params params = {
        .tag = i, .pool_id = vm->pool, .priority = vm->priority, .weight_milli = vm->weight_milli};

    guest->spec = vm;
    guest->fluid = &sim->fluid.vms[i];
    guest->result = &sim->result->vms[i];
    guest->random = sim_random_seed(sim->spec->seed, vm->name);
    guest->wait_since_ns = NEVER;
    guest->fluid->pool = vm->pool;
    set_fluid_weight(guest, &params);
    if (vm->arrivals == SIM_CLOSED)
        guest->next_arrival_ns = vm->start_ns;
    else
        guest->next_arrival_ns =
            vm->start_ns + (vm->arrivals == SIM_PERIODIC ? vm->phase_ns : open_gap(guest));
    if (vm->thinks) {
        guest->thoughts = calloc(vm->depth, sizeof(*guest->thoughts));
        if (!guest->thoughts)
            return -ENOMEM;
    }
    return sched_vm_add(sim->sched, &params, 0, &guest->handle);
}

static int set_up(struct sim *sim, struct vgpu_err *err)
{
    const struct sim_spec *spec = sim->spec;
    struct sched_actions actions;
    int r = 0;

    sim->sched = sched_new(&spec->config, err);
    sim->guests = calloc(spec->n_vms, sizeof(*sim->guests));
    sim->fluid.vms = calloc(spec->n_vms, sizeof(*sim->fluid.vms));
    sim->pool_weights = calloc(spec->n_pools, sizeof(double));
    sim->fluid.pool_sums = calloc(spec->n_pools, sizeof(double));
    sim->result->vms = calloc(spec->n_vms, sizeof(*sim->result->vms));
    if (!sim->sched || !sim->guests || !sim->fluid.vms || !sim->pool_weights ||
        !sim->fluid.pool_sums || !sim->result->vms)
        return -ENOMEM;
    sim->fluid.n_vms = spec->n_vms;
    sim->fluid.n_pools = spec->n_pools;
    for (uint32_t p = 0; r == 0 && p < spec->n_pools; p++) {
        sim->pool_weights[p] = spec->pools[p].weight_milli;
        r = sched_pool_add(sim->sched, p, spec->pools[p].weight_milli, 0, &actions);
    }
    set_fluid_pools(sim);
    for (uint32_t i = 0; r == 0 && i < spec->n_vms; i++)
        r = set_up_vm(sim, i);
    return r;
}

/* docs/spec/scheduling.md, "Bounds". */
static uint64_t lag_bound(const struct sim *sim)
{
    const struct sched_config *c = &sim->spec->config;
    uint64_t slice = c->slice_ns;

    if (sim->result->longest_ns > slice / 8)
        slice = min_u64(c->slice_max_ns, slice + slice / 3 + 1);
    if (sim->result->longest_ns > slice)
        slice = min_u64(c->slice_max_ns, sim->result->longest_ns);
    return slice + sim->spec->in_flight_ns + sim->result->longest_ns + c->urgency_ns;
}

/* Jain's index of served / ideal over the VMs whose ideal is at least least_ns; 1 if none. */
static double jain(const struct sim *sim, double least_ns)
{
    double sum = 0, squares = 0;
    unsigned n = 0;

    for (uint32_t i = 0; i < sim->spec->n_vms; i++) {
        const struct fluid_vm *fluid = &sim->fluid.vms[i];
        double x = fluid->served > 1 ? fluid->received / fluid->served : 0;

        if (fluid->served <= 1 || fluid->served < least_ns)
            continue;
        sum += x;
        squares += x * x;
        n++;
    }
    return n && squares > 0 ? sum * sum / (n * squares) : 1;
}

static void conclude_vm(struct sim *sim, uint32_t i)
{
    const struct fluid_vm *fluid = &sim->fluid.vms[i];
    const struct guest *guest = &sim->guests[i];
    struct sim_vm_result *vm = &sim->result->vms[i];

    vm->served_ns = (uint64_t)(fluid->received + 0.5);
    vm->ideal_ns = fluid->served;
    vm->lag_max_ns = fluid->lag_max;
    vm->ahead_max_ns = fluid->ahead_max;
    vm->wait_p50_ns = sim_histogram_quantile(&guest->waits, 0.50);
    vm->wait_p95_ns = sim_histogram_quantile(&guest->waits, 0.95);
    vm->wait_p99_ns = sim_histogram_quantile(&guest->waits, 0.99);
}

static void conclude(struct sim *sim)
{
    struct sim_result *result = sim->result;

    result->duration_ns = sim->now_ns;
    for (uint32_t i = 0; i < sim->spec->n_vms; i++) {
        const struct sim_vm_result *vm = &result->vms[i];
        double error;

        conclude_vm(sim, i);
        error = fabs((double)vm->served_ns - vm->ideal_ns);
        if (vm->longest_ns > result->longest_ns)
            result->longest_ns = vm->longest_ns;
        result->lag_max_ns = fmax(result->lag_max_ns, vm->lag_max_ns);
        result->share_error_max_ns = fmax(result->share_error_max_ns, error);
    }
    result->jain = jain(sim, 0);
    result->jain_large = jain(sim, (double)result->served_ns / 100);
    result->lag_bound_ns = lag_bound(sim);
}

static void tear_down(struct sim *sim)
{
    for (uint32_t i = 0; sim->guests && i < sim->spec->n_vms; i++) {
        free(sim->guests[i].queue);
        free(sim->guests[i].thoughts);
    }
    free(sim->guests);
    free(sim->fluid.vms);
    free(sim->pool_weights);
    free(sim->fluid.pool_sums);
    sched_free(sim->sched);
}

int sim_run(const struct sim_spec *spec, const struct sim_probe *probe, uint64_t max_steps,
            struct sim_result *ret_result, struct vgpu_err *err)
{
    struct sim_result result = {0};
    struct sim sim = {
        .spec = spec, .probe = probe, .result = &result, .last_vm = NOBODY, .tick_ns = NEVER};
    int r = set_up(&sim, err);

    if (!max_steps)
        max_steps = SIM_STEPS_DEFAULT;
    while (r == 0 && sim.now_ns < spec->duration_ns) {
        if (result.steps++ >= max_steps) {
            r = vgpu_err_set(err, EOVERFLOW, "more than %llu events",
                             (unsigned long long)max_steps);
            break;
        }
        r = play_events(&sim);
        if (r == 0)
            pass(&sim, next_event(&sim));
    }
    if (r == 0)
        conclude(&sim);
    else if (r == -ENOMEM)
        vgpu_err_set(err, ENOMEM, "out of memory");
    tear_down(&sim);
    if (r < 0)
        sim_result_release(&result);
    else
        *ret_result = result;
    return r;
}

void sim_result_release(struct sim_result *result)
{
    free(result->vms);
    result->vms = NULL;
}
