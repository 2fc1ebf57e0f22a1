/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/vm.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vgpu/grant.h>
#include <vgpu/pci_regs.h>

#include "common/cleanup.h"
#include "common/listen.h"
#include "common/clock.h"
#include "common/status.h"
#include "mediator/carrier.h"
#include "mediator/conduct.h"
#include "mediator/doubt.h"
#include "mediator/drain.h"
#include "mediator/mediator.h"
#include "mediator/window.h"

#define DEFAULT_SUB_GRANULES  8192u /* 512 KiB */
#define DEFAULT_COMP_GRANULES 2048u /* 128 KiB */

#define NO VM_N_STATES

static const enum vm_state moves[VM_N_STATES][VM_N_EVENTS] = {
    /*                  QUARANTINE       CLEAR            REMOVE */
    [VM_SERVING] = {VM_QUARANTINED, VM_SERVING, VM_REMOVED},
    [VM_QUARANTINED] = {VM_QUARANTINED, VM_SERVING, VM_REMOVED},
    [VM_REMOVED] = {NO, NO, NO},
};

enum vm_state vm_next(enum vm_state state, enum vm_event event)
{
    return moves[state][event];
}

static void step(struct vm *vm, enum vm_event event)
{
    enum vm_state next = vm_next(vm->state, event);

    assert(next != NO);
    vm->state = next;
}

static struct loop *loop_of(const struct vm *vm)
{
    return vm->mediator->loop;
}

/* The VM and its socket */

static void audit(struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    conduct_look(channel, &report);
}

static void configure_budget(struct vm *vm)
{
    const struct config_vm *config = &vm->config;
    const struct budget_limits limits = {
        .rate = {config->rate_per_s, config->rate_per_s ? config->burst : 0},
        .depth = config->depth,
        .bytes = config->bytes_in_flight,
    };

    budget_configure(&vm->budget, &limits);
}

struct vm *vm_new(struct mediator *mediator, const struct config_vm *config)
{
    struct vm *vm = calloc(1, sizeof(*vm));

    if (!vm)
        return NULL;
    vm->mediator = mediator;
    vm->config = *config;
    vm->state = config->quarantined ? VM_QUARANTINED : VM_SERVING;
    vm->listener = -1;
    budget_init(&vm->budget, mediator->loop, audit);
    configure_budget(vm);
    if (!HASH_PUT(mediator->vms_by_id, vm, config.id)) {
        budget_release(&vm->budget);
        free(vm);
        return NULL;
    }
    faults_configured(vm, true);
    memory_init_vm(vm);
    metrics_init_vm(vm);
    vm->next = mediator->vms;
    mediator->vms = vm;
    return vm;
}

static void close_socket(struct vm *vm)
{
    if (vm->listener < 0)
        return;
    loop_watch_remove(loop_of(vm), &vm->watch);
    vgpu_close(&vm->listener);
    unlink(vm->path);
}

void vm_free(struct vm *vm)
{
    struct vm **at = &vm->mediator->vms;

    while (*at != vm)
        at = &(*at)->next;
    *at = vm->next;
    if (vm->state != VM_REMOVED)
        HASH_DEL(vm->mediator->vms_by_id, vm);
    while (vm->connections)
        connection_end(vm->connections);
    close_socket(vm);
    loop_timer_clear(loop_of(vm), &vm->memory_timer);
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        struct gpu *gpu = vm->mediator->gpus[i];
        struct seat *seat = gpu ? gpu_find_seat(gpu, vm->config.id) : NULL;

        /* A VM of the same number may have come after this one was removed. */
        if (seat && !seat->channels && !vm_find(vm->mediator, vm->config.id))
            seat_free(seat);
    }
    budget_release(&vm->budget);
    metrics_release_vm(vm);
    faults_free(vm);
    free(vm);
}

struct vm *vm_find(struct mediator *mediator, uint32_t vm_id)
{
    struct vm *vm;

    HASH_FIND(hh, mediator->vms_by_id, &vm_id, sizeof(vm_id), vm);
    return vm;
}

