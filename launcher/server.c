/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"
#include "common/listen.h"
#include "common/log.h"
#include "launcher/cgroup.h"
#include "launcher/channel.h"
#include "launcher/devices.h"
#include "launcher/message.h"
#include "launcher/reset.h"
#include "launcher/spare.h"

/* epoll's data: what it is in the upper half, a worker's channel or a spare's number in the lower.
 */
enum source { SOURCE_SIGNAL, SOURCE_LISTENER, SOURCE_MEDIATOR, SOURCE_WORKER, SOURCE_SPARE };

#define EVENTS_MAX        16
#define MESSAGES_PER_TURN 16
#define REAP_PATIENCE_NS  (10 * VGPU_NS_PER_S)

union packet {
    struct vgpu_launch head;
    struct vgpu_launch_hello hello;
    struct vgpu_launch_spawn spawn;
    struct vgpu_launch_channel channel;
    struct vgpu_launch_answer answer;
    struct vgpu_launch_exited exited;
    struct vgpu_launch_entry entry;
    struct vgpu_launch_spare_state spare_state;
    struct vgpu_launch_reset_done reset_done;
    /* Longer than any message, so that a packet that is too long shows as one. */
    uint8_t bytes[sizeof(struct vgpu_launch_spares) + 8];
};

/* The mediator's connection. While an answer or a list is unsent nothing more is read. */
struct peer {
    int sock; /* -1: none */
    bool greeted;
    bool writing;        /* EPOLLOUT is asked for */
    union packet answer; /* to be sent; size_bytes 0: none */
    bool answer_has_accounts;
    bool listing;
    unsigned list_next, list_sent;
    bool tells_spares; /* it asked for some */
};

struct server {
    const struct server_settings *settings;
    int epoll, signals, listener, accounts;
    bool stopping;
    bool network_said; /* that workers share the launcher's network */
    struct peer peer;
    struct cgroup cgroup;
    struct channel_table channels;
    struct spares spares;
    struct reset reset;
    struct vgpu_log_limit refusals, workers;
};

static int watch(struct server *server, int op, int fd, uint32_t events, enum source source,
                 uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)source << 32 | number};

    return epoll_ctl(server->epoll, op, fd, &event) < 0 ? -errno : 0;
}

static void drop_peer(struct server *server, const char *why)
{
    char quoted[VGPU_ERR_TEXT_BYTES];

    vgpu_log(VGPU_LOG_INFO, "mediator-gone", "workers=%u reason=%s", server->channels.count,
             vgpu_log_quote(quoted, sizeof(quoted), why));
    vgpu_close(&server->peer.sock);
    server->peer = (struct peer){.sock = -1};
    server->reset.told = true; /* the next mediator did not ask */
    for (unsigned i = 0; i < server->channels.count; i++)
        server->channels.items[i]->known = false;
}

/* 1: sent; 0: no room now; -errno: the connection is of no use any more. */
static int send_packet(struct server *server, const union packet *packet, const int *fds, size_t n)
{
    ssize_t sent = vgpu_fdpass_send(server->peer.sock, packet, packet->head.size_bytes, fds, n);

    if (sent == -EAGAIN)
        return 0;
    return sent < 0 ? (int)sent : 1;
}

static int send_answer(struct server *server)
{
    struct peer *peer = &server->peer;
    int rc = 1;

    if (peer->answer.head.size_bytes == 0)
        return 1;
    rc = send_packet(server, &peer->answer, &server->accounts, peer->answer_has_accounts ? 1 : 0);
    if (rc == 1) {
        peer->answer.head.size_bytes = 0;
        peer->answer_has_accounts = false;
    }
    return rc;
}

static int send_list(struct server *server)
{
    struct peer *peer = &server->peer;
    union packet packet;
    int rc;

    while (peer->listing && peer->list_next < server->channels.count) {
        struct channel *channel = server->channels.items[peer->list_next];

        packet.entry = (struct vgpu_launch_entry){
            .head = {sizeof(packet.entry), VGPU_LAUNCH_ENTRY},
            .channel = channel->number,
            .pid = channel->pid,
            .geometry = channel->geometry,
            .keep = channel->keep,
        };
        rc = channel->keep.domid ? send_packet(server, &packet, channel->fds + VGPU_FD_LEASE,
                                               VGPU_CHANNEL_GRANT_FDS)
                                 : send_packet(server, &packet, channel->fds, VGPU_CHANNEL_FDS);
        if (rc <= 0)
            return rc;
        channel->known = true;
        peer->list_next++;
        peer->list_sent++;
    }
    if (!peer->listing)
        return 1;
    packet.channel = (struct vgpu_launch_channel){
        .head = {sizeof(packet.channel), VGPU_LAUNCH_LIST_END}, .channel = peer->list_sent};
    rc = send_packet(server, &packet, NULL, 0);
    if (rc == 1)
        peer->listing = false;
    return rc;
}

