/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mediator/watch.h"

/* How many seats are looked at before one decision: a bound for a GPU with thousands of VMs. */
#define LOOK_MAX 64

/* The most jobs that one charge is told of: the number is the worker's word. */
#define JOBS_PER_CHARGE_MAX 1000000

/* However short the grace is, this much may be in flight; one job always may. */
#define INFLIGHT_MIN_NS (100 * VGPU_NS_PER_US)

static void seat_go_on(struct seat *seat);

static uint64_t now_of(const struct gpu *gpu)
{
    return loop_now(gpu->loop);
}

static void save(struct seat *seat)
{
    if (!seat->slot)
        return;
    sched_vm_save(seat->gpu->sched, seat->handle, now_of(seat->gpu), &seat->account.sched);
    accounts_save(seat->slot, &seat->account);
}

/* charging */

static void mark(struct seat *seat, uint64_t now_ns)
{
    struct channel_report report;

    seat->mark_ns = now_ns;
    seat->idle_ns = 0;
    if (seat->idle_since_ns)
        seat->idle_since_ns = now_ns;
    if (!seat->turn)
        return;
    channel_report(seat->turn, &report);
    seat->busy_mark_ns = report.busy_ns;
    seat->jobs_mark = report.jobs_done;
}

/* GPU time and jobs since the last mark. */
static uint64_t measure(const struct seat *seat, uint64_t now_ns, uint32_t *ret_jobs)
{
    uint64_t held = now_ns - seat->mark_ns, idle = seat->idle_ns, busy;
    struct channel_report report;
    uint64_t jobs;

    *ret_jobs = 0;
    if (!seat->turn)
        return 0;
    channel_report(seat->turn, &report);
    jobs = report.jobs_done - seat->jobs_mark;
    *ret_jobs = jobs < JOBS_PER_CHARGE_MAX ? (uint32_t)jobs : JOBS_PER_CHARGE_MAX;
    if (seat->contended) {
        if (seat->idle_since_ns)
            idle += now_ns - seat->idle_since_ns;
        return idle < held ? held - idle : 0;
    }
    busy = report.busy_ns - seat->busy_mark_ns;
    return busy < held ? busy : held;
}

void seat_charge(struct seat *seat)
{
    uint64_t now_ns = now_of(seat->gpu), busy_ns;
    uint32_t jobs;

    if (!seat->leased)
        return;
    busy_ns = measure(seat, now_ns, &jobs);
    sched_charge(seat->gpu->sched, seat->handle, now_ns, busy_ns, jobs);
    mark(seat, now_ns);
    save(seat);
}

static void set_need(struct seat *seat, struct channel *channel, bool need)
{
    uint64_t now_ns = now_of(seat->gpu);

    channel->need = need;
    if (channel != seat->turn)
        return;
    if (!need && !seat->idle_since_ns)
        seat->idle_since_ns = now_ns;
    if (need && seat->idle_since_ns) {
        seat->idle_ns += now_ns - seat->idle_since_ns;
        seat->idle_since_ns = 0;
    }
}

/* what is queued */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Tells sched how many jobs the VM has queued, as far as that counts, and since when. */
static void tell_backlog(struct seat *seat, const struct sched_config *config)
{
    bool waits = seat->has_work && !seat->leased;
    uint64_t now_ns = now_of(seat->gpu), since_ns = waits ? seat->queued_ns : now_ns;
    uint64_t depth = 0, oldest_ns = 0;

    for (struct channel *c = seat->channels; c; c = c->seat_next) {
        struct channel_queue queue;
        uint64_t seen_ns;

        channel_queue(c, &queue);
        depth += queue.depth;
        seen_ns = backlog_note(&c->backlog, queue.taken, queue.over, now_ns);
        if (seen_ns && (!oldest_ns || seen_ns < oldest_ns))
            oldest_ns = seen_ns;
    }
    if (oldest_ns && oldest_ns + BACKLOG_ARRIVAL_NS < since_ns)
        oldest_ns = since_ns - BACKLOG_ARRIVAL_NS;
    sched_vm_backlog(seat->gpu->sched, seat->handle,
                     (uint32_t)min_u64(depth, config->urgency_depth), oldest_ns, now_ns, NULL);
}