static void ready(void *context, uint32_t events)
{
    connection_accept(context);
}

int vm_listen(struct vm *vm, struct vgpu_err *err)
{
    int rc;

    if (vm->listener >= 0)
        return 0;
    if (snprintf(vm->path, sizeof(vm->path), "%s/vm/%" PRIu32 ".sock",
                 vm->mediator->settings->run_dir, vm->config.id) >= (int)sizeof(vm->path))
        return vgpu_err_set(err, ENAMETOOLONG, "--run-dir is too long for a socket path");
    rc = vgpu_listen(vm->path, SOCK_STREAM, 0660, &vm->listener, err);
    if (rc < 0)
        return rc;
    rc = loop_watch_add(loop_of(vm), &vm->watch, vm->listener, EPOLLIN, ready, vm);
    if (rc < 0) {
        vgpu_close(&vm->listener);
        return vgpu_err_set(err, -rc, "cannot watch a socket: %s", strerror(-rc));
    }
    return 0;
}

void vm_flag_channel(struct channel *channel)
{
    uint32_t flags = channel->lease->flags & ~(VGPU_LEASE_QUARANTINED | VGPU_LEASE_NO_GPU);

    if (channel->vm->state == VM_QUARANTINED)
        flags |= VGPU_LEASE_QUARANTINED;
    if (!health_takes_leases(channel->vm->mediator->health[channel->gpu_id].state))
        flags |= VGPU_LEASE_NO_GPU;
    if (flags != channel->lease->flags)
        channel_set_flags(channel, flags);
}

static void set_quarantine(struct vm *vm, bool quarantined, const char *reason)
{
    const struct event event = {
        .kind = quarantined ? EVENT_VM_QUARANTINED : EVENT_VM_RELEASED,
        .severity = quarantined ? EVENT_ERROR : EVENT_INFO,
        .vm_id = vm->config.id,
        .gpu_id = EVENT_NO_GPU,
        .pool = vm->config.pool,
        .text = quarantined ? reason : "released from quarantine",
    };

    step(vm, quarantined ? VM_EV_QUARANTINE : VM_EV_CLEAR);
    events_add(vm->mediator, &event);
    for (struct channel *c = vm->channels; c; c = c->next)
        if (channel_has_worker(c))
            vm_flag_channel(c);
}

static void tell_state(struct vm *vm)
{
    for (struct connection *c = vm->connections; c; c = c->next)
        connection_send_state(c);
}

void vm_quarantine(struct vm *vm, const char *reason)
{
    vm->quarantine_due = true;
    set_quarantine(vm, true, reason);
    tell_state(vm);
}

static uint64_t job_timeout_ns(const struct vm *vm)
{
    return vm->config.job_timeout_ms * VGPU_NS_PER_MS;
}

static void set_timeouts(struct vm *vm)
{
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        struct gpu *gpu = vm->mediator->gpus[i];
        struct seat *seat = gpu ? gpu_find_seat(gpu, vm->config.id) : NULL;

        if (seat)
            seat_set_timeout(seat, job_timeout_ns(vm));
    }
}

void vm_update(struct vm *vm, const struct config_vm *config)
{
    bool quarantined = config->quarantined || vm->quarantine_due;
    bool same = vm->config.priority == config->priority &&
                vm->config.weight_hundredths == config->weight_hundredths &&
                (vm->state == VM_QUARANTINED) == quarantined &&
                strcmp(vm->config.pool, config->pool) == 0;

    if ((vm->state == VM_QUARANTINED) != quarantined)
        set_quarantine(vm, quarantined, config->quarantine_reason);
    vm->config = *config;
    configure_budget(vm);
    faults_configured(vm, false);
    set_timeouts(vm);
    memory_update(vm);
    /* Each time: which pools a GPU serves may have changed as well. */
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        struct gpu *gpu = vm->mediator->gpus[i];
        struct seat *seat = gpu ? gpu_find_seat(gpu, config->id) : NULL;

        if (seat)
            seat_update(seat, config);
    }
    if (!same)
        tell_state(vm);
}

