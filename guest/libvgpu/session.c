/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "carrier/device.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/flag.h"
#include "common/status.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/fork.h"
#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/status_result.h"

#define RECONNECT_FIRST_NS (20 * VGPU_NS_PER_MS)
#define RECONNECT_MOST_NS  (1 * VGPU_NS_PER_S)
/* How long a channel lives on without its mediator: nobody would tell of a dead worker. */
#define RECONNECT_LIMIT_NS (60 * VGPU_NS_PER_S)
#define CLOSE_TIMEOUT_MS   1000

static struct session {
    uint32_t open;   /* flag: sender may be used */
    uint32_t forked; /* flag: this is a child, the session is the parent's */
    struct sender sender;
    struct local_link link;
    char path[108];
    int device; /* the driver's file in a virtual machine; -1: there is a socket */
    int stop;   /* eventfd: ends the watcher */
    pthread_t watcher;
    uint8_t token[VGPU_TOKEN_BYTES];

    pthread_mutex_t lock; /* what follows */
    struct vgpu_identity identity;
    uint32_t gone_status;
} session = {.link = {.sock = -1}, .device = -1, .stop = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

/* Two threads may call vgpu_connect, or cuInit, at once. */
static pthread_mutex_t connect_lock = PTHREAD_MUTEX_INITIALIZER;

struct sender *session_sender(void)
{
    return vgpu_flag_get(&session.open) ? &session.sender : NULL;
}

bool session_is_forked(void)
{
    return vgpu_flag_get(&session.forked);
}

static void channel_gone(uint32_t status, const char *text)
{
    pthread_mutex_lock(&session.lock);
    session.gone_status = status;
    pthread_mutex_unlock(&session.lock);
    guest_note_failure(status, text);
    receive_fail(&session.sender, status_result(status));
}

static void take_state(const struct vgpu_msg_state *state)
{
    pthread_mutex_lock(&session.lock);
    session.identity.priority = state->priority;
    session.identity.weight_hundredths = state->weight_hundredths;
    session.identity.quarantined = state->quarantined;
    memcpy(session.identity.pool, state->pool, sizeof(session.identity.pool));
    pthread_mutex_unlock(&session.lock);
}

static void take_unasked(void *context, const union message *message)
{
    if (message->head.type == VGPU_MSG_STATE)
        take_state(&message->state);
    else if (message->head.type == VGPU_MSG_GONE &&
             message->gone.channel == session.identity.channel)
        channel_gone(message->gone.status, message->gone.text[0]
                                               ? message->gone.text
                                               : vgpu_status_text(message->gone.status));
}

/* How the host's configuration knows this VM. */
static void learn_identity(uint32_t vm_id, uint32_t priority, uint32_t weight_hundredths,
                           bool quarantined, const char pool[72], const char name[72])
{
    struct vgpu_identity *identity = &session.identity;

    pthread_mutex_lock(&session.lock);
    identity->vm_id = vm_id;
    identity->priority = priority;
    identity->weight_hundredths = weight_hundredths;
    identity->quarantined = quarantined;
    memcpy(identity->pool, pool, sizeof(identity->pool));
    memcpy(identity->name, name, sizeof(identity->name));
    pthread_mutex_unlock(&session.lock);
}

static void take_welcome(const struct vgpu_msg_welcome *welcome)
{
    learn_identity(welcome->vm_id, welcome->priority, welcome->weight_hundredths,
                   welcome->quarantined, welcome->pool, welcome->name);
}

static void take_driver_state(const struct vgpu_ioc_state *state)
{
    learn_identity(state->vm_id, state->priority, state->weight_hundredths, state->quarantined,
                   state->pool, state->name);
}

/* What the driver has to tell. False: the channel is gone. */
static bool take_news(void)
{
    struct vgpu_ioc_state state;
    int status = device_state(session.device, &state);

    if (status < 0) {
        channel_gone(VGPU_GONE, "the device was removed");
        return false;
    }
    take_driver_state(&state);
    if (!state.gone)
        return true;
    channel_gone(state.gone_status,
                 state.gone_text[0] ? state.gone_text : vgpu_status_text(state.gone_status));
    return false;
}

/* True if the watcher is to end. */
static bool stop_within(uint64_t ns)
{
    struct pollfd event = {.fd = session.stop, .events = POLLIN};

    return poll(&event, 1, (int)(ns / VGPU_NS_PER_MS)) > 0;
}

/* One try. 0: resumed; -EAGAIN: worth another; else the channel is gone, and was told so. */
static int try_resume(void)
{
    struct local_refusal refusal;
    struct vgpu_msg_welcome welcome;
    int status = local_connect(&session.link, session.path, &welcome, &refusal);

    if (status == 0) {
        take_welcome(&welcome);
        status = local_resume(&session.link, session.identity.channel, session.token, &refusal);
        if (status < 0)
            local_release(&session.link);
    }
    if (status == 0)
        return 0;
    if (vgpu_status_retryable(refusal.status))
        return -EAGAIN;
    channel_gone(refusal.status, refusal.text);
    return -ENOTCONN;
}

/* Comes back to the mediator. False if the watcher is to end. */
static bool reconnect(void)
{
    uint64_t deadline = vgpu_clock_ns() + RECONNECT_LIMIT_NS;
    uint64_t pause = RECONNECT_FIRST_NS;

    local_release(&session.link);
    for (;;) {
        int status = try_resume();

        if (status != -EAGAIN)
            return status == 0;
        if (vgpu_clock_ns() > deadline) {
            channel_gone(VGPU_GONE, "the mediator went away and did not come back");
            return false;
        }
        if (stop_within(pause))
            return false;
        pause = pause * 2 < RECONNECT_MOST_NS ? pause * 2 : RECONNECT_MOST_NS;
    }
}

/* The device itself comes back to its mediator. */
static void *watch_device(void *argument)
{
    for (;;) {
        struct pollfd events[] = {{.fd = session.device, .events = POLLPRI},
                                  {.fd = session.stop, .events = POLLIN}};

        if (poll(events, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (events[1].revents || (events[0].revents && !take_news()))
            return NULL;
    }
}

static void *watch(void *argument)
{
    for (;;) {
        struct pollfd events[] = {{.fd = session.link.sock, .events = POLLIN},
                                  {.fd = session.stop, .events = POLLIN}};
        union message message;

        if (poll(events, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (events[1].revents)
            return NULL;
        if (!events[0].revents)
            continue;
        if (local_receive(&session.link, &message) == 0)
            take_unasked(NULL, &message);
        else if (!reconnect())
            return NULL;
        if (vgpu_flag_get(&session.sender.gone))
            return NULL;
    }
}

/* The child keeps nothing of the parent's session open: the mediator sees the parent's end. */
static void leave_session(void)
{
    /* A child's child: the descriptors are others' by now. */
    if (!vgpu_flag_get(&session.open) || session_is_forked())
        return;
    vgpu_flag_set(&session.forked, 1);
    if (session.link.sock >= 0)
        close(session.link.sock);
    close(session.stop);
    close(session.sender.own_kick);
    if (session.sender.submit_kick >= 0)
        close(session.sender.submit_kick);
    close(session.sender.completion_kick);
}

static void before_fork(void)
{
    guest_hold_prepare();
    pthread_mutex_lock(&connect_lock);
    pthread_mutex_lock(&session.lock);
    guest_hold_state();
    if (!session_is_forked())
        fork_prepare();
}

static void let_go(void)
{
    guest_let_go_state();
    pthread_mutex_unlock(&session.lock);
    pthread_mutex_unlock(&connect_lock);
    guest_let_go_prepare();
}

static void after_fork_in_parent(void)
{
    if (!session_is_forked())
        fork_in_parent();
    let_go();
}

static void after_fork_in_child(void)
{
    if (!session_is_forked())
        fork_in_child();
    leave_session();
    let_go();
}

static void register_after_fork(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static int start_watcher(void)
{
    sigset_t all, before;
    int status;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status =
        pthread_create(&session.watcher, NULL, session.device >= 0 ? watch_device : watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -status;
}

static enum vgpu_status failed(struct vgpu_failure *failure, const struct local_refusal *refusal)
{
    struct vgpu_failure told = {
        .status = refusal->status,
        .retryable = vgpu_status_retryable(refusal->status),
        .retry_ns = refusal->retry_ns,
    };

    snprintf(told.text, sizeof(told.text), "%s", refusal->text);
    guest_note_failure(refusal->status, refusal->text);
    if (failure)
        *failure = told;
    return (enum vgpu_status)refusal->status;
}

static int no_channel(struct local_refusal *refusal, uint32_t status, const char *why)
{
    *refusal = (struct local_refusal){.status = status};
    snprintf(refusal->text, sizeof(refusal->text), "cannot use the channel: %.400s", why);
    return -EPROTO;
}

/* The sender is there: starts the watcher. The sender is released on failure. */
static int start_session(uint32_t channel, struct local_refusal *refusal)
{
    int status;

    session.identity.channel = channel;
    session.identity.relayed = session.sender.mirror != NULL;
    session.identity.window = session.sender.doorbell && !session.sender.mirror;
    session.identity.granted = session.sender.device >= 0 && !session.sender.doorbell;
    session.identity.data_bytes = session.sender.map.geometry.data_bytes;
    session.gone_status = VGPU_OK;
    session.stop = eventfd(0, EFD_CLOEXEC);
    status = session.stop < 0 ? -errno : start_watcher();
    if (status < 0) {
        vgpu_close(&session.stop);
        sender_release(&session.sender);
        return no_channel(refusal, VGPU_NO_MEMORY, strerror(-status));
    }
    vgpu_flag_set(&session.open, 1);
    return 0;
}

/* Maps what the mediator opened. Takes the descriptors. */
static int begin_session(const struct vgpu_msg_opened *opened, int fds[LOCAL_FDS],
                         struct local_refusal *refusal)
{
    _cleanup_close_ int memory = fds[LOCAL_FD_MEMORY];
    struct channel_mapping map;
    struct vgpu_err err = {0};
    int status = channel_mapping_init(&map, memory, &opened->geometry, &err);

    if (status == 0) {
        /* A child must not write where the parent's worker reads. */
        madvise(map.base, map.bytes, MADV_DONTFORK);
        status = sender_init(&session.sender, &map, fds[LOCAL_FD_SUBMIT], fds[LOCAL_FD_COMPLETE]);
        if (status < 0)
            channel_mapping_release(&map);
    }
    if (status < 0) {
        close(fds[LOCAL_FD_SUBMIT]);
        close(fds[LOCAL_FD_COMPLETE]);
        return no_channel(refusal, VGPU_BAD_MESSAGE, err.text[0] ? err.text : strerror(-status));
    }
    memcpy(session.token, opened->token, sizeof(session.token));
    return start_session(opened->channel, refusal);
}

static void release_device(struct device_channel *device)
{
    channel_mapping_release(&device->map);
    device_release_doorbell(device->doorbell);
    close(device->fd);
}

/* By the driver of a virtual machine. */
static int open_device(const char *path, const struct vgpu_msg_open *ask,
                       struct local_refusal *refusal)
{
    struct vgpu_ioc_state state;
    struct device_channel device;
    int status = device_open(&device, path, ask, refusal);

    if (status < 0)
        return status;
    madvise(device.map.base, device.map.bytes, MADV_DONTFORK);
    status = sender_init_device(&session.sender, &device.map, device.fd, device.doorbell);
    if (status < 0) {
        release_device(&device);
        return no_channel(refusal, VGPU_NO_MEMORY, strerror(-status));
    }
    if (device.transfers && (status = mirror_init(&session.sender, device.transfers)) < 0) {
        device_release_doorbell(device.doorbell);
        sender_release(&session.sender);
        return no_channel(refusal, VGPU_NO_MEMORY, strerror(-status));
    }
    session.device = device.fd;
    if (device_state(device.fd, &state) == 0)
        take_driver_state(&state);
    status = start_session(device.channel, refusal);
    if (status < 0) {
        device_release_doorbell(device.doorbell);
        session.device = -1;
    }
    return status;
}

static int open_session(const char *path, const struct vgpu_options *options,
                        struct local_refusal *refusal)
{
    const char *process =
        options && options->process ? options->process : program_invocation_short_name;
    struct vgpu_msg_open ask = {
        .sub_granules = options ? options->ring_granules : 0,
        .comp_granules = options ? options->ring_granules : 0,
        .data_bytes = options ? options->data_bytes : 0,
    };
    struct vgpu_msg_welcome welcome;
    struct vgpu_msg_opened opened;
    int fds[LOCAL_FDS];
    int status;

    snprintf(ask.process, sizeof(ask.process), "%s", process);
    if (device_is_path(path))
        return open_device(path, &ask, refusal);
    session.link.unasked = take_unasked;
    status = local_connect(&session.link, path, &welcome, refusal);
    if (status < 0)
        return status;
    take_welcome(&welcome);
    snprintf(session.path, sizeof(session.path), "%s", path);
    status = local_open(&session.link, &ask, &opened, fds, refusal);
    if (status == 0)
        status = begin_session(&opened, fds, refusal);
    if (status < 0)
        local_release(&session.link);
    return status;
}

enum vgpu_status vgpu_connect(const char *path, const struct vgpu_options *options,
                              struct vgpu_failure *failure)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct local_refusal refusal = {0};
    int status = 0;

    if (session_is_forked()) {
        no_channel(&refusal, VGPU_GONE, "it belongs to the parent of this process");
        return failed(failure, &refusal);
    }
    pthread_once(&once, register_after_fork);
    pthread_mutex_lock(&connect_lock);
    if (!path)
        path = device_is_path(VGPU_DEFAULT_DEVICE) ? VGPU_DEFAULT_DEVICE : VGPU_DEFAULT_SOCKET;
    if (!session_sender())
        status = open_session(path, options, &refusal);
    pthread_mutex_unlock(&connect_lock);
    return status < 0 ? failed(failure, &refusal) : VGPU_OK;
}

/* Ends the watcher and tells the mediator. The ring is not touched any more. */
static void close_link(void)
{
    uint64_t one = 1;
    ssize_t n = write(session.stop, &one, sizeof(one));

    (void)n; /* a fresh eventfd takes it */
    pthread_join(session.watcher, NULL);
    if (session.device < 0 && !vgpu_flag_get(&session.sender.gone))
        local_close(&session.link, session.identity.channel, CLOSE_TIMEOUT_MS);
    local_release(&session.link);
    vgpu_close(&session.stop);
}

void vgpu_disconnect(void)
{
    if (session_is_forked())
        return;
    pthread_mutex_lock(&connect_lock);
    if (session_sender()) {
        close_link();
        receive_fail(&session.sender, CUDA_ERROR_DEINITIALIZED);
        callback_stop(&session.sender);
        vgpu_flag_set(&session.open, 0);
        guest_reset();
        device_release_doorbell(session.sender.doorbell);
        sender_release(&session.sender);
        session.device = -1;
        memset(&session.identity, 0, sizeof(session.identity));
    }
    pthread_mutex_unlock(&connect_lock);
}

/* At exit other threads may still be in calls: only the connection is ended. */
__attribute__((destructor)) static void close_at_exit(void)
{
    if (session_sender() && !session_is_forked() && !pthread_equal(pthread_self(), session.watcher))
        close_link();
}

bool vgpu_get_identity(struct vgpu_identity *ret)
{
    if (!session_sender() || session_is_forked())
        return false;
    pthread_mutex_lock(&session.lock);
    *ret = session.identity;
    pthread_mutex_unlock(&session.lock);
    return true;
}

enum vgpu_status vgpu_channel_status(void)
{
    uint32_t status;

    pthread_mutex_lock(&session.lock);
    status = session.gone_status;
    pthread_mutex_unlock(&session.lock);
    return (enum vgpu_status)status;
}