/* Before a decision: those who want the GPU, some at a time where they are many. */
static void look_at_backlogs(struct gpu *gpu)
{
    struct sched_config config;
    struct seat *seat = gpu->look ? gpu->look : gpu->seats, *first = seat;

    sched_get_config(gpu->sched, &config);
    for (unsigned i = 0; seat && i < LOOK_MAX; i++) {
        if (seat->has_work)
            tell_backlog(seat, &config);
        seat = seat->next ? seat->next : gpu->seats;
        if (seat == first)
            break;
    }
    gpu->look = seat;
}

/* who waits */

/* Somebody waits for this GPU, or is on it beside another: then no worker's word is taken. */
static bool gpu_is_wanted(const struct gpu *gpu)
{
    struct sched_stats stats;

    sched_stats(gpu->sched, now_of(gpu), &stats);
    return stats.waiting > 0 || stats.overrunner != 0;
}

static struct channel *other_in_need(const struct seat *seat)
{
    for (struct channel *c = seat->channels; c; c = c->seat_next)
        if (c != seat->turn && c->need)
            return c;
    return NULL;
}

/* Tells each worker that has a turn whether others wait, where that has changed. */
static void update_contended(struct gpu *gpu)
{
    bool wanted = gpu_is_wanted(gpu);

    for (struct seat *seat = gpu->seats; seat; seat = seat->next) {
        bool contended;

        if (!seat->turn)
            continue;
        contended = wanted || other_in_need(seat);
        if (contended == seat->contended)
            continue;
        seat_charge(seat);
        seat->contended = contended;
        channel_set_contended(seat->turn, contended);
    }
}

/* the turn of a channel */

static void set_watchdog(struct seat *seat, uint64_t due_ns)
{
    loop_timer_set(seat->gpu->loop, &seat->watchdog, due_ns);
}

static uint64_t job_timeout_ns(const struct seat *seat)
{
    return seat->job_timeout_ns ? seat->job_timeout_ns : seat->gpu->settings->job_timeout_ns;
}

static void count_switch(struct seat *seat, const struct channel *channel)
{
    if (seat->gpu->last_turn == channel->number)
        return;
    seat->gpu->last_turn = channel->number;
    seat->gpu->switches++;
    seat->switches++;
}

/*
 * What is in flight at a revoke drains within the grace, with some of it left: past the grace the
 * next VM is granted the GPU beside this one, and both would pay for that at each hand-over.
 */
static uint64_t inflight_max_ns(const struct gpu *gpu)
{
    struct sched_config config;

    sched_get_config(gpu->sched, &config);
    return config.grace_ns > INFLIGHT_MIN_NS * 6 / 5 ? config.grace_ns / 6 * 5 : INFLIGHT_MIN_NS;
}

static void give_turn(struct seat *seat, struct channel *channel)
{
    uint64_t now_ns = now_of(seat->gpu);
    struct channel_report report;

    channel_report(channel, &report);
    count_switch(seat, channel);
    seat->turn = seat->last = channel;
    seat->idle_since_ns = 0;
    seat->granted_ns = now_ns;
    seat->contended = gpu_is_wanted(seat->gpu) || other_in_need(seat);
    channel->revoked = false;
    channel->jobs_checked = report.jobs_taken;
    mark(seat, now_ns);
    /* The flag is in the page before the turn is; one kick is enough for both, two do no harm. */
    channel_set_inflight(channel, inflight_max_ns(seat->gpu));
    channel_set_contended(channel, seat->contended);
    channel_set_turn(channel, true);
    set_watchdog(seat, now_ns + job_timeout_ns(seat));
}