/* Takes an ended channel out of the VM. */
static void drop(struct channel *channel)
{
    struct vm *vm = channel->vm;
    struct channel **at = &vm->channels;

    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    loop_timer_clear(loop_of(vm), &channel->timer);
    loop_watch_remove(loop_of(vm), &channel->kick);
    channel_free(channel);
}

void vm_deafen(struct vm *vm)
{
    close_socket(vm);
}

void vm_abandon(struct vm *vm)
{
    /* Without their connections first: a guest's end must not be taken for its wish. */
    for (struct channel *c = vm->channels; c; c = c->next)
        c->connection = NULL;
    while (vm->connections)
        connection_end(vm->connections);
    while (vm->channels)
        drop(vm->channels);
    vm_free(vm);
}

void vm_collect(struct vm *vm)
{
    if (vm->state == VM_REMOVED && !vm->channels)
        vm_free(vm);
}

void vm_remove(struct vm *vm)
{
    struct channel *next;

    step(vm, VM_EV_REMOVE);
    HASH_DEL(vm->mediator->vms_by_id, vm);
    close_socket(vm);
    for (struct channel *c = vm->channels; c; c = next) {
        next = c->next;
        if (c->state == CHANNEL_ENDED)
            drop(c);
        else
            vm_end_channel(c, VGPU_REMOVED, vgpu_status_text(VGPU_REMOVED));
    }
    vm_collect(vm);
}

struct channel *vm_channel(const struct vm *vm, uint32_t number)
{
    for (struct channel *c = vm->channels; c; c = c->next)
        if (c->number == number)
            return c;
    return NULL;
}

unsigned vm_living(const struct vm *vm)
{
    unsigned n = 0;

    for (const struct channel *c = vm->channels; c; c = c->next)
        n += channel_has_worker(c);
    return n;
}

/* What guests are told */

static void tell_gone(struct channel *channel)
{
    struct vgpu_msg_gone gone = {.head = {sizeof(gone), VGPU_MSG_GONE, 0, 0, 0},
                                 .channel = channel->number,
                                 .status = channel->end_status};

    snprintf(gone.text, sizeof(gone.text), "%s", channel->end_text);
    connection_send(channel->connection, &gone, sizeof(gone), NULL, 0);
}

static void answer_channel(struct connection *connection, uint16_t type, uint32_t tag,
                           uint32_t channel)
{
    struct vgpu_msg_channel body = {.head = {sizeof(body), type, 0, tag, 0}, .channel = channel};

    connection_send(connection, &body, sizeof(body), NULL, 0);
}

/* Whoever waits for this channel learns that it has ended: by the answer, or unasked. */
static void tell_end(struct channel *channel)
{
    if (!channel->connection)
        return;
    if (channel->open_tag)
        connection_refuse(channel->connection, channel->open_tag, channel->end_status,
                          channel->end_text);
    else if (!channel->close_tag)
        tell_gone(channel);
    if (channel->close_tag)
        answer_channel(channel->connection, VGPU_MSG_CLOSED, channel->close_tag, channel->number);
    channel->open_tag = channel->close_tag = 0;
}

static void answer_grant(struct channel *channel)
{
    answer_channel(channel->connection, VGPU_MSG_GRANTED, channel->open_tag, channel->number);
    channel->open_tag = 0;
    channel_close_handed(channel);
}

/* There is no worker yet, and no descriptor that its guest could have. */
static void answer_promise(struct channel *channel, uint32_t tag)
{
    struct vgpu_msg_promised promised = {
        .head = {sizeof(promised), VGPU_MSG_PROMISED, 0, tag, 0},
        .channel = channel->number,
        .backend_domid = channel->vm->mediator->domains.backend_domid,
        .geometry = channel->geometry,
    };

    memcpy(promised.token, channel->token, sizeof(promised.token));
    connection_send(channel->connection, &promised, sizeof(promised), NULL, 0);
}

