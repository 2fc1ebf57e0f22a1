/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/memory.h"

#include <errno.h>
#include <inttypes.h>

#include "common/clock.h"
#include "mediator/mediator.h"

/* Workers take memory in grains of that size. */
#define GRAIN_BYTES UINT64_C(512)

/*
 * A grant is larger than what was asked for by a part of what the VM has left, so that not every
 * allocation asks; others take it back when they need it.
 */
#define SLACK_PART      8
#define SLACK_MAX_BYTES (UINT64_C(256) << 20)

/* How long workers have to acknowledge that a grant was lowered, before an ask is refused. */
#define RECLAIM_NS (200 * VGPU_NS_PER_MS)

/*
 * What was granted for a call stays until that has gone on, or two that want the last bytes never
 * end; and so long at most. As often is looked whether it has.
 */
#define KEEP_NS (50 * VGPU_NS_PER_MS)
#define LOOK_NS (1 * VGPU_NS_PER_MS)

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct loop *loop_of(const struct vm *vm)
{
    return vm->mediator->loop;
}

uint64_t memory_quota(const struct vm *vm)
{
    return vm->config.memory_bytes;
}

/* The most that one channel could hold; UINT64_MAX: there is no limit. */
static uint64_t cap_of(const struct vm *vm)
{
    uint64_t whole = vm->config.memory_bytes, process = vm->config.process_memory_bytes;

    return least(whole ? whole : UINT64_MAX, process ? process : UINT64_MAX);
}

uint64_t memory_held(const struct channel_report *report)
{
    return add(add(report->memory_bytes, report->memory_context_bytes),
               add(report->memory_module_bytes, report->memory_graph_bytes));
}

static uint64_t held(const struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    return memory_held(&report);
}

/* What the channel may hold by now: its grant, or more until it has acknowledged less. */
static uint64_t counted(struct channel *channel)
{
    struct memory_part *part = &channel->memory;
    struct channel_report report;

    if (!channel_has_worker(channel))
        return 0;
    channel_report(channel, &report);
    /* Never more than it could have: its word alone gives it nothing. */
    if (report.memory_seen == part->change)
        part->peak = most(part->grant, least(part->peak, report.memory_bound_bytes));
    return part->peak;
}

static bool has_acknowledged(const struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    return report.memory_seen == channel->memory.change;
}

static uint64_t counted_others(const struct vm *vm, const struct channel *except)
{
    uint64_t sum = 0;

    for (struct channel *c = vm->channels; c; c = c->next)
        if (c != except)
            sum = add(sum, counted(c));
    return sum;
}

static uint64_t held_by_others(const struct vm *vm, const struct channel *except)
{
    uint64_t sum = 0;

    for (const struct channel *c = vm->channels; c; c = c->next)
        if (c != except && channel_has_worker(c))
            sum = add(sum, held(c));
    return sum;
}

static void set_grant(struct channel *channel, uint64_t bytes)
{
    struct memory_part *part = &channel->memory;

    counted(channel); /* takes in what was acknowledged so far */
    if (part->grant == bytes)
        return;
    part->peak = most(part->peak, bytes);
    if (bytes < part->grant)
        part->shown_bytes = UINT64_MAX;
    part->grant = bytes;
    part->change++;
    channel_set_memory_grant(channel, bytes, part->change);
}

static uint64_t slack(uint64_t room)
{
    return least(room / SLACK_PART, SLACK_MAX_BYTES) & ~(GRAIN_BYTES - 1);
}

int memory_admit(const struct vm *vm, struct vgpu_err *err)
{
    uint64_t bytes = vm->mediator->settings->memory.context_bytes;

    if (bytes == 0 || cap_of(vm) == UINT64_MAX)
        return 0;
    if (bytes <= cap_of(vm) &&
        (!memory_quota(vm) || bytes <= less(memory_quota(vm), held_by_others(vm, NULL))))
        return 0;
    return vgpu_err_set(
        err, ENOMEM, "the VM's memory quota has no room for another context, of %" PRIu64 " bytes",
        bytes);
}