static void take_turn_back(struct seat *seat)
{
    struct channel *channel = seat->turn;
    struct channel_report report;

    loop_timer_clear(seat->gpu->loop, &seat->rotate);
    if (channel->revoked)
        return;
    channel_report(channel, &report);
    channel->revoked = true;
    channel->revoked_ns = now_of(seat->gpu);
    channel->drain_busy = report.oldest_issued_ns != 0;
    channel_set_turn(channel, false);
    set_watchdog(seat, channel->revoked_ns + seat->gpu->settings->drain_ns);
}

/* The next channel that needs the GPU, after the one that had the turn last. */
static struct channel *next_in_need(const struct seat *seat)
{
    struct channel *first = NULL;
    bool after = false;

    for (struct channel *c = seat->channels; c; c = c->seat_next) {
        if (c->need && !first)
            first = c;
        if (c->need && after)
            return c;
        if (c == seat->last)
            after = true;
    }
    return first;
}

static void set_rotation(struct seat *seat)
{
    struct sched_config config;
    uint64_t now_ns = now_of(seat->gpu), due_ns;

    if (seat->rotate.place || seat->turn->revoked)
        return;
    sched_get_config(seat->gpu->sched, &config);
    due_ns = seat->granted_ns + config.slice_ns;
    loop_timer_set(seat->gpu->loop, &seat->rotate, due_ns > now_ns ? due_ns : now_ns);
}

/* Within a VM that has the lease: who has the turn. */
static void seat_go_on(struct seat *seat)
{
    struct channel *next;

    if (!seat->leased || seat->revoking)
        return;
    if (!seat->turn) {
        next = next_in_need(seat);
        if (next)
            give_turn(seat, next);
    }
    if (!seat->turn || !other_in_need(seat))
        return;
    if (!seat->turn->need)
        take_turn_back(seat);
    else
        set_rotation(seat);
}

static void rotate(void *context)
{
    struct seat *seat = context;

    if (seat->turn && other_in_need(seat))
        take_turn_back(seat);
}

/* the lease of a VM */

static void lease_over(struct seat *seat)
{
    loop_timer_clear(seat->gpu->loop, &seat->rotate);
    seat->leased = seat->revoking = false;
    seat->overrun_ns = 0;
}

static void release_lease(struct seat *seat, uint64_t busy_ns, uint32_t jobs)
{
    struct sched_actions actions;
    struct sched_config config;

    lease_over(seat);
    seat->queued_ns = now_of(seat->gpu);
    sched_get_config(seat->gpu->sched, &config);
    tell_backlog(seat, &config);
    sched_lease_released(seat->gpu->sched, seat->handle, now_of(seat->gpu), busy_ns, jobs,
                         &actions);
    save(seat);
    gpu_carry_out(seat->gpu, &actions);
}

/* The turn was given back, by the worker or by its death. */
static void turn_ended(struct seat *seat)
{
    uint64_t now_ns = now_of(seat->gpu), busy_ns;
    uint32_t jobs;

    busy_ns = measure(seat, now_ns, &jobs);
    loop_timer_clear(seat->gpu->loop, &seat->watchdog);
    loop_timer_clear(seat->gpu->loop, &seat->rotate);
    seat->turn->revoked = false;
    seat->turn->stray.off_ns = now_ns;
    seat->turn = NULL;
    if (seat->revoking) {
        release_lease(seat, busy_ns, jobs);
        return;
    }
    sched_charge(seat->gpu->sched, seat->handle, now_ns, busy_ns, jobs);
    seat->mark_ns = now_ns;
    save(seat);
    seat_go_on(seat);
}

static void revoke_lease(struct seat *seat)
{
    seat->revoking = true;
    if (seat->turn)
        take_turn_back(seat);
    else
        release_lease(seat, 0, 0);
}