static void answer_open(struct channel *channel)
{
    struct vgpu_msg_opened opened = {
        .head = {sizeof(opened), VGPU_MSG_OPENED, 0, channel->open_tag, 0},
        .channel = channel->number,
        .window = channel->window,
        .geometry = channel->geometry,
    };

    memcpy(opened.token, channel->token, sizeof(opened.token));
    channel->open_tag = 0;
    /* The first three descriptors of a channel are those of its guest. */
    connection_send(channel->connection, &opened, sizeof(opened), channel->fds, 3);
    channel_close_handed(channel);
}

/* The life of a channel */

static void set_timer(struct channel *channel, uint64_t after_ns, void (*fire)(void *context))
{
    struct loop *loop = loop_of(channel->vm);

    loop_timer_clear(loop, &channel->timer);
    channel->timer.fire = fire;
    channel->timer.context = channel;
    loop_timer_set(loop, &channel->timer, loop_now(loop) + after_ns);
}

static void ended(struct channel *channel, enum channel_event event);

static void never_was(void *context)
{
    struct mediator *mediator = ((struct channel *)context)->vm->mediator;

    ended(context, CHANNEL_EV_EXITED);
    mediator_check_stopped(mediator);
}

/* One that is only promised has no worker that could be killed, and ends from the loop. */
static void push_kill(struct channel *channel, bool promised)
{
    if (promised) {
        set_timer(channel, 0, never_was);
        return;
    }
    channel->kill_unsent = true;
    mediator_push(channel->vm->mediator, channel);
}

void vm_kill_channel(struct channel *channel, enum vgpu_status status, const char *text)
{
    bool promised = channel->state == CHANNEL_PROMISED;

    if (channel_next(channel->state, CHANNEL_EV_KILL) == CHANNEL_N_STATES)
        return;
    channel_blame(channel, status, text);
    if (mediator_may_log(channel->vm->mediator))
        vgpu_log(VGPU_LOG_WARN, "worker-kill", "vm=%" PRIu32 " channel=%" PRIu32 " status=%s",
                 channel->vm->config.id, channel->number, vgpu_status_name(status));
    channel_step(channel, CHANNEL_EV_KILL);
    loop_timer_clear(loop_of(channel->vm), &channel->timer);
    push_kill(channel, promised);
}

void vm_fault_channel(struct channel *channel, enum fault_kind kind, enum vgpu_status status,
                      const char *text)
{
    if (channel_next(channel->state, CHANNEL_EV_KILL) == CHANNEL_N_STATES)
        return;
    vm_kill_channel(channel, status, text);
    /* What a GPU that fails can bring about; the rest is what the worker said itself. */
    if (kind == FAULT_TIMEOUT || kind == FAULT_KEPT || kind == FAULT_OVERRUN)
        doubt_note(channel->vm, channel->gpu_id, kind, text);
    else if (mediator_gpu_ok(channel->vm->mediator, channel->gpu_id))
        fault_note(channel->vm, kind, text);
}

static void stop_late(void *context)
{
    vm_kill_channel(context, VGPU_GONE, "the worker did not end in time");
}

void vm_end_channel(struct channel *channel, enum vgpu_status status, const char *text)
{
    bool promised = channel->state == CHANNEL_PROMISED;

    if (channel_next(channel->state, CHANNEL_EV_STOP) == CHANNEL_N_STATES)
        return;
    channel_blame(channel, status, text);
    channel_step(channel, CHANNEL_EV_STOP);
    if (channel->state == CHANNEL_KILLING) { /* it does not run yet: there is nobody to tell */
        push_kill(channel, promised);
        return;
    }
    channel_set_flags(channel, channel->lease->flags | VGPU_LEASE_STOP);
    set_timer(channel, channel->vm->mediator->settings->stop_ns, stop_late);
}

static void ready_late(void *context)
{
    vm_kill_channel(context, VGPU_DRIVER, "the worker did not start in time");
}

