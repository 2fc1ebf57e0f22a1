/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vgpu/grant.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "common/log.h"
#include "common/status.h"
#include "mediator/drain.h"
#include "mediator/mediator.h"
#include "mediator/monitor.h"
#include "mediator/request.h"

bool connection_send(struct connection *connection, const void *message, uint32_t size,
                     const int *fds, size_t n)
{
    ssize_t sent = vgpu_fdpass_send(connection->sock, message, size, fds, n);

    if (sent == (ssize_t)size)
        return true;
    /* Half a message, or none: nothing that follows would make sense. The loop sees the end. */
    shutdown(connection->sock, SHUT_RDWR);
    return false;
}

void connection_refuse(struct connection *connection, uint32_t tag, enum vgpu_status status,
                       const char *text)
{
    struct vgpu_msg_refused refused = {.head = {sizeof(refused), VGPU_MSG_REFUSED, 0, tag, 0},
                                       .status = status};
    char quoted[VGPU_STATUS_TEXT_BYTES + 64];

    if (vgpu_status_retryable(status))
        refused.retry_ns = UINT64_C(100000000);
    snprintf(refused.text, sizeof(refused.text), "%s", text);
    if (mediator_may_log(connection->vm->mediator))
        vgpu_log(VGPU_LOG_WARN, "guest-refused", "vm=%" PRIu32 " peer_pid=%d status=%s text=%s",
                 connection->vm->config.id, (int)connection->pid, vgpu_status_name(status),
                 vgpu_log_quote(quoted, sizeof(quoted), text));
    connection->refused = true;
    connection_send(connection, &refused, sizeof(refused), NULL, 0);
}

void connection_send_state(struct connection *connection)
{
    const struct config_vm *config = &connection->vm->config;
    struct vgpu_msg_state state = {
        .head = {sizeof(state), VGPU_MSG_STATE, 0, 0, 0},
        .priority = config->priority,
        .weight_hundredths = config->weight_hundredths,
        .quarantined = connection->vm->state == VM_QUARANTINED,
    };

    if (!connection->greeted)
        return;
    snprintf(state.pool, sizeof(state.pool), "%s", config->pool);
    connection_send(connection, &state, sizeof(state), NULL, 0);
}

static void note_claims(const struct connection *connection, const struct vgpu_msg_hello *hello)
{
    const struct config_vm *config = &connection->vm->config;
    char quoted[160];
    bool differs = (hello->claimed_vm_id && hello->claimed_vm_id != config->id) ||
                   (hello->claimed_priority && hello->claimed_priority != config->priority) ||
                   (hello->claimed_pool[0] && strcmp(hello->claimed_pool, config->pool) != 0);

    if (differs && mediator_may_log(connection->vm->mediator))
        vgpu_log(VGPU_LOG_WARN, "claim-differs",
                 "vm=%" PRIu32 " claimed_vm=%" PRIu32 " claimed_priority=%" PRIu32
                 " claimed_pool=%s",
                 config->id, hello->claimed_vm_id, hello->claimed_priority,
                 vgpu_log_quote(quoted, sizeof(quoted), hello->claimed_pool));
}

static void answer_hello(struct connection *connection, const struct vgpu_msg_hello *hello)
{
    const struct vm *vm = connection->vm;
    struct vgpu_msg_welcome welcome = {
        .head = {sizeof(welcome), VGPU_MSG_WELCOME, 0, hello->head.tag, 0},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .features = hello->features & VGPU_FEATURES_KNOWN,
        .vm_id = vm->config.id,
        .priority = vm->config.priority,
        .weight_hundredths = vm->config.weight_hundredths,
        .max_channels = VGPU_VM_MAX_CHANNELS,
        .max_data_bytes = vm->mediator->settings->max_data_bytes,
        .quarantined = vm->state == VM_QUARANTINED,
    };
    char text[48];

    if (hello->carrier == VGPU_CARRIER_GRANT && welcome.max_data_bytes > VGPU_GRANT_MAX_DATA_BYTES)
        welcome.max_data_bytes = VGPU_GRANT_MAX_DATA_BYTES;
    snprintf(welcome.pool, sizeof(welcome.pool), "%s", vm->config.pool);
    snprintf(welcome.name, sizeof(welcome.name), "%s", vm->config.name);
    note_claims(connection, hello);
    connection->greeted = true;
    connection->carrier = hello->carrier;
    connection->features = welcome.features;
    connection->window_bytes = (uint64_t)hello->window_mib << 20;
    snprintf(text, sizeof(text), "process %d connected", (int)connection->pid);
    events_add_guest(connection->vm, EVENT_VM_CONNECTED, EVENT_INFO, text);
    loop_timer_clear(vm->mediator->loop, &connection->handshake);
    connection_send(connection, &welcome, sizeof(welcome), NULL, 0);
}