static int send_exits(struct server *server)
{
    union packet packet;

    for (unsigned i = 0; i < server->channels.count;) {
        struct channel *channel = server->channels.items[i];
        int rc;

        if (!channel->exited || !channel->known) {
            i++;
            continue;
        }
        packet.exited = channel->end;
        rc = send_packet(server, &packet, NULL, 0);
        if (rc <= 0)
            return rc;
        channel_drop(&server->channels, channel);
    }
    return 1;
}

static int send_spares(struct server *server)
{
    union packet packet;

    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS && server->peer.tells_spares; i++) {
        struct spare_pool *pool = &server->spares.pools[i];
        unsigned starting, ready;
        int rc;

        if (!pool->changed || !pool->gpu_uuid[0])
            continue;
        spare_pool_count(pool, &starting, &ready);
        packet.spare_state = (struct vgpu_launch_spare_state){
            .head = {sizeof(packet.spare_state), VGPU_LAUNCH_SPARE_STATE},
            .ready = ready,
            .starting = starting,
            .failures = pool->failures,
            .adopted = pool->adopted,
        };
        memcpy(packet.spare_state.gpu_uuid, pool->gpu_uuid, VGPU_GPU_UUID_BYTES);
        rc = send_packet(server, &packet, NULL, 0);
        if (rc <= 0)
            return rc;
        pool->changed = false;
    }
    return 1;
}

static int send_reset(struct server *server)
{
    union packet packet = {.reset_done = server->reset.done};
    int rc = 1;

    if (!server->reset.told && (rc = send_packet(server, &packet, NULL, 0)) == 1)
        server->reset.told = true;
    return rc;
}

/* Sends what is owed to the mediator, in order, as far as it goes. */
static void flush_peer(struct server *server)
{
    struct peer *peer = &server->peer;
    bool blocked;
    int rc;

    if (peer->sock < 0)
        return;
    if ((rc = send_answer(server)) == 1 && (rc = send_list(server)) == 1 &&
        (rc = send_exits(server)) == 1 && (rc = send_spares(server)) == 1)
        rc = send_reset(server);
    if (rc < 0) {
        drop_peer(server, strerror(-rc));
        return;
    }
    blocked = rc == 0;
    if (blocked == peer->writing)
        return;
    peer->writing = blocked;
    watch(server, EPOLL_CTL_MOD, peer->sock, blocked ? EPOLLOUT : EPOLLIN, SOURCE_MEDIATOR, 0);
}

/* A connection that is not taken: says why, and closes it. */
static void refuse(int sock, int error, const char *text)
{
    struct vgpu_launch_answer answer = {
        .head = {sizeof(answer), VGPU_LAUNCH_REFUSED},
        .result = error,
    };

    snprintf(answer.text, sizeof(answer.text), "%.*s", (int)sizeof(answer.text) - 1, text);
    vgpu_fdpass_send(sock, &answer, sizeof(answer), NULL, 0);
}

/* A mediator that was killed may be followed by the next before its end was seen here. */
static bool peer_is_alive(struct server *server)
{
    char byte;
    ssize_t got;

    if (server->peer.sock < 0)
        return false;
    got = recv(server->peer.sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 || (got < 0 && errno == EAGAIN))
        return true;
    drop_peer(server, "end of file");
    return false;
}

static void log_refusal(struct server *server, const struct ucred *who, const char *reason)
{
    uint32_t held_back;

    if (vgpu_log_allowed(&server->refusals, vgpu_clock_ns(), 10, VGPU_NS_PER_S, &held_back))
        vgpu_log(VGPU_LOG_WARN, "mediator-refused", "uid=%d pid=%d reason=%s held_back=%u",
                 (int)who->uid, (int)who->pid, reason, held_back);
}