static void channel_opened(struct channel *channel)
{
    channel_step(channel, CHANNEL_EV_READY);
    channel->stray.off_ns = loop_now(loop_of(channel->vm)); /* its start used the GPU */
    stray_watch(channel->vm->mediator);
    loop_timer_clear(loop_of(channel->vm), &channel->timer);
    if (mediator_may_log(channel->vm->mediator))
        vgpu_log(VGPU_LOG_INFO, "channel-open",
                 "vm=%" PRIu32 " channel=%" PRIu32 " gpu=%" PRIu32 " window=%s",
                 channel->vm->config.id, channel->number, channel->gpu_id,
                 channel->window ? "yes" : "no");
    if (channel->connection && channel->granted.domid)
        answer_grant(channel);
    else if (channel->connection)
        answer_open(channel);
}

static void look(struct channel *channel)
{
    struct channel_report report;

    channel_report(channel, &report);
    if (report.state == VGPU_WORKER_READY && channel->state == CHANNEL_LOADING)
        channel_opened(channel);
    conduct_look(channel, &report);
    budget_reported(&channel->vm->budget, channel);
    if (channel_has_worker(channel))
        memory_reported(channel);
    if (channel->seat)
        lease_channel_reported(channel);
}

/* The worker kicked. */
static void reported(void *context, uint32_t events)
{
    struct channel *channel = context;
    uint64_t count;

    if (read(channel->fds[VGPU_FD_REPORT_KICK], &count, sizeof(count)) == sizeof(count))
        look(channel);
}

static int watch_kicks(struct channel *channel)
{
    return loop_watch_add(loop_of(channel->vm), &channel->kick, channel->fds[VGPU_FD_REPORT_KICK],
                          EPOLLIN, reported, channel);
}

/* Joins channel and VM, on a seat of the channel's GPU. */
static int join(struct vm *vm, struct channel *channel, struct seat **ret_seat,
                struct vgpu_err *err)
{
    struct mediator *mediator = vm->mediator;
    struct gpu *gpu = mediator_gpu(mediator, channel->gpu_id);
    struct seat *seat = gpu ? gpu_seat(gpu, &vm->config, &mediator->accounts) : NULL;

    channel->vm = vm;
    if (!seat || watch_kicks(channel) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    channel->next = vm->channels;
    vm->channels = channel;
    seat_set_timeout(seat, job_timeout_ns(vm));
    *ret_seat = seat;
    return 0;
}

static bool granules_ok(uint32_t granules)
{
    return granules >= VGPU_RING_MIN_GRANULES && granules <= VGPU_RING_MAX_GRANULES &&
           (granules & (granules - 1)) == 0;
}

/* Channels that a guest has not closed, whether they have a worker or not. */
static unsigned count_open(const struct vm *vm)
{
    unsigned n = 0;

    for (const struct channel *c = vm->channels; c; c = c->next)
        n += channel_has_worker(c) || (c->window != 0 && c->connection);
    return n;
}

/* Fills in defaults. The status to refuse with, or VGPU_OK. */
static enum vgpu_status check_open(const struct vm *vm, const struct connection *connection,
                                   const struct vgpu_msg_open *open, struct channel_ask *ask,
                                   struct vgpu_err *err)
{
    const struct mediator_settings *settings = vm->mediator->settings;
    enum vgpu_status status;