static void kill_turn(struct seat *seat, enum fault_kind kind, enum vgpu_status status,
                      const char *text)
{
    const struct lease_settings *settings = seat->gpu->settings;

    if (seat->turn)
        settings->kill(settings->context, seat->turn, kind, status, text);
}

static struct seat *seat_of(const struct gpu *gpu, uint32_t handle)
{
    for (struct seat *seat = gpu->seats; seat; seat = seat->next)
        if (seat->handle == handle)
            return seat;
    return NULL;
}

static void act(struct seat *seat, const struct sched_action *action)
{
    switch (action->kind) {
    case SCHED_GRANT:
        seat->leased = true;
        seat->revoking = false;
        seat->mark_ns = now_of(seat->gpu);
        seat_go_on(seat);
        save(seat);
        break;
    case SCHED_EXTEND:
        break;
    case SCHED_REVOKE:
        revoke_lease(seat);
        break;
    case SCHED_OVERRUN:
        seat->overrun_ns = now_of(seat->gpu);
        break;
    case SCHED_KILL:
        kill_turn(seat, FAULT_OVERRUN, VGPU_KILLED,
                  "the worker was killed: it kept the GPU while another overran its turn");
        break;
    }
}

/* The timer first: carrying out may call sched again, whose answer is newer. */
void gpu_carry_out(struct gpu *gpu, const struct sched_actions *actions)
{
    if (actions->next_ns == SCHED_NEVER)
        loop_timer_clear(gpu->loop, &gpu->tick);
    else
        loop_timer_set(gpu->loop, &gpu->tick, actions->next_ns);
    for (uint32_t i = 0; i < actions->count; i++) {
        struct seat *seat = seat_of(gpu, actions->items[i].vm);

        if (seat)
            act(seat, &actions->items[i]);
    }
    update_contended(gpu);
}

static void tick(void *context)
{
    struct gpu *gpu = context;
    struct sched_actions actions;

    look_at_backlogs(gpu);
    sched_tick(gpu->sched, now_of(gpu), &actions);
    gpu_carry_out(gpu, &actions);
}

/*
 * Tells sched whether the seat has work. A turn that is being drained counts as work: the VM is on
 * the GPU until it is given back.
 */
static void update_work(struct seat *seat)
{
    struct sched_actions actions;
    bool work = seat->turn && seat->turn->revoked && !seat->revoking;

    for (struct channel *c = seat->channels; c && !work; c = c->seat_next)
        work = c->need;
    if (work == seat->has_work)
        return;
    seat->has_work = work;
    if (work && !seat->leased)
        seat->queued_ns = now_of(seat->gpu);
    if (work)
        sched_vm_has_work(seat->gpu->sched, seat->handle, now_of(seat->gpu), &actions);
    else
        sched_vm_idle(seat->gpu->sched, seat->handle, now_of(seat->gpu), &actions);
    gpu_carry_out(seat->gpu, &actions);
}

/*
 * A worker that is alone does not tell when it runs out of work. Before somebody joins, look: at
 * that, and at what it has queued, which was there before.
 */
static void refresh_holders(struct gpu *gpu, const struct seat *except)
{
    struct sched_config config;

    sched_get_config(gpu->sched, &config);
    for (struct seat *seat = gpu->seats; seat; seat = seat->next) {
        struct channel_report report;

        if (seat == except || !seat->turn)
            continue;
        channel_report(seat->turn, &report);
        set_need(seat, seat->turn, report.need != VGPU_NEED_NOTHING);
        tell_backlog(seat, &config);
        seat_charge(seat);
        update_work(seat);
    }
}

/* By the worker's word, which costs nobody anything: what it keeps beside the next, it pays for. */
static void turn_is_ending(struct seat *seat)
{
    struct sched_actions actions;

    look_at_backlogs(seat->gpu);
    if (sched_lease_ending(seat->gpu->sched, seat->handle, now_of(seat->gpu), &actions) == 0)
        gpu_carry_out(seat->gpu, &actions);
}