static void accept_peer(struct server *server)
{
    _cleanup_close_ int sock = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = {0};
    socklen_t size = sizeof(who);

    if (sock < 0)
        return;
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
        who.uid != server->settings->mediator_uid) {
        log_refusal(server, &who, "user");
        refuse(sock, EPERM, "this user may not use the launcher (--mediator-uid)");
        return;
    }
    if (peer_is_alive(server)) {
        log_refusal(server, &who, "second");
        refuse(sock, EBUSY, "another mediator is connected to this launcher");
        return;
    }
    if (watch(server, EPOLL_CTL_ADD, sock, EPOLLIN, SOURCE_MEDIATOR, 0) < 0)
        return;
    vgpu_log(VGPU_LOG_INFO, "mediator-connect", "uid=%d pid=%d workers=%u", (int)who.uid,
             (int)who.pid, server->channels.count);
    server->peer = (struct peer){.sock = vgpu_steal_fd(&sock)};
}

/* How often workers come and go is up to guests; the log is not. */
static bool may_log(struct server *server)
{
    uint32_t held_back = 0;

    if (!vgpu_log_allowed(&server->workers, vgpu_clock_ns(), 100, 50 * VGPU_NS_PER_MS, &held_back))
        return false;
    if (held_back)
        vgpu_log(VGPU_LOG_INFO, "log-held-back", "lines=%" PRIu32, held_back);
    return true;
}

static void answer_hello(struct server *server)
{
    server->peer.greeted = true;
    server->peer.answer.hello = (struct vgpu_launch_hello){
        .head = {sizeof(struct vgpu_launch_hello), VGPU_LAUNCH_WELCOME},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
    };
    server->peer.answer_has_accounts = true;
}

static void answer_spawn(struct server *server, uint32_t number, pid_t pid,
                         const struct vgpu_err *err)
{
    struct vgpu_launch_answer *answer = &server->peer.answer.answer;

    *answer = (struct vgpu_launch_answer){
        .head = {sizeof(*answer), VGPU_LAUNCH_SPAWNED},
        .channel = number,
        .result = err->code,
        .pid = pid,
    };
    if (err->code)
        snprintf(answer->text, sizeof(answer->text), "%.*s", (int)sizeof(answer->text) - 1,
                 err->text);
}

static void say_network(struct server *server, int network)
{
    if (!network || server->network_said)
        return;
    vgpu_log(VGPU_LOG_WARN, "degraded", "what=\"workers share the network\" errno=%d", network);
    server->network_said = true;
}

static uint64_t memory_limit(const struct server *server, const struct vgpu_launch_spawn *spawn)
{
    return spawn->host_memory_bytes ? spawn->host_memory_bytes : server->settings->memory_bytes;
}

/* Spares */

static int make_spare(struct server *server, struct spare_pool *pool, struct spare *spare,
                      struct vgpu_err *err)
{
    _cleanup_close_ int procs = -1, ours = -1, theirs = -1;
    int ends[2], network, rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    ours = ends[0];
    theirs = ends[1];
    snprintf(spare->group, sizeof(spare->group), "spare-%" PRIu32, spare->number);
    rc = cgroup_make(&server->cgroup, spare->group, server->settings->memory_bytes, &procs, err);
    if (rc < 0)
        return rc;
    rc = spawn_spare(&server->settings->spawn, pool->gpu_uuid, spare->number, theirs, procs,
                     &spare->pid, &network, err);
    if (rc < 0) {
        cgroup_remove(&server->cgroup, spare->group);
        return rc;
    }
    say_network(server, network);
    spare->sock = vgpu_steal_fd(&ours);
    watch(server, EPOLL_CTL_ADD, spare->sock, EPOLLIN, SOURCE_SPARE, spare->number);
    return 0;
}

/* A number whose user no living worker has from a spare of long ago. */
static uint32_t new_spare_number(struct server *server)
{
    struct spares *spares = &server->spares;
    struct spare_pool *pool;
    bool taken;

    do {
        char group[CGROUP_NAME_BYTES];
        uint32_t number = ++spares->last_number % SPAWN_N_SPARE_UIDS;

        snprintf(group, sizeof(group), "spare-%" PRIu32, number);
        taken = spares_find(spares, number, &pool) != NULL;
        for (unsigned i = 0; i < server->channels.count && !taken; i++)
            taken = strcmp(server->channels.items[i]->group, group) == 0;
    } while (taken);
    return spares->last_number % SPAWN_N_SPARE_UIDS;
}