    *ask = (struct channel_ask){
        .sub_granules = open->sub_granules ? open->sub_granules : DEFAULT_SUB_GRANULES,
        .comp_granules = open->comp_granules ? open->comp_granules : DEFAULT_COMP_GRANULES,
        .process = open->process,
    };
    vgpu_err_set(err, ERANGE, "a ring has a power of two of granules, from %u to %u",
                 VGPU_RING_MIN_GRANULES, VGPU_RING_MAX_GRANULES);
    if (!granules_ok(ask->sub_granules) || !granules_ok(ask->comp_granules))
        return VGPU_LIMIT;
    vgpu_err_set(err, ERANGE, "the data area has a multiple of 4096 bytes, up to %" PRIu64,
                 settings->max_data_bytes);
    if (open->data_bytes % 4096 || open->data_bytes > settings->max_data_bytes)
        return VGPU_LIMIT;
    status = carrier_choose(vm, connection, open, ask, err);
    if (status != VGPU_OK)
        return status;
    vgpu_err_set(err, ENOSPC, "this VM has %u channels open, the most that it may have",
                 VGPU_VM_MAX_CHANNELS);
    if (count_open(vm) >= VGPU_VM_MAX_CHANNELS)
        return VGPU_LIMIT;
    vgpu_err_set(err, EACCES, "%s", vgpu_status_text(VGPU_QUARANTINED));
    if (vm->state == VM_QUARANTINED)
        return VGPU_QUARANTINED;
    if (memory_admit(vm, err) < 0)
        return VGPU_NO_MEMORY;
    vgpu_err_set(err, EAGAIN, "the launcher is not there yet");
    if (!link_ready(&vm->mediator->link) || vm->mediator->stopping)
        return VGPU_STARTING;
    if (mediator_place(vm->mediator, vm, &ask->gpu_id, err) < 0)
        return VGPU_NO_GPU;
    return VGPU_OK;
}

static void grant_late(void *context)
{
    vm_end_channel(context, VGPU_TIMEOUT, "the guest did not say where its pages are");
}

/* The request of that tag is answered when the worker is ready. */
static void start_worker(struct channel *channel, uint32_t tag)
{
    struct mediator *mediator = channel->vm->mediator;

    channel->open_tag = tag;
    channel->spawn_unsent = true;
    set_timer(channel, mediator->settings->ready_ns, ready_late);
    mediator_push(mediator, channel);
}

static int start_channel(struct vm *vm, struct connection *connection, struct channel_ask *ask,
                         uint32_t tag, struct vgpu_err *err)
{
    struct channel *channel;
    struct seat *seat;
    int rc;

    ask->number = mediator_new_channel(vm->mediator);
    rc = channel_new(ask, &channel, err);
    if (rc < 0)
        return rc;
    rc = join(vm, channel, &seat, err);
    if (rc < 0) {
        channel_free(channel);
        return rc;
    }
    channel->connection = connection;
    budget_add(&vm->budget, channel);
    memory_join(channel);
    lease_channel_add(seat, channel);
    if (channel->state == CHANNEL_PROMISED) {
        set_timer(channel, vm->mediator->settings->ready_ns, grant_late);
        answer_promise(channel, tag);
    } else {
        start_worker(channel, tag);
    }
    return 0;
}

void vm_open(struct vm *vm, struct connection *connection, const struct vgpu_msg_open *open)
{
    struct channel_ask ask;
    struct vgpu_err err;
    enum vgpu_status status = check_open(vm, connection, open, &ask, &err);
    int rc;

    if (status != VGPU_OK) {
        connection_refuse(connection, open->head.tag, status, err.text);
        return;
    }
    rc = start_channel(vm, connection, &ask, open->head.tag, &err);
    if (rc < 0)
        connection_refuse(connection, open->head.tag, vgpu_status_from_errno(rc), err.text);
}

/* Only the connection that has a channel may speak of it. */
static struct channel *own_channel(struct vm *vm, const struct connection *connection,
                                   uint32_t number)
{
    struct channel *channel = vm_channel(vm, number);

    return channel && channel->connection == connection ? channel : NULL;
}

static bool grant_fits(const struct channel *channel, const struct vgpu_msg_grant *request)
{
    return channel->vm->domid == channel->granted.domid && request->directory != 0 &&
           request->event_port != 0 &&
           request->pages == channel->geometry.total_bytes / VGPU_GRANT_PAGE_BYTES;
}

void vm_grant(struct vm *vm, struct connection *connection, const struct vgpu_msg_grant *request)
{
    struct channel *channel = own_channel(vm, connection, request->channel);

    if (!channel || channel->state != CHANNEL_PROMISED) {
        connection_refuse(connection, request->head.tag, VGPU_GONE,
                          "no channel of this connection waits for its pages");
        return;
    }
    if (!grant_fits(channel, request)) {
        channel->open_tag = request->head.tag;
        vm_end_channel(channel, VGPU_LIMIT, "what the guest granted is not what was asked for");
        return;
    }
    channel->granted.directory = request->directory;
    channel->granted.event_port = request->event_port;
    channel_step(channel, CHANNEL_EV_GRANTED);
    start_worker(channel, request->head.tag);
}

void vm_close(struct vm *vm, struct connection *connection, const struct vgpu_msg_channel *request)
{
    struct channel *channel = own_channel(vm, connection, request->channel);

    if (!channel || (channel->open_tag && !channel->granted.domid) || channel->close_tag) {
        connection_refuse(connection, request->head.tag, VGPU_GONE,
                          "this connection has no such channel");
        return;
    }
    if (channel->state == CHANNEL_ENDED) { /* its guest was told so; now its place is free */
        answer_channel(connection, VGPU_MSG_CLOSED, request->head.tag, channel->number);
        drop(channel);
        return;
    }
    channel->close_tag = request->head.tag;
    vm_end_channel(channel, VGPU_GONE, "the channel was closed");
}

static bool token_ok(const struct channel *channel, const uint8_t token[VGPU_TOKEN_BYTES])
{
    uint8_t differs = 0;

    /* In constant time: a guest could otherwise find another process's token byte by byte. */
    for (int i = 0; i < (int)VGPU_TOKEN_BYTES; i++)
        differs |= (uint8_t)(channel->token[i] ^ token[i]);
    return differs == 0;
}

/* Its guest has it in its window still, and will close it. */
static void keep_place(struct channel *channel, struct connection *connection)
{
    if (channel->state != CHANNEL_ENDED || channel->window == 0 || !connection->window_bytes)
        return;
    loop_timer_clear(loop_of(channel->vm), &channel->timer);
    channel->connection = connection;
}

void vm_resume(struct vm *vm, struct connection *connection, const struct vgpu_msg_resume *request)
{
    struct channel *channel = vm_channel(vm, request->channel);

    if (!channel || channel->connection || !token_ok(channel, request->token)) {
        connection_refuse(connection, request->head.tag, VGPU_GONE, "there is no such channel");
        return;
    }
    if (drain_holds(channel)) { /* refused when no page is mapped any more */
        channel->connection = connection;
        channel->open_tag = request->head.tag;
        return;
    }
    if (channel->state != CHANNEL_ORPHAN) { /* its worker ended while nobody was there to tell */
        connection_refuse(connection, request->head.tag,
                          channel->end_status ? channel->end_status : VGPU_GONE, channel->end_text);
        keep_place(channel, connection);
        return;
    }
    channel_step(channel, CHANNEL_EV_RESUMED);
    channel->stray.off_ns = loop_now(loop_of(vm));
    stray_watch(vm->mediator);
    loop_timer_clear(loop_of(vm), &channel->timer);
    channel->connection = connection;
    answer_channel(connection, VGPU_MSG_RESUMED, request->head.tag, channel->number);
}

void vm_disconnect(struct vm *vm, struct connection *connection)
{
    struct channel *next;

    for (struct channel *c = vm->channels; c; c = next) {
        next = c->next;
        if (c->connection != connection)
            continue;
        c->connection = NULL;
        c->open_tag = c->close_tag = 0;
        if (c->state == CHANNEL_ENDED) /* it only held its place */
            drop(c);
        else
            vm_end_channel(c, VGPU_GONE, "its process disconnected");
    }
}

static void resume_late(void *context)
{
    struct channel *channel = context;

    if (channel->state == CHANNEL_ENDED)
        drop(channel);
    else
        vm_end_channel(channel, VGPU_GONE, "its process did not come back");
}

void vm_adopt(struct vm *vm, struct channel *channel)
{
    struct vgpu_err err;
    struct seat *seat;

    if (join(vm, channel, &seat, &err) < 0) {
        vgpu_log(VGPU_LOG_ERROR, "adopt", "channel=%" PRIu32 " reason=\"%s\"", channel->number,
                 err.text);
        link_kill(&vm->mediator->link, channel->number);
        channel_free(channel);
        return;
    }
    set_timer(channel, vm->mediator->settings->resume_ns, resume_late);
    conduct_adopt(channel);
    vm_flag_channel(channel); /* it may have changed while no mediator was there */
    budget_adopt(&vm->budget, channel);
    memory_adopt(channel);
    metrics_channel_adopted(channel);
    lease_channel_adopt(seat, channel);
    if ((channel->lease->flags & VGPU_LEASE_STOP) != 0)
        vm_end_channel(channel, VGPU_GONE, "it was being ended");
}

/* The worker is dead, or was never there. */
static void ended(struct channel *channel, enum channel_event event)
{
    char quoted[VGPU_STATUS_TEXT_BYTES + 64];
    struct vm *vm = channel->vm;
    bool orphan = channel->state == CHANNEL_ORPHAN;
    /* Its guest knows it, and has not closed it: it stays in the window. */
    bool placed = channel->window != 0 && channel->connection && !channel->open_tag &&
                  !channel->close_tag && vm->state != VM_REMOVED;

    conduct_ended(channel);
    lease_channel_gone(channel);
    metrics_channel_ended(channel);
    budget_remove(&vm->budget, channel);
    loop_watch_remove(loop_of(vm), &channel->kick);
    channel_step(channel, event);
    if (mediator_may_log(vm->mediator))
        vgpu_log(VGPU_LOG_INFO, "channel-end",
                 "vm=%" PRIu32 " channel=%" PRIu32 " status=%s text=%s", vm->config.id,
                 channel->number, vgpu_status_name(channel->end_status),
                 vgpu_log_quote(quoted, sizeof(quoted), channel->end_text));
    memory_gone(vm);
    tell_end(channel);
    drain_ended(channel);
    if (orphan)
        return; /* until its guest has come back to hear why, or the time for that is over */
    if (placed)
        return; /* until its guest closes it, or its connection ends */
    drop(channel);
    vm_collect(vm);
}

void vm_spawned(struct channel *channel, int32_t pid, int error, const char *text)
{
    char why[VGPU_STATUS_TEXT_BYTES];

    if (channel_next(channel->state, error ? CHANNEL_EV_FAILED : CHANNEL_EV_SPAWNED) ==
        CHANNEL_N_STATES)
        return;
    if (!error) {
        channel->pid = pid;
        channel_step(channel, CHANNEL_EV_SPAWNED);
        metrics_channel_started(channel);
        look(channel); /* its kick may have come before this message */
        return;
    }
    snprintf(why, sizeof(why), "the worker did not start: %.128s", text);
    channel_blame(channel, error == ENOSPC || error == EAGAIN ? VGPU_LIMIT : VGPU_INTERNAL, why);
    ended(channel, CHANNEL_EV_FAILED);
}

static void blame_exit(struct channel *channel, const struct vgpu_launch_exited *exited)
{
    char text[96];

    channel_blame_report(channel);
    if (exited->signal != 0) {
        snprintf(text, sizeof(text), "the worker was killed by signal %d", exited->signal);
        channel_blame(channel, VGPU_KILLED, text);
    } else {
        snprintf(text, sizeof(text), "the worker ended with status %d", exited->exit_code);
        channel_blame(channel, VGPU_GONE, text);
    }
}

void vm_exited(struct channel *channel, const struct vgpu_launch_exited *exited)
{
    if (!channel_has_worker(channel))
        return;
    /* READY, then dead, before the mediator looked: the guest never had the channel. */
    blame_exit(channel, exited);
    conduct_exited(channel, exited);
    ended(channel, CHANNEL_EV_EXITED);
}

void vm_launcher_lost(struct channel *channel)
{
    if (!channel_has_worker(channel))
        return;
    channel_blame(channel, VGPU_KILLED, "the worker was killed: the launcher ended");
    ended(channel, CHANNEL_EV_EXITED);
}