/* Its other end is closed, though the loop has not come to it yet. */
static bool peer_is_gone(const struct connection *connection)
{
    struct pollfd sock = {.fd = connection->sock, .events = POLLRDHUP};

    return poll(&sock, 1, 0) > 0;
}

/*
 * Over the local carrier a VM may have many connections, over any other one, and no local one
 * beside it. A device that lost its connection comes back at once: what is dead does not count.
 */
static bool may_join(const struct connection *connection, uint32_t carrier)
{
    struct connection *next;

    for (struct connection *other = connection->vm->connections; other; other = next) {
        next = other->next;
        if (other == connection || !other->greeted ||
            (carrier == VGPU_CARRIER_LOCAL && other->carrier == VGPU_CARRIER_LOCAL))
            continue;
        if (!peer_is_gone(other))
            return false;
        connection_end(other);
    }
    return true;
}

/* What an OPEN must not be over this connection; NULL: nothing. */
static const char *unfit(const struct connection *connection, uint16_t flags)
{
    bool grants =
        connection->carrier != VGPU_CARRIER_LOCAL && (connection->features & VGPU_FEATURE_GRANT);

    if ((flags & VGPU_MSG_OPEN_WINDOW) && !connection->window_bytes)
        return "this connection has no window";
    if ((flags & VGPU_MSG_OPEN_GRANT) && !grants)
        return "this connection has no grants";
    if (connection->carrier == VGPU_CARRIER_GRANT && !(flags & VGPU_MSG_OPEN_GRANT))
        return "this connection has nothing but grants";
    return NULL;
}

/* False: the connection is to be ended. */
static bool handle(struct connection *connection, const union request *request)
{
    if (connection->greeted == (request->head.type == VGPU_MSG_HELLO)) {
        connection_refuse(connection, request->head.tag, VGPU_BAD_MESSAGE,
                          "HELLO comes first, and once");
        return false;
    }
    switch (request->head.type) {
    case VGPU_MSG_HELLO:
        if (!may_join(connection, request->hello.carrier)) {
            connection_refuse(connection, request->head.tag, VGPU_LIMIT,
                              "another connection of this VM is there");
            return false;
        }
        answer_hello(connection, &request->hello);
        break;
    case VGPU_MSG_OPEN:
        if (unfit(connection, request->head.flags)) {
            connection_refuse(connection, request->head.tag, VGPU_BAD_MESSAGE,
                              unfit(connection, request->head.flags));
            return false;
        }
        vm_open(connection->vm, connection, &request->open);
        break;
    case VGPU_MSG_CLOSE:
        vm_close(connection->vm, connection, &request->channel);
        break;
    case VGPU_MSG_GRANT:
        vm_grant(connection->vm, connection, &request->grant);
        break;
    case VGPU_MSG_DRAIN:
        drain_ask(connection, request->head.tag);
        break;
    case VGPU_MSG_MONITOR:
        monitor_answer(connection, &request->monitor);
        break;
    default: /* RESUME: nothing else passes the parser */
        vm_resume(connection->vm, connection, &request->resume);
        break;
    }
    return true;
}

/* 1: a request was handled; 0: none is whole; -1: the connection is to be ended. */
static int next_request(struct connection *connection)
{
    union request request;
    struct vgpu_err err;
    uint32_t tag;
    int size = request_parse(connection->buffer, connection->used, &request, &tag, &err);

    if (size == 0)
        return 0;
    if (size < 0) {
        connection_refuse(connection, tag,
                          size == -EPROTONOSUPPORT ? VGPU_VERSION : VGPU_BAD_MESSAGE, err.text);
        return -1;
    }
    connection->used -= (uint32_t)size;
    memmove(connection->buffer, connection->buffer + size, connection->used);
    return handle(connection, &request) ? 1 : -1;
}

/* 1: bytes came; 0: none now; -1: the end. */
static int fill(struct connection *connection)
{
    size_t n_fds;
    int none;
    /* A guest has no descriptor to send: max_fds 0 closes them and is an error. */
    ssize_t got = vgpu_fdpass_recv(connection->sock, connection->buffer + connection->used,
                                   sizeof(connection->buffer) - connection->used, &none, 0, &n_fds);

    if (got == -EAGAIN)
        return 0;
    if (got == -EPROTO)
        connection_refuse(connection, 0, VGPU_BAD_MESSAGE, "a descriptor that nobody asked for");
    if (got <= 0)
        return -1;
    connection->used += (uint32_t)got;
    return 1;
}

/*
 * Who was refused before WELCOME closes first, or the handshake's time ends it: some peers, QEMU
 * among them, drop what they have not read yet once they see that the other end is closed.
 */