static bool start_spare(struct server *server, struct spare_pool *pool, uint64_t now_ns)
{
    struct spare *spare = spare_pool_room(pool, now_ns);
    char quoted[VGPU_ERR_TEXT_BYTES];
    struct vgpu_err err;

    if (!spare)
        return false;
    *spare = (struct spare){.number = new_spare_number(server), .sock = -1, .started_ns = now_ns};
    if (make_spare(server, pool, spare, &err) < 0) {
        vgpu_log(VGPU_LOG_WARN, "spare-refused", "gpu=%s reason=%s", pool->gpu_uuid,
                 vgpu_log_quote(quoted, sizeof(quoted), err.text));
        spare_pool_failed(pool, now_ns);
        return false;
    }
    spare->state = SPARE_STARTING;
    pool->changed = true;
    vgpu_log(VGPU_LOG_INFO, "spare-start", "gpu=%s spare=%" PRIu32 " worker=%d", pool->gpu_uuid,
             spare->number, (int)spare->pid);
    return true;
}

static void end_spare(struct spare *spare)
{
    vgpu_close(&spare->sock);
    kill(spare->pid, SIGKILL);
}

/* Makes what is there what should be there. */
static void tend_spares(struct server *server)
{
    uint64_t now_ns = vgpu_clock_ns();

    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        struct spare_pool *pool = &server->spares.pools[i];
        struct spare *spare;

        while ((spare = spare_pool_excess(pool, now_ns)))
            end_spare(spare);
        while (start_spare(server, pool, now_ns))
            ;
    }
    flush_peer(server);
}

/* It says once that it is ready; anything else, its end included, ends it. */
static void spare_socket(struct server *server, uint32_t number)
{
    struct spare_pool *pool;
    struct spare *spare = spares_find(&server->spares, number, &pool);
    struct vgpu_launch head;
    size_t n_fds;
    ssize_t got;

    if (!spare || spare->sock < 0)
        return;
    got = vgpu_fdpass_recv(spare->sock, &head, sizeof(head), NULL, 0, &n_fds);
    if (got != sizeof(head) || head.size_bytes != sizeof(head) || head.type != VGPU_LAUNCH_READY ||
        spare->state != SPARE_STARTING) {
        end_spare(spare);
        return;
    }
    spare->state = SPARE_READY;
    pool->changed = true;
    vgpu_log(VGPU_LOG_INFO, "spare-ready", "gpu=%s spare=%" PRIu32 " worker=%d start_ns=%" PRIu64,
             pool->gpu_uuid, number, (int)spare->pid, vgpu_clock_ns() - spare->started_ns);
}

static void spare_ended(struct server *server, struct spare_pool *pool, struct spare *spare,
                        int status)
{
    vgpu_log(spare->unwanted ? VGPU_LOG_INFO : VGPU_LOG_WARN, "spare-exit",
             "gpu=%s spare=%" PRIu32 " worker=%d exit=%d signal=%d wanted=%d", pool->gpu_uuid,
             spare->number, (int)spare->pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
             WIFSIGNALED(status) ? WTERMSIG(status) : 0, !spare->unwanted);
    vgpu_close(&spare->sock);
    cgroup_remove(&server->cgroup, spare->group);
    if (!spare->unwanted)
        spare_pool_failed(pool, vgpu_clock_ns());
    spare_leave(pool, spare, false);
}

static int send_adopt(struct server *server, const struct spare *spare,
                      const struct vgpu_launch_spawn *spawn, const int *fds)
{
    _cleanup_close_ int lease = -1;
    int given[VGPU_CHANNEL_FDS], rc;
    struct vgpu_launch_adopt adopt;
    struct vgpu_err err;
    ssize_t sent;

    rc = spawn_adopt(&server->settings->spawn, spawn, &adopt);
    if (rc == 0)
        rc = spawn_read_only(fds[VGPU_FD_LEASE], &lease, &err);
    if (rc < 0)
        return rc;
    memcpy(given, fds, sizeof(given));
    given[VGPU_FD_LEASE] = lease;
    sent = vgpu_fdpass_send(spare->sock, &adopt, sizeof(adopt), given, VGPU_CHANNEL_FDS);
    return sent < 0 ? (int)sent : 0;
}