void lease_channel_reported(struct channel *channel)
{
    struct seat *seat = channel->seat;
    struct channel_report report;
    struct sched_config config;
    bool need;

    channel_report(channel, &report);
    need = report.need != VGPU_NEED_NOTHING;
    if (need && !seat->has_work) {
        refresh_holders(seat->gpu, seat);
        sched_get_config(seat->gpu->sched, &config);
        tell_backlog(seat, &config);
    }
    set_need(seat, channel, need);
    update_work(seat); /* before the lease goes back: sched need not queue a VM without work */
    if (channel == seat->turn && channel->revoked && report.turn_done == channel->turn)
        turn_ended(seat);
    else if (channel == seat->turn && seat->revoking && report.turn_ending == channel->turn)
        turn_is_ending(seat);
    update_work(seat);
    seat_go_on(seat);
    update_contended(seat->gpu);
}

/* watching what has the turn */

static void carry_out_watch(struct seat *seat, const struct watch_answer *answer)
{
    switch (answer->verdict) {
    case WATCH_ON:
        set_watchdog(seat, answer->due_ns);
        break;
    case WATCH_IDLE:
        set_need(seat, seat->turn, false);
        take_turn_back(seat);
        update_work(seat);
        break;
    case WATCH_KILL:
        kill_turn(seat, answer->kind, answer->status, answer->text);
        break;
    }
}

static void watchdog(void *context)
{
    struct seat *seat = context;
    struct channel *channel = seat->turn;
    struct watch_answer answer;
    struct channel_report report;
    struct watch_view view;

    if (!channel)
        return;
    channel_report(channel, &report);
    if (channel->revoked && report.turn_done == channel->turn) {
        lease_channel_reported(channel);
        return;
    }
    view = (struct watch_view){.now_ns = now_of(seat->gpu),
                               .job_timeout_ns = job_timeout_ns(seat),
                               .drain_ns = seat->gpu->settings->drain_ns,
                               .overrun_ns = seat->overrun_ns,
                               .revoked = channel->revoked,
                               .revoked_ns = channel->revoked_ns,
                               .jobs_checked = channel->jobs_checked,
                               .was_busy = channel->drain_busy};
    answer = watch_look(&view, &report);
    channel->jobs_checked = report.jobs_taken;
    channel->drain_busy = report.oldest_issued_ns != 0 && report.need != VGPU_NEED_NOTHING;
    carry_out_watch(seat, &answer);
}

void seat_set_timeout(struct seat *seat, uint64_t timeout_ns)
{
    if (seat->job_timeout_ns == timeout_ns)
        return;
    seat->job_timeout_ns = timeout_ns;
    if (seat->turn)
        set_watchdog(seat, now_of(seat->gpu));
}

/* channels come and go */

static void append(struct seat *seat, struct channel *channel)
{
    struct channel **end = &seat->channels;

    while (*end)
        end = &(*end)->seat_next;
    *end = channel;
    channel->seat_next = NULL;
    channel->seat = seat;
}

void lease_channel_add(struct seat *seat, struct channel *channel)
{
    append(seat, channel);
}

/* True if the worker has the GPU, or had it and has not said that it gave it back. */
static bool may_be_on_gpu(const struct channel *channel, const struct channel_report *report)
{
    return channel->turn != 0 &&
           ((channel->turn & VGPU_TURN_GRANTED) || report->turn_done != channel->turn);
}

static void adopt_lease(struct seat *seat, struct channel *channel)
{
    bool granted = channel->turn & VGPU_TURN_GRANTED;
    uint64_t now_ns = now_of(seat->gpu), since_ns = seat->account.sched.lease_since_ns;
    struct sched_actions actions;
    int rc;

    if (since_ns == 0)
        since_ns = now_ns;
    rc = sched_adopt(seat->gpu->sched, seat->handle, granted ? LEASE_HELD : LEASE_OVERRUN, since_ns,
                     now_ns, &actions);
    if (rc == -EBUSY && !granted)
        rc = sched_adopt(seat->gpu->sched, seat->handle, LEASE_HELD, since_ns, now_ns, &actions);
    if (rc < 0)
        return;
    seat->leased = seat->has_work = true;
    seat->revoking = !granted;
    gpu_carry_out(seat->gpu, &actions);
}