/* What a new channel has before it asks. Its context is there before anybody could be asked. */
static uint64_t first_grant(const struct vm *vm, const struct channel *channel)
{
    uint64_t cap = cap_of(vm), quota = memory_quota(vm), room, first;

    if (quota == 0)
        return cap;
    room = less(quota, counted_others(vm, channel));
    first = least(room, vm->mediator->settings->memory.context_bytes);
    return least(first + slack(room - first), cap);
}

void memory_join(struct channel *channel)
{
    const struct vm *vm = channel->vm;
    uint64_t cap = cap_of(vm), grant = first_grant(vm, channel);

    channel->memory =
        (struct memory_part){.grant = grant, .peak = grant, .change = 1, .shown_bytes = UINT64_MAX};
    channel_set_memory_grant(channel, grant, 1);
    channel_set_memory_quota(channel, cap == UINT64_MAX ? 0 : cap,
                             vm->mediator->settings->memory.context_bytes);
    memory_watch(vm->mediator);
}

/* The lease page is ours: what it says was granted, was. */
void memory_adopt(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->lease;
    bool limited = lease->memory_quota_bytes != 0;
    uint64_t grant = limited ? lease->memory_grant_bytes : UINT64_MAX;

    channel->memory = (struct memory_part){.grant = grant,
                                           .peak = UINT64_MAX,
                                           .shown_bytes = UINT64_MAX,
                                           .change = lease->memory_change,
                                           .ask = lease->memory_answer >> 1};
}

/* What the channel holds, and what it was granted just now and has not taken yet. */
static uint64_t needed(const struct channel *channel)
{
    const struct memory_part *part = &channel->memory;
    struct channel_report report;
    bool kept;

    channel_report(channel, &report);
    kept = report.memory_done != part->ask && loop_now(loop_of(channel->vm)) < part->kept_ns;
    return kept ? most(memory_held(&report), part->kept_bytes) : memory_held(&report);
}

/* Others give up what they have and do not hold. True if there may be more of it soon. */
static bool reclaim(const struct vm *vm, const struct channel *except)
{
    bool waits = false;

    for (struct channel *c = vm->channels; c; c = c->next) {
        uint64_t bytes;

        if (c == except || !channel_has_worker(c))
            continue;
        bytes = needed(c);
        if (c->memory.grant > bytes)
            set_grant(c, bytes);
        waits |= !has_acknowledged(c) || bytes > held(c);
    }
    return waits;
}

static void answer(struct channel *channel, bool granted)
{
    const struct vm *vm = channel->vm;
    uint64_t cap = cap_of(vm), quota = memory_quota(vm);
    uint64_t left = quota ? less(quota, held_by_others(vm, channel)) : UINT64_MAX;

    channel->memory.asking = false;
    channel_answer_memory(channel, channel->memory.ask << 1 | granted, least(cap, left));
}

/* Grants that if the VM has it left. */
static bool try_grant(struct channel *channel, uint64_t wanted)
{
    const struct vm *vm = channel->vm;
    uint64_t quota = memory_quota(vm), others = counted_others(vm, channel);

    if (others > quota || wanted > quota - others)
        return false;
    if (wanted > channel->memory.grant)
        set_grant(channel, wanted + slack(least(quota - others, cap_of(vm)) - wanted));
    channel->memory.kept_bytes = wanted;
    channel->memory.kept_ns = loop_now(loop_of(vm)) + KEEP_NS;
    return true;
}

/* False: it waits for others. */
static bool decide(struct channel *channel)
{
    const struct vm *vm = channel->vm;
    struct channel_report report;
    uint64_t wanted;
    bool granted, waits = false;

    channel_report(channel, &report);
    wanted = report.memory_wanted_bytes;
    granted = wanted <= cap_of(vm) && (memory_quota(vm) == 0 || try_grant(channel, wanted));
    if (!granted && wanted <= cap_of(vm)) {
        waits = reclaim(vm, channel);
        granted = try_grant(channel, wanted); /* some may have acknowledged by now */
    }
    if (!granted && waits && loop_now(loop_of(vm)) < channel->memory.asked_ns + RECLAIM_NS)
        return false;
    answer(channel, granted);
    return true;
}