static bool leave_the_close_to_the_peer(struct connection *connection)
{
    if (!connection->refused || connection->greeted)
        return false;
    return shutdown(connection->sock, SHUT_WR) == 0;
}

static void drain(struct connection *connection)
{
    ssize_t got = recv(connection->sock, connection->buffer, sizeof(connection->buffer), 0);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        connection_end(connection);
}

static void ready(void *context, uint32_t events)
{
    struct connection *connection = context;
    int rc;

    if (connection->refused && !connection->greeted) {
        drain(connection);
        return;
    }
    rc = fill(connection);
    /* Each request is shorter than the buffer, so there is room again after these. */
    for (int i = 0; rc > 0 && i < (int)sizeof(connection->buffer); i++)
        rc = next_request(connection);
    if (rc < 0 && !leave_the_close_to_the_peer(connection))
        connection_end(connection);
}

static void handshake_late(void *context)
{
    struct connection *connection = context;

    if (!connection->refused)
        connection_refuse(connection, 0, VGPU_TIMEOUT, "no HELLO in time");
    connection_end(connection);
}

/* A connection that is not taken is told why. */
static void turn_away(struct vm *vm, int sock, const struct ucred *who, enum vgpu_status status,
                      const char *text)
{
    struct connection once = {.vm = vm, .sock = sock, .pid = who->pid};

    connection_refuse(&once, 0, status, text);
}

/* Who may speak for a VM: root, the mediator's own user, and those that options name for it. */
static bool user_allowed(const struct mediator_settings *settings, uid_t uid)
{
    if (uid == 0 || uid == geteuid() || (settings->has_xenbus_uid && uid == settings->xenbus_uid))
        return true;
    for (unsigned i = 0; i < settings->n_guest_uids; i++)
        if (settings->guest_uids[i] == uid)
            return true;
    return false;
}

static int connection_new(struct vm *vm, int sock, const struct ucred *who, bool dialled)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    struct mediator *mediator = vm->mediator;

    if (!connection)
        return -ENOMEM;
    if (loop_watch_add(mediator->loop, &connection->watch, sock, EPOLLIN, ready, connection) < 0) {
        free(connection);
        return -ENOMEM;
    }
    connection->vm = vm;
    connection->sock = sock;
    connection->pid = who->pid;
    connection->dialled = dialled;
    connection->handshake = (struct loop_timer){.fire = handshake_late, .context = connection};
    loop_timer_set(mediator->loop, &connection->handshake,
                   loop_now(mediator->loop) + mediator->settings->handshake_ns);
    connection->next = vm->connections;
    vm->connections = connection;
    vm->n_connections++;
    if (mediator_may_log(mediator))
        vgpu_log(VGPU_LOG_INFO, "guest-connect", "vm=%" PRIu32 " peer_uid=%d peer_pid=%d",
                 vm->config.id, (int)who->uid, (int)who->pid);
    return 0;
}

/* Takes the socket over: it becomes a connection, or is told why not and closed. */
static void admit(struct vm *vm, int fd, bool dialled)
{
    _cleanup_close_ int sock = fd;
    struct ucred who = {0};
    socklen_t size = sizeof(who);
    char text[96];

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
        return;
    if (!user_allowed(vm->mediator->settings, who.uid)) {
        snprintf(text, sizeof(text), "user %u may not speak for this VM; see --guest-uid",
                 (unsigned)who.uid);
        turn_away(vm, sock, &who, VGPU_NOT_CONFIGURED, text);
    } else if (vm->n_connections >= VGPU_VM_MAX_CONNECTIONS) {
        turn_away(vm, sock, &who, VGPU_LIMIT, "too many connections of this VM");
    } else if (connection_new(vm, sock, &who, dialled) == 0) {
        vgpu_steal_fd(&sock);
    }
}

void connection_accept(struct vm *vm)
{
    int sock = accept4(vm->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (sock >= 0)
        admit(vm, sock, false);
}

void connection_dialled(struct vm *vm, int sock)
{
    admit(vm, sock, true);
}

void connection_end(struct connection *connection)
{
    struct vm *vm = connection->vm;
    struct connection **at = &vm->connections;
    char text[48];

    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    vm->n_connections--;
    loop_timer_clear(vm->mediator->loop, &connection->handshake);
    loop_watch_remove(vm->mediator->loop, &connection->watch);
    vgpu_close(&connection->sock);
    if (connection->greeted) {
        snprintf(text, sizeof(text), "process %d disconnected", (int)connection->pid);
        events_add_guest(vm, EVENT_VM_DISCONNECTED, EVENT_INFO, text);
    }
    vm_disconnect(vm, connection);
    free(connection);
}