void lease_channel_adopt(struct seat *seat, struct channel *channel)
{
    uint64_t now_ns = now_of(seat->gpu);
    struct channel_report report;

    append(seat, channel);
    channel_report(channel, &report);
    channel->need = report.need != VGPU_NEED_NOTHING;
    if (may_be_on_gpu(channel, &report) && !seat->turn) {
        seat->turn = seat->last = channel;
        seat->granted_ns = now_ns;
        seat->contended = channel->lease->contended != 0;
        channel->jobs_checked = report.jobs_taken;
        if (!seat->leased)
            adopt_lease(seat, channel);
        mark(seat, now_ns);
        channel->revoked = !(channel->turn & VGPU_TURN_GRANTED);
        channel->revoked_ns = now_ns;
        set_watchdog(seat, now_ns + (channel->revoked ? seat->gpu->settings->drain_ns
                                                      : job_timeout_ns(seat)));
        if (!seat->leased)
            take_turn_back(seat);
    } else if (channel->turn & VGPU_TURN_GRANTED) {
        channel_set_turn(channel, false); /* a second one of the same VM: there is but one turn */
    }
    lease_channel_reported(channel);
}

static void fold(struct seat *seat, const struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    seat->account.jobs_done += report.jobs_done;
    seat->account.jobs_failed += report.jobs_failed;
    seat->account.jobs_refused += report.jobs_refused;
    seat->account.wait_ns += report.wait_ns;
}

static void remove_from(struct seat *seat, struct channel *channel)
{
    struct channel **at = &seat->channels;

    while (*at && *at != channel)
        at = &(*at)->seat_next;
    if (*at)
        *at = channel->seat_next;
    if (seat->last == channel)
        seat->last = NULL;
    channel->seat = NULL;
    channel->seat_next = NULL;
}

static void turn_died(struct seat *seat)
{
    uint64_t now_ns = now_of(seat->gpu), busy_ns;
    struct sched_actions actions;
    uint32_t jobs;

    busy_ns = measure(seat, now_ns, &jobs);
    loop_timer_clear(seat->gpu->loop, &seat->watchdog);
    seat->turn = NULL;
    if (!seat->leased)
        return;
    lease_over(seat);
    sched_worker_gone(seat->gpu->sched, seat->handle, now_ns, busy_ns, &actions);
    gpu_carry_out(seat->gpu, &actions);
}

void lease_channel_gone(struct channel *channel)
{
    struct seat *seat = channel->seat;

    if (!seat)
        return;
    fold(seat, channel);
    channel->need = false;
    if (seat->turn == channel)
        turn_died(seat);
    remove_from(seat, channel);
    update_work(seat);
    seat_go_on(seat);
    update_contended(seat->gpu);
    save(seat);
}

/* seats and GPUs */

static struct sched_vm_params params_of(const struct config_vm *vm, const struct pool *pool)
{
    return (struct sched_vm_params){.tag = vm->id,
                                    .pool_id = pool->id,
                                    .priority = (enum sched_priority)vm->priority,
                                    .weight_milli = vm->weight_hundredths * 10};
}

struct seat *gpu_find_seat(const struct gpu *gpu, uint32_t vm_id)
{
    struct seat *seat;

    HASH_FIND(hh, gpu->seats_by_vm, &vm_id, sizeof(vm_id), seat);
    return seat;
}

static void load_account(struct seat *seat, struct accounts *accounts)
{
    seat->slot = accounts_slot(accounts, seat->vm_id, seat->gpu->id);
    if (!seat->slot)
        return;
    accounts_load(seat->slot, &seat->account);
    if (seat->account.sched.version)
        sched_vm_load(seat->gpu->sched, seat->handle, &seat->account.sched);
}