static struct channel *first_asking(const struct vm *vm)
{
    struct channel *first = NULL;

    for (struct channel *c = vm->channels; c; c = c->next)
        if (c->memory.asking && channel_has_worker(c) &&
            (!first || c->memory.order < first->memory.order))
            first = c;
    return first;
}

/* In the order of asking: what is taken back for one is not given to another. */
static void serve(struct vm *vm)
{
    struct channel *channel;

    /* Until all are adopted it is not known what the VM holds. */
    if (!vm->mediator->in_charge)
        return;
    while ((channel = first_asking(vm)))
        if (!decide(channel)) {
            /* Acknowledgements kick; that a grant is no longer kept does not. */
            loop_timer_set(loop_of(vm), &vm->memory_timer, loop_now(loop_of(vm)) + LOOK_NS);
            return;
        }
    loop_timer_clear(loop_of(vm), &vm->memory_timer);
}

static void reclaim_late(void *context)
{
    serve(context);
}

void memory_init_vm(struct vm *vm)
{
    vm->memory_timer = (struct loop_timer){.fire = reclaim_late, .context = vm};
}

void memory_reported(struct channel *channel)
{
    struct memory_part *part = &channel->memory;
    struct vm *vm = channel->vm;
    struct channel_report report;

    channel_report(channel, &report);
    if (report.memory_ask == part->ask && cap_of(vm) == UINT64_MAX)
        return;
    if (report.memory_ask != part->ask) {
        part->ask = report.memory_ask;
        part->asked_ns = loop_now(loop_of(vm));
        part->order = ++vm->memory_asks;
        part->asking = true;
    }
    if (part->asking && report.memory_wanted_bytes == 0)
        answer(channel, true); /* it only wants to know, and waits for nobody */
    serve(vm);
}

void memory_gone(struct vm *vm)
{
    serve(vm);
}

/* The grant before the quota: a worker that sees the quota sees a grant that is within it. */
static void update_channel(struct channel *channel)
{
    const struct vm *vm = channel->vm;
    uint64_t cap = cap_of(vm), grant = channel->memory.grant;

    if (cap == UINT64_MAX || memory_quota(vm) == 0)
        grant = cap;
    else if (add(counted_others(vm, channel), counted(channel)) > memory_quota(vm))
        grant = least(least(grant, held(channel)), cap);
    else
        grant = least(grant, cap);
    set_grant(channel, grant);
    channel_set_memory_quota(channel, cap == UINT64_MAX ? 0 : cap,
                             channel->lease->memory_context_bytes);
}

void memory_update(struct vm *vm)
{
    if (!vm->mediator->in_charge)
        return; /* memory_adopted() comes */
    for (struct channel *c = vm->channels; c; c = c->next)
        if (channel_has_worker(c))
            update_channel(c);
    memory_gone(vm);
    memory_watch(vm->mediator);
}

void memory_adopted(struct mediator *mediator)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        memory_update(vm);
        /* Asks that came while there was no mediator, whose kick the last one may have taken. */
        for (struct channel *c = vm->channels; c; c = c->next)
            if (channel_has_worker(c))
                memory_reported(c);
    }
}

void memory_sum(const struct vm *vm, struct memory_sum *ret)
{
    *ret = (struct memory_sum){.quota = memory_quota(vm), .nvml_known = true};
    for (struct channel *c = vm->channels; c; c = c->next) {
        struct channel_report report;

        if (!channel_has_worker(c))
            continue;
        channel_report(c, &report);
        ret->held = add(ret->held, report.memory_bytes);
        ret->spare = add(ret->spare, least(report.memory_spare_bytes, report.memory_bytes));
        ret->contexts = add(ret->contexts, report.memory_context_bytes);
        ret->modules = add(ret->modules, report.memory_module_bytes);
        ret->graphs = add(ret->graphs, report.memory_graph_bytes);
        ret->granted = add(ret->granted, counted(c));
        ret->nvml = add(ret->nvml, c->memory.nvml_bytes);
        ret->nvml_known &= c->memory.nvml_known;
    }
}