/*
 * The channel's worker is a spare from now on. It keeps its cgroup, with the channel's limit: what
 * it has taken so far would not be counted in another. False: there is none that can be had.
 */
static bool adopt_spare(struct server *server, struct channel *channel,
                        const struct vgpu_launch_spawn *spawn, const int *fds)
{
    struct spare_pool *pool = spares_pool(&server->spares, spawn->gpu_uuid);
    struct spare *spare = pool ? spare_pool_ready(pool) : NULL;

    if (!spare || cgroup_limit(&server->cgroup, spare->group, memory_limit(server, spawn)) < 0)
        return false;
    if (send_adopt(server, spare, spawn, fds) < 0) {
        end_spare(spare);
        return false;
    }
    channel->pid = spare->pid;
    channel->sock = spare->sock;
    memcpy(channel->group, spare->group, sizeof(channel->group));
    memcpy(channel->spare_gpu, pool->gpu_uuid, sizeof(channel->spare_gpu));
    watch(server, EPOLL_CTL_MOD, channel->sock, EPOLLIN, SOURCE_WORKER, channel->number);
    spare_leave(pool, spare, true);
    return true;
}

/* Workers */

/* Makes process, cgroup and socket of a channel that is not in the table yet. */
static int start_worker(struct server *server, struct channel *channel,
                        const struct vgpu_launch_spawn *spawn, const int *fds, struct vgpu_err *err)
{
    _cleanup_close_ int procs = -1, ours = -1, theirs = -1;
    int ends[2], network, rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    ours = ends[0];
    theirs = ends[1];
    snprintf(channel->group, sizeof(channel->group), "channel-%" PRIu32, channel->number);
    rc = cgroup_make(&server->cgroup, channel->group, memory_limit(server, spawn), &procs, err);
    if (rc < 0)
        return rc;
    rc = spawn_worker(&server->settings->spawn, spawn, fds, theirs, procs, &channel->pid, &network,
                      err);
    if (rc < 0) {
        cgroup_remove(&server->cgroup, channel->group);
        return rc;
    }
    say_network(server, network);
    channel->sock = vgpu_steal_fd(&ours);
    watch(server, EPOLL_CTL_ADD, channel->sock, EPOLLIN, SOURCE_WORKER, channel->number);
    return 0;
}

/* On a spare, or on a new worker. What only the worker is to have is closed here again. */
static int place_channel(struct server *server, struct channel *channel,
                         const struct vgpu_launch_spawn *spawn, struct vgpu_err *err)
{
    int fds[VGPU_CHANNEL_FDS], rc = 0;

    memcpy(fds, channel->fds, sizeof(fds));
    if (spawn->grant.domid)
        rc = devices_open(&server->settings->devices, spawn->grant.domid, fds, err);
    if (rc < 0)
        return rc;
    if (!adopt_spare(server, channel, spawn, fds))
        rc = start_worker(server, channel, spawn, fds, err);
    if (spawn->grant.domid)
        devices_close(fds);
    return rc;
}