static struct seat *new_seat(struct gpu *gpu, const struct config_vm *vm, struct pool *pool)
{
    struct sched_vm_params params = params_of(vm, pool);
    struct seat *seat = calloc(1, sizeof(*seat));

    if (!seat || sched_vm_add(gpu->sched, &params, now_of(gpu), &seat->handle) < 0) {
        free(seat);
        return NULL;
    }
    seat->gpu = gpu;
    seat->vm_id = vm->id;
    seat->pool = pool;
    seat->priority = vm->priority;
    seat->weight_hundredths = vm->weight_hundredths;
    seat->rotate = (struct loop_timer){.fire = rotate, .context = seat};
    seat->watchdog = (struct loop_timer){.fire = watchdog, .context = seat};
    return seat;
}

struct seat *gpu_seat(struct gpu *gpu, const struct config_vm *vm, struct accounts *accounts)
{
    struct seat *seat = gpu_find_seat(gpu, vm->id);
    struct pool *pool;

    if (seat)
        return seat;
    pool = pool_take(gpu, vm->pool);
    if (!pool)
        return NULL;
    seat = new_seat(gpu, vm, pool);
    if (!seat) {
        pool_put(gpu, pool);
        return NULL;
    }
    seat->next = gpu->seats;
    gpu->seats = seat;
    if (!HASH_PUT(gpu->seats_by_vm, seat, vm_id)) {
        seat_free(seat);
        return NULL;
    }
    load_account(seat, accounts);
    return seat;
}

static void drop_timers(struct seat *seat)
{
    loop_timer_clear(seat->gpu->loop, &seat->rotate);
    loop_timer_clear(seat->gpu->loop, &seat->watchdog);
}

void seat_free(struct seat *seat)
{
    struct gpu *gpu = seat->gpu;
    struct seat **at = &gpu->seats;
    struct sched_actions actions;

    while (*at != seat)
        at = &(*at)->next;
    *at = seat->next;
    if (seat->hh.tbl) /* not if there was no memory to put it there */
        HASH_DEL(gpu->seats_by_vm, seat);
    if (gpu->look == seat)
        gpu->look = NULL;
    drop_timers(seat);
    if (sched_vm_remove(gpu->sched, seat->handle, now_of(gpu), &actions) == 0)
        gpu_carry_out(gpu, &actions);
    pool_put(gpu, seat->pool);
    free(seat);
}

void seat_update(struct seat *seat, const struct config_vm *vm)
{
    struct gpu *gpu = seat->gpu;
    struct pool *old = seat->pool, *pool = pool_find_served(gpu, vm->pool);
    struct sched_vm_params params;
    struct sched_actions actions;

    if (!pool)
        pool = old;
    if (pool == old && vm->priority == seat->priority &&
        vm->weight_hundredths == seat->weight_hundredths)
        return;
    params = params_of(vm, pool);
    if (sched_vm_update(gpu->sched, seat->handle, &params, now_of(gpu), &actions) < 0)
        return;
    gpu_carry_out(gpu, &actions);
    seat->priority = vm->priority;
    seat->weight_hundredths = vm->weight_hundredths;
    seat->pool = pool;
    pool->seats++;
    pool_put(gpu, old);
}

static uint64_t pending(const struct channel_report *report)
{
    uint64_t over = report->jobs_done + report->jobs_failed;

    return report->jobs_taken > over ? report->jobs_taken - over : 0;
}