/* NVML */

/*
 * A worker that held more than its grant when that fell keeps it, as far as NVML has shown since
 * that it does: what it says of that itself could be anything.
 */
static uint64_t allowed(struct channel *channel)
{
    const struct memory_part *part = &channel->memory;
    uint64_t bytes = most(part->grant, least(counted(channel), part->shown_bytes));

    return add(bytes, channel->vm->mediator->settings->memory.margin_bytes);
}

static void check(struct channel *channel)
{
    const struct memory_settings *settings = &channel->vm->mediator->settings->memory;
    struct memory_part *part = &channel->memory;
    uint64_t now_ns = loop_now(loop_of(channel->vm));

    if (settings->grace_ns == 0 || cap_of(channel->vm) == UINT64_MAX || !part->nvml_known ||
        part->nvml_bytes <= allowed(channel)) {
        part->over_since_ns = 0;
        return;
    }
    if (part->over_since_ns == 0)
        part->over_since_ns = now_ns;
    if (now_ns - part->over_since_ns < settings->grace_ns ||
        channel_next(channel->state, CHANNEL_EV_KILL) == CHANNEL_N_STATES)
        return; /* not yet, or on its way */
    if (mediator_may_log(channel->vm->mediator))
        vgpu_log(VGPU_LOG_WARN, "memory-over",
                 "vm=%" PRIu32 " channel=%" PRIu32 " nvml_bytes=%" PRIu64 " allowed_bytes=%" PRIu64,
                 channel->vm->config.id, channel->number, part->nvml_bytes, allowed(channel));
    vm_fault_channel(channel, FAULT_QUOTA, VGPU_KILLED,
                     "the worker was killed: it held more GPU memory than it was given");
}

/* A process that is not listed holds nothing. False: NVML does not know. */
static bool find_process(const json_t *processes, int32_t pid, uint64_t *ret_bytes)
{
    const json_t *process;
    size_t i;

    *ret_bytes = 0;
    json_array_foreach (processes, i, process) {
        const json_t *bytes = json_object_get(process, "memory_bytes");

        if (json_integer_value(json_object_get(process, "pid")) != pid)
            continue;
        if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
            return false;
        *ret_bytes = (uint64_t)json_integer_value(bytes);
    }
    return true;
}

void memory_sampled(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu)
{
    const json_t *processes = json_object_get(gpu, "processes");

    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (struct channel *c = vm->channels; c; c = c->next) {
            if (c->gpu_id != gpu_id || !channel_has_worker(c) || c->pid <= 0)
                continue;
            c->memory.nvml_known =
                json_is_array(processes) && find_process(processes, c->pid, &c->memory.nvml_bytes);
            check(c);
            if (c->memory.nvml_known)
                c->memory.shown_bytes = least(c->memory.shown_bytes, c->memory.nvml_bytes);
        }
}

static bool is_watched(const struct mediator *mediator)
{
    for (const struct vm *vm = mediator->vms; vm; vm = vm->next)
        if (cap_of(vm) != UINT64_MAX && vm_living(vm))
            return true;
    return false;
}

void memory_watch(struct mediator *mediator)
{
    if (!mediator->has_nvml || mediator->memory_timer.place || !is_watched(mediator))
        return;
    loop_timer_set(mediator->loop, &mediator->memory_timer,
                   loop_now(mediator->loop) + mediator->settings->memory.check_ns);
}

static void sampled(void *context, json_t *reply)
{
    memory_watch(context);
}

/* The next time is set when the answer has come: NVML may be slow, and is not asked twice. */
static void look_at_nvml(void *context)
{
    struct mediator *mediator = context;

    if (!is_watched(mediator))
        return;
    if (helper_ask(&mediator->nvml, json_pack("{s:s}", "command", "sample"), sampled, mediator) < 0)
        memory_watch(mediator);
}

void memory_init(struct mediator *mediator)
{
    mediator->memory_timer = (struct loop_timer){.fire = look_at_nvml, .context = mediator};
}

void memory_release(struct mediator *mediator)
{
    loop_timer_clear(mediator->loop, &mediator->memory_timer);
}
