/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"
#include "common/log.h"

#define BACKOFF_NS        (10 * VGPU_NS_PER_MS)
#define BACKOFF_MAX_NS    VGPU_NS_PER_S
#define MESSAGES_PER_TURN 64

union packet {
    struct vgpu_launch head;
    struct vgpu_launch_hello hello;
    struct vgpu_launch_channel channel;
    struct vgpu_launch_answer answer;
    struct vgpu_launch_exited exited;
    struct vgpu_launch_entry entry;
    struct vgpu_launch_spare_state spare_state;
    struct vgpu_launch_reset_done reset_done;
    uint8_t bytes[sizeof(struct vgpu_launch_reset_done) + 8]; /* so that what is too long shows */
};

struct shape {
    uint32_t type;
    size_t size, n_fds; /* ENTRY: by what it says */
};

static const struct shape shapes[] = {
    {VGPU_LAUNCH_WELCOME, sizeof(struct vgpu_launch_hello), 1},
    {VGPU_LAUNCH_SPAWNED, sizeof(struct vgpu_launch_answer), 0},
    {VGPU_LAUNCH_EXITED, sizeof(struct vgpu_launch_exited), 0},
    {VGPU_LAUNCH_ENTRY, sizeof(struct vgpu_launch_entry), VGPU_CHANNEL_FDS},
    {VGPU_LAUNCH_LIST_END, sizeof(struct vgpu_launch_channel), 0},
    {VGPU_LAUNCH_REFUSED, sizeof(struct vgpu_launch_answer), 0},
    {VGPU_LAUNCH_SPARE_STATE, sizeof(struct vgpu_launch_spare_state), 0},
    {VGPU_LAUNCH_RESET_DONE, sizeof(struct vgpu_launch_reset_done), 0},
};

static void retry(void *context)
{
    link_connect(context);
}

void link_init(struct link *link, struct loop *loop, const char *path,
               const struct link_hooks *hooks, void *context)
{
    *link = (struct link){.loop = loop,
                          .path = path,
                          .hooks = hooks,
                          .context = context,
                          .sock = -1,
                          .retry = {.fire = retry, .context = link},
                          .backoff_ns = BACKOFF_NS};
}

static void hang_up(struct link *link)
{
    if (link->sock >= 0)
        loop_watch_remove(link->loop, &link->watch);
    vgpu_close(&link->sock);
    link->state = LINK_DOWN;
}

void link_release(struct link *link)
{
    if (!link->loop)
        return;
    loop_timer_clear(link->loop, &link->retry);
    hang_up(link);
}

static void try_later(struct link *link, const char *why)
{
    char quoted[VGPU_ERR_TEXT_BYTES];

    if (!link->said_down)
        vgpu_log(VGPU_LOG_WARN, "launcher-down", "socket=%s reason=%s", link->path,
                 vgpu_log_quote(quoted, sizeof(quoted), why));
    link->said_down = true;
    loop_timer_set(link->loop, &link->retry, loop_now(link->loop) + link->backoff_ns);
    link->backoff_ns *= 2;
    if (link->backoff_ns > BACKOFF_MAX_NS)
        link->backoff_ns = BACKOFF_MAX_NS;
}

static void lose(struct link *link, const char *why)
{
    bool known = link->state != LINK_HELLO;

    hang_up(link);
    if (known)
        link->hooks->lost(link->context);
    try_later(link, why);
}

static int send_packet(struct link *link, const void *packet, size_t size, const int *fds, size_t n)
{
    ssize_t sent;

    if (link->sock < 0)
        return -ENOTCONN;
    sent = vgpu_fdpass_send(link->sock, packet, size, fds, n);
    if (sent == -EAGAIN)
        loop_watch_modify(link->loop, &link->watch, EPOLLIN | EPOLLOUT);
    return sent < 0 ? (int)sent : 0;
}

static int send_list(struct link *link)
{
    const struct vgpu_launch_channel list = {{sizeof(list), VGPU_LAUNCH_LIST}, 0, 0};

    link->state = LINK_LISTING;
    return send_packet(link, &list, sizeof(list), NULL, 0);
}

static int take_welcome(struct link *link, const union packet *packet, int *fds)
{
    _cleanup_close_ int accounts = fds[0];

    if (link->state != LINK_HELLO || packet->hello.magic != VGPU_MAGIC ||
        packet->hello.version_major != VGPU_VERSION_MAJOR)
        return -EPROTO;
    vgpu_log(VGPU_LOG_INFO, "launcher-up", "socket=%s", link->path);
    link->said_down = false;
    link->backoff_ns = BACKOFF_NS;
    link->hooks->welcome(link->context, accounts);
    return send_list(link);
}

static int take_entry(struct link *link, const union packet *packet, const int *received)
{
    unsigned first = packet->entry.keep.domid ? VGPU_CHANNEL_SHARED_FDS : 0;
    int fds[VGPU_CHANNEL_FDS] = {-1, -1, -1};

    memcpy(fds + first, received, (VGPU_CHANNEL_FDS - first) * sizeof(*fds));
    if (link->state != LINK_LISTING) {
        for (unsigned i = first; i < VGPU_CHANNEL_FDS; i++)
            close(fds[i]);
        return -EPROTO;
    }
    link->hooks->entry(link->context, &packet->entry, fds);
    return 0;
}