/* Takes the descriptors over in each case. */
static int spawn_channel(struct server *server, const struct vgpu_launch_spawn *spawn,
                         const int *fds, pid_t *ret_pid, struct vgpu_err *err)
{
    struct channel *channel = channel_new(spawn, fds);
    int rc;

    if (!channel) {
        for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    if (channel_find(&server->channels, channel->number))
        rc = vgpu_err_set(err, EEXIST, "channel %" PRIu32 " exists", channel->number);
    else if (server->channels.count >= server->channels.max)
        rc = vgpu_err_set(err, ENOSPC, "no more than %u workers", server->channels.max);
    else if ((rc = channel_check_fds(channel->fds, &channel->geometry, err)) == 0)
        rc = place_channel(server, channel, spawn, err);
    if (rc < 0) {
        channel_free(channel);
        return rc;
    }
    channel->known = true;
    channel_add(&server->channels, channel);
    *ret_pid = channel->pid;
    return 0;
}

static void handle_spawn(struct server *server, const struct vgpu_launch_spawn *spawn,
                         const int *received)
{
    unsigned first = spawn->grant.domid ? VGPU_CHANNEL_SHARED_FDS : 0;
    char quoted[VGPU_ERR_TEXT_BYTES];
    struct vgpu_err err = {.code = 0};
    int fds[VGPU_CHANNEL_FDS] = {-1, -1, -1};
    pid_t pid = 0;

    memcpy(fds + first, received, (VGPU_CHANNEL_FDS - first) * sizeof(*fds));

    spawn_channel(server, spawn, fds, &pid, &err);
    if (err.code && may_log(server))
        vgpu_log(VGPU_LOG_WARN, "worker-refused", "channel=%" PRIu32 " vm=%" PRIu32 " reason=%s",
                 spawn->channel, spawn->keep.vm_id,
                 vgpu_log_quote(quoted, sizeof(quoted), err.text));
    else if (!err.code && may_log(server))
        vgpu_log(VGPU_LOG_INFO, "worker-start", "channel=%" PRIu32 " vm=%" PRIu32 " worker=%d",
                 spawn->channel, spawn->keep.vm_id, (int)pid);
    answer_spawn(server, spawn->channel, pid, &err);
}

static void handle_kill(struct server *server, uint32_t number)
{
    struct channel *channel = channel_find(&server->channels, number);

    /* One that is not there has ended meanwhile, and its EXITED is on its way. */
    if (!channel || channel->exited)
        return;
    channel->kill_asked = true;
    kill(channel->pid, SIGKILL);
}

static void handle_message(struct server *server, const struct message *message, const int *fds)
{
    switch (message->type) {
    case VGPU_LAUNCH_HELLO:
        answer_hello(server);
        break;
    case VGPU_LAUNCH_SPAWN:
        handle_spawn(server, &message->spawn, fds);
        break;
    case VGPU_LAUNCH_KILL:
        handle_kill(server, message->channel);
        break;
    case VGPU_LAUNCH_SPARES:
        server->peer.tells_spares = true;
        spares_want(&server->spares, &message->spares);
        break;
    case VGPU_LAUNCH_RESET:
        reset_start(&server->reset, server->settings->reset_program, &message->reset,
                    vgpu_clock_ns());
        break;
    default: /* LIST: nothing else passes the parser */
        server->peer.listing = true;
        server->peer.list_next = 0;
        server->peer.list_sent = 0;
        break;
    }
}

/* False: nothing more to read now, or no connection any more. */
static bool read_message(struct server *server)
{
    union packet packet;
    struct message message = {.type = VGPU_LAUNCH_HELLO};
    struct vgpu_err err;
    int fds[VGPU_FDPASS_MAX];
    size_t n_fds;
    ssize_t got;
    int rc;

    got =
        vgpu_fdpass_recv(server->peer.sock, &packet, sizeof(packet), fds, VGPU_FDPASS_MAX, &n_fds);
    if (got == -EAGAIN)
        return false;
    if (got <= 0) {
        drop_peer(server, got == 0 ? "end of file" : strerror((int)-got));
        return false;
    }
    rc = message_parse(&packet, (size_t)got, n_fds, &message, &err);
    if (rc == 0 && server->peer.greeted == (message.type == VGPU_LAUNCH_HELLO))
        rc = vgpu_err_set(&err, EPROTO, "HELLO comes first, and once");
    if (rc < 0) {
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
        refuse(server->peer.sock, -rc, err.text);
        drop_peer(server, err.text);
        return false;
    }
    handle_message(server, &message, fds);
    return true;
}

static void serve_peer(struct server *server)
{
    for (int i = 0; i < MESSAGES_PER_TURN; i++) {
        struct peer *peer = &server->peer;

        flush_peer(server);
        if (peer->sock < 0 || peer->writing || !read_message(server))
            break;
    }
    flush_peer(server);
}

/* A worker that closed its socket, or speaks where it has nothing to say, is ended. */
static void worker_socket(struct server *server, uint32_t number)
{
    struct channel *channel = channel_find(&server->channels, number);

    if (!channel || channel->sock < 0)
        return;
    vgpu_close(&channel->sock);
    if (!channel->exited)
        kill(channel->pid, SIGKILL);
}

static void distrust_spares(struct server *server, const struct channel *channel)
{
    struct spare_pool *pool = spares_pool(&server->spares, channel->spare_gpu);

    if (channel->end.exit_code != VGPU_EXIT_NOT_ADOPTED || !pool)
        return;
    vgpu_log(VGPU_LOG_ERROR, "spares-distrusted", "gpu=%s seconds=%" PRIu64, pool->gpu_uuid,
             (uint64_t)(SPARE_DISTRUST_NS / VGPU_NS_PER_S));
    spare_pool_distrust(pool, vgpu_clock_ns());
}

static void worker_ended(struct server *server, struct channel *channel, int status,
                         const struct rusage *usage)
{
    int rc;

    channel_ended(channel, status, usage);
    if (may_log(server))
        vgpu_log(VGPU_LOG_INFO, "worker-exit",
                 "channel=%" PRIu32 " vm=%" PRIu32 " worker=%d exit=%d signal=%d killed=%u"
                 " cpu_ns=%" PRIu64 " peak_rss_bytes=%" PRIu64,
                 channel->number, channel->keep.vm_id, (int)channel->pid, channel->end.exit_code,
                 channel->end.signal, channel->end.killed, channel->end.cpu_ns,
                 channel->end.peak_rss_bytes);
    distrust_spares(server, channel);
    vgpu_close(&channel->sock);
    rc = cgroup_remove(&server->cgroup, channel->group);
    if (rc < 0)
        vgpu_log(VGPU_LOG_WARN, "cgroup-left", "channel=%" PRIu32 " errno=%d", channel->number,
                 -rc);
}

static void reap(struct server *server)
{
    struct rusage usage;
    int status;
    pid_t pid;

    /* wait4 and not waitid: it tells what the worker used. */
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        struct channel *channel = channel_find_pid(&server->channels, pid);
        struct spare_pool *pool;
        struct spare *spare = channel ? NULL : spares_find_pid(&server->spares, pid, &pool);

        if (channel)
            worker_ended(server, channel, status, &usage);
        else if (spare)
            spare_ended(server, pool, spare, status);
        else if (server->reset.pid == pid)
            reset_ended(&server->reset, status);
    }
    flush_peer(server);
}

