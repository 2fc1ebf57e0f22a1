/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

static int say_hello(struct link *link)
{
    const struct vgpu_msg_hello hello = {
        .head = {sizeof(hello), VGPU_MSG_HELLO, 0, 1, 0},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .features = VGPU_FEATURE_RESUME | VGPU_FEATURE_MONITOR | VGPU_FEATURE_GRANT |
                    VGPU_FEATURE_JOB | VGPU_FEATURE_DRAIN,
        .carrier = VGPU_CARRIER_GRANT,
    };

    return link_send(link, &hello);
}

int link_connect(struct link *link, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int sock = -1;

    *link = (struct link){.sock = -1};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    link->sock = vgpu_steal_fd(&sock);
    return say_hello(link);
}

void link_close(struct link *link)
{
    vgpu_close(&link->sock);
    link->welcomed = false;
    link->used = 0;
}

int link_send(struct link *link, const void *message)
{
    uint32_t size = ((const struct vgpu_msg *)message)->size_bytes;
    ssize_t sent = send(link->sock, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent < 0)
        return -errno;
    return sent == (ssize_t)size ? 0 : -EAGAIN;
}

int link_receive(struct link *link, union message *ret)
{
    int size = sizeof(link->input.head);
    size_t n_fds;
    int none;

    for (;;) {
        ssize_t got;

        if (link->used >= sizeof(link->input.head))
            size = message_size(&link->input.head);
        if (size < 0)
            return size;
        if (link->used >= sizeof(link->input.head) && link->used == (uint32_t)size)
            break;
        got = vgpu_fdpass_recv(link->sock, link->input.bytes + link->used,
                               (size_t)size - link->used, &none, 0, &n_fds);
        if (got == -EAGAIN)
            return 0;
        if (got <= 0)
            return got < 0 ? (int)got : -ECONNRESET;
        link->used += (uint32_t)got;
    }
    link->used = 0;
    if (message_check(&link->input) < 0)
        return -EPROTO;
    memcpy(ret, &link->input, (size_t)size);
    return 1;
}