static int take_list_end(struct link *link)
{
    if (link->state != LINK_LISTING)
        return -EPROTO;
    link->state = LINK_READY;
    link->hooks->listed(link->context);
    return 0;
}

static int take(struct link *link, const union packet *packet, int *fds)
{
    switch (packet->head.type) {
    case VGPU_LAUNCH_WELCOME:
        return take_welcome(link, packet, fds);
    case VGPU_LAUNCH_ENTRY:
        return take_entry(link, packet, fds);
    case VGPU_LAUNCH_LIST_END:
        return take_list_end(link);
    case VGPU_LAUNCH_SPAWNED:
        link->hooks->spawned(link->context, &packet->answer);
        return 0;
    case VGPU_LAUNCH_EXITED:
        link->hooks->exited(link->context, &packet->exited);
        return 0;
    case VGPU_LAUNCH_SPARE_STATE:
        link->hooks->spare_state(link->context, &packet->spare_state);
        return 0;
    case VGPU_LAUNCH_RESET_DONE:
        link->hooks->reset_done(link->context, &packet->reset_done);
        return 0;
    default: /* REFUSED: nothing else has a shape */
        link->hooks->refused(link->context, &packet->answer);
        return -ECONNREFUSED;
    }
}

/* Only of an ENTRY that is whole. */
static bool is_granted(const union packet *packet)
{
    return packet->head.type == VGPU_LAUNCH_ENTRY && packet->entry.keep.domid != 0;
}

static bool fits(const union packet *packet, size_t size, size_t n_fds)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(shapes); i++)
        if (size >= sizeof(packet->head) && shapes[i].type == packet->head.type)
            return shapes[i].size == size && packet->head.size_bytes == size &&
                   n_fds == (is_granted(packet) ? VGPU_CHANNEL_GRANT_FDS : shapes[i].n_fds);
    return false;
}

/* 1: a message was handled; 0: none now; -errno: the connection is over. */
static int receive(struct link *link)
{
    int fds[VGPU_FDPASS_MAX], rc;
    union packet packet;
    size_t n_fds;
    ssize_t got =
        vgpu_fdpass_recv(link->sock, &packet, sizeof(packet), fds, VGPU_FDPASS_MAX, &n_fds);

    if (got == -EAGAIN)
        return 0;
    if (got <= 0)
        return got < 0 ? (int)got : -ECONNRESET;
    if (!fits(&packet, (size_t)got, n_fds)) {
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
        return -EPROTO;
    }
    rc = take(link, &packet, fds);
    return rc < 0 ? rc : 1;
}

static void ready(void *context, uint32_t events)
{
    struct link *link = context;
    int rc = 0;

    if (events & EPOLLOUT) {
        loop_watch_modify(link->loop, &link->watch, EPOLLIN);
        link->hooks->writable(link->context);
    }
    for (int i = 0; i < MESSAGES_PER_TURN && link->sock >= 0; i++)
        if ((rc = receive(link)) <= 0)
            break;
    if (rc < 0)
        lose(link, strerror(-rc));
}

static int open_socket(struct link *link)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int sock = -1;

    if (strlen(link->path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, link->path, strlen(link->path));
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        loop_watch_add(link->loop, &link->watch, sock, EPOLLIN, ready, link) < 0)
        return -errno;
    link->sock = vgpu_steal_fd(&sock);
    return 0;
}

void link_connect(struct link *link)
{
    const struct vgpu_launch_hello hello = {
        {sizeof(hello), VGPU_LAUNCH_HELLO}, VGPU_MAGIC, VGPU_VERSION_MAJOR, VGPU_VERSION_MINOR};
    int rc = open_socket(link);

    if (rc == 0) {
        link->state = LINK_HELLO;
        rc = send_packet(link, &hello, sizeof(hello), NULL, 0);
    }
    if (rc < 0) {
        hang_up(link);
        try_later(link, strerror(-rc));
    }
}

bool link_ready(const struct link *link)
{
    return link->state == LINK_READY;
}

int link_spawn(struct link *link, const struct vgpu_launch_spawn *spawn, const int *fds)
{
    unsigned first = spawn->grant.domid ? VGPU_CHANNEL_SHARED_FDS : 0;

    return send_packet(link, spawn, sizeof(*spawn), fds + first, VGPU_CHANNEL_FDS - first);
}

int link_kill(struct link *link, uint32_t channel)
{
    const struct vgpu_launch_channel body = {{sizeof(body), VGPU_LAUNCH_KILL}, channel, 0};

    return send_packet(link, &body, sizeof(body), NULL, 0);
}

int link_spares(struct link *link, const struct vgpu_launch_spares *wish)
{
    return send_packet(link, wish, sizeof(*wish), NULL, 0);
}

int link_reset(struct link *link, const char *gpu_uuid)
{
    struct vgpu_launch_reset body = {.head = {sizeof(body), VGPU_LAUNCH_RESET}};

    if (strlen(gpu_uuid) >= sizeof(body.gpu_uuid))
        return -EINVAL;
    memcpy(body.gpu_uuid, gpu_uuid, strlen(gpu_uuid));
    return send_packet(link, &body, sizeof(body), NULL, 0);
}