static void serve_signals(struct server *server)
{
    struct signalfd_siginfo info;

    while (read(server->signals, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            server->stopping = true;
    reap(server);
}

static void dispatch(struct server *server, const struct epoll_event *event)
{
    switch ((enum source)(event->data.u64 >> 32)) {
    case SOURCE_SIGNAL:
        serve_signals(server);
        break;
    case SOURCE_LISTENER:
        accept_peer(server);
        break;
    case SOURCE_MEDIATOR:
        serve_peer(server);
        break;
    case SOURCE_WORKER:
        worker_socket(server, (uint32_t)event->data.u64);
        break;
    case SOURCE_SPARE:
        spare_socket(server, (uint32_t)event->data.u64);
        break;
    }
}

/* For epoll_wait. */
static int timeout_ms(const struct server *server)
{
    uint64_t next_ns = spares_next_ns(&server->spares), now_ns = vgpu_clock_ns();
    uint64_t reset_ns = reset_tend(&server->reset, now_ns);

    next_ns = reset_ns < next_ns ? reset_ns : next_ns;
    if (next_ns == UINT64_MAX)
        return -1;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / VGPU_NS_PER_MS + 1);
}

int server_run(struct server *server)
{
    struct epoll_event events[EVENTS_MAX];

    while (!server->stopping) {
        int n = epoll_wait(server->epoll, events, EVENTS_MAX, timeout_ms(server));

        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++)
            dispatch(server, &events[i]);
        if (!server->stopping)
            tend_spares(server);
    }
    vgpu_log(VGPU_LOG_INFO, "stop", "workers=%u", server->channels.count);
    return 0;
}

static int make_accounts(int *ret_fd, struct vgpu_err *err)
{
    _cleanup_close_ int fd = memfd_create("vgpu-accounts", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || fchmod(fd, 0600) < 0 || ftruncate(fd, VGPU_ACCOUNTS_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return vgpu_err_set(err, errno, "cannot make the accounts page: %s", strerror(errno));
    *ret_fd = vgpu_steal_fd(&fd);
    return 0;
}

static int make_signals(int *ret_fd, struct vgpu_err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot make a signalfd: %s", strerror(errno));
    *ret_fd = fd;
    return 0;
}

/* Each worker takes nine descriptors here; as many as the system lets this process have. */
static void raise_file_limit(unsigned max_workers)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max / (VGPU_CHANNEL_FDS + 2) < max_workers)
        vgpu_log(VGPU_LOG_WARN, "degraded", "what=\"open files limit the workers\" files=%ju",
                 (uintmax_t)files.rlim_max);
}