void seat_totals(const struct seat *seat, struct seat_totals *ret)
{
    *ret = (struct seat_totals){.jobs_done = seat->account.jobs_done,
                                .jobs_failed = seat->account.jobs_failed,
                                .jobs_refused = seat->account.jobs_refused,
                                .wait_ns = seat->account.wait_ns};
    for (const struct channel *c = seat->channels; c; c = c->seat_next) {
        struct channel_report report;

        channel_report(c, &report);
        ret->channels++;
        ret->depth += report.depth;
        ret->jobs_pending += pending(&report);
        ret->jobs_done += report.jobs_done;
        ret->jobs_failed += report.jobs_failed;
        ret->jobs_refused += report.jobs_refused;
        ret->wait_ns += report.wait_ns;
        ret->memory_bytes += report.memory_bytes;
    }
}

struct gpu *gpu_new(struct loop *loop, const struct lease_settings *settings, uint32_t id,
                    struct vgpu_err *err)
{
    struct gpu *gpu = calloc(1, sizeof(*gpu));

    if (gpu) {
        sched_config_default(&gpu->base);
        if (settings->overrun_ns)
            gpu->base.second_grace_ns = settings->overrun_ns;
        gpu->sched = sched_new(&gpu->base, err);
    }
    if (!gpu || !gpu->sched) {
        vgpu_err_set(err, ENOMEM, "out of memory");
        free(gpu);
        return NULL;
    }
    gpu->id = id;
    gpu->loop = loop;
    gpu->settings = settings;
    gpu->tick = (struct loop_timer){.fire = tick, .context = gpu};
    return gpu;
}

void gpu_free(struct gpu *gpu)
{
    struct seat *next;

    if (!gpu)
        return;
    HASH_CLEAR(hh, gpu->seats_by_vm);
    for (struct seat *seat = gpu->seats; seat; seat = next) {
        next = seat->next;
        save(seat);
        drop_timers(seat);
        for (struct channel *c = seat->channels; c; c = c->seat_next)
            c->seat = NULL;
        free(seat);
    }
    loop_timer_clear(gpu->loop, &gpu->tick);
    pool_free_all(gpu);
    sched_free(gpu->sched);
    free(gpu);
}

void gpu_pause(struct gpu *gpu, bool paused)
{
    struct sched_actions actions;

    if (gpu->paused == paused)
        return;
    gpu->paused = paused;
    sched_pause(gpu->sched, paused, now_of(gpu), &actions);
    gpu_carry_out(gpu, &actions);
}

void gpu_call_back(struct gpu *gpu)
{
    for (struct seat *seat = gpu->seats; seat; seat = seat->next)
        if (seat->leased && !seat->revoking)
            revoke_lease(seat);
}

static bool same_scheduling(const struct sched_config *a, const struct sched_config *b)
{
    return a->policy == b->policy && a->slice_ns == b->slice_ns && a->grace_ns == b->grace_ns &&
           a->max_wait_ns == b->max_wait_ns && a->urgency_ns == b->urgency_ns;
}

static void configure_sched(struct gpu *gpu, const struct config *config)
{
    struct sched_config wanted, present;
    struct sched_actions actions;

    pool_merge(config, gpu->id, &gpu->base, &wanted);
    sched_get_config(gpu->sched, &present);
    if (same_scheduling(&wanted, &present) ||
        sched_configure(gpu->sched, &wanted, now_of(gpu), &actions, NULL) < 0)
        return;
    gpu_carry_out(gpu, &actions);
    for (struct seat *seat = gpu->seats; seat; seat = seat->next) {
        if (!seat->rotate.place)
            continue;
        loop_timer_clear(gpu->loop, &seat->rotate);
        set_rotation(seat);
    }
}

void gpu_configure(struct gpu *gpu, const struct config *config)
{
    configure_sched(gpu, config);
    pool_configure(gpu, config);
}

uint32_t gpu_holder_vm(const struct gpu *gpu)
{
    struct sched_stats stats;
    const struct seat *seat;

    sched_stats(gpu->sched, now_of(gpu), &stats);
    seat = stats.holder ? seat_of(gpu, stats.holder) : NULL;
    return seat && seat->has_work ? seat->vm_id : 0;
}