static int open_socket(struct server *server, struct vgpu_err *err)
{
    const struct server_settings *settings = server->settings;
    int rc = vgpu_listen(settings->socket, SOCK_SEQPACKET, 0600, &server->listener, err);

    if (rc < 0)
        return rc;
    if (settings->mediator_uid != geteuid() &&
        lchown(settings->socket, settings->mediator_uid, (gid_t)-1) < 0)
        return vgpu_err_set(err, errno, "cannot give '%s' to the mediator's user: %s",
                            settings->socket, strerror(errno));
    return 0;
}

static int set_up(struct server *server, struct vgpu_err *err)
{
    struct vgpu_err why = {.code = 0};
    char quoted[VGPU_ERR_TEXT_BYTES];
    int rc;

    raise_file_limit(server->settings->max_workers);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0)
        return vgpu_err_set(err, errno, "cannot make an epoll: %s", strerror(errno));
    if ((rc = make_signals(&server->signals, err)) < 0 ||
        (rc = make_accounts(&server->accounts, err)) < 0 || (rc = open_socket(server, err)) < 0)
        return rc;
    if (cgroup_init(&server->cgroup, server->settings->cgroup, &why) < 0 ||
        !server->settings->cgroup)
        vgpu_log(VGPU_LOG_WARN, "degraded", "what=\"no cgroup limit\" reason=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), why.code ? why.text : "no --cgroup"));
    if ((rc = watch(server, EPOLL_CTL_ADD, server->signals, EPOLLIN, SOURCE_SIGNAL, 0)) < 0 ||
        (rc = watch(server, EPOLL_CTL_ADD, server->listener, EPOLLIN, SOURCE_LISTENER, 0)) < 0)
        return vgpu_err_set(err, -rc, "cannot watch a descriptor: %s", strerror(-rc));
    return 0;
}

int server_new(const struct server_settings *settings, struct server **ret_server,
               struct vgpu_err *err)
{
    struct server *server = calloc(1, sizeof(*server));
    int rc;

    if (!server)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    server->settings = settings;
    server->epoll = server->signals = server->listener = server->accounts = -1;
    server->peer.sock = -1;
    server->cgroup.dir = -1;
    reset_init(&server->reset);
    server->channels.max = settings->max_workers;
    rc = set_up(server, err);
    if (rc < 0) {
        server_free(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

static unsigned living(const struct server *server)
{
    unsigned n = 0;

    for (unsigned i = 0; i < server->channels.count; i++)
        n += !server->channels.items[i]->exited;
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        for (unsigned k = 0; k < VGPU_LAUNCH_MAX_SPARES; k++)
            n += server->spares.pools[i].spares[k].state != SPARE_NONE;
    return n;
}

static void end_spares(struct server *server)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        struct spare *spare;

        server->spares.pools[i].wanted = 0;
        while ((spare = spare_pool_excess(&server->spares.pools[i], 0)))
            end_spare(spare);
    }
}

/* A process that the kernel cannot end is not waited for without end. */
static void kill_all(struct server *server)
{
    uint64_t until = vgpu_clock_ns() + REAP_PATIENCE_NS;
    const struct timespec patience = {.tv_sec = 1};
    sigset_t set;

    for (unsigned i = 0; i < server->channels.count; i++)
        if (!server->channels.items[i]->exited)
            kill(server->channels.items[i]->pid, SIGKILL);
    end_spares(server);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (reap(server); living(server) > 0 && vgpu_clock_ns() < until; reap(server))
        sigtimedwait(&set, NULL, &patience);
    if (living(server) > 0)
        vgpu_log(VGPU_LOG_ERROR, "workers-left", "workers=%u", living(server));
}

void server_free(struct server *server)
{
    if (!server)
        return;
    vgpu_close(&server->peer.sock);
    reset_release(&server->reset);
    kill_all(server);
    while (server->channels.count > 0)
        channel_drop(&server->channels, server->channels.items[0]);
    cgroup_release(&server->cgroup);
    if (server->listener >= 0)
        unlink(server->settings->socket);
    vgpu_close(&server->listener);
    vgpu_close(&server->accounts);
    vgpu_close(&server->signals);
    vgpu_close(&server->epoll);
    free(server);
}
